#!/usr/bin/env bash
# Fetches and builds the real parts for `make test-real` into LONGVIEW_CACHE. A part that cannot be had says so in one line; the others go on,
# and the tests that need it skip. Exit status 0 as long as the cache can be written.
set -uo pipefail
cd "$(dirname "$0")/.."
cache=${LONGVIEW_CACHE:-$HOME/.cache/longview}
mkdir -p "$cache" || { echo "real parts: $cache cannot be written: set LONGVIEW_CACHE." >&2; exit 1; }
cache=$(cd "$cache" && pwd)
log=$cache/real-parts.log
: >"$log"

say() { printf 'real parts: %s\n' "$1"; }
missing() { printf 'cannot be had: %s: %s\n' "$1" "$2"; }
last_line() { grep -vE '^\s*$' "$log" | tail -1 | cut -c1-160; }
source_stamp() { find "$1" -type f -not -path '*/target/*' -exec sha256sum {} + | sort | sha256sum | cut -d' ' -f1; }

# part NAME SOURCE COMMAND...: run COMMAND unless NAME was made from the same sources already.
part() {
  local name=$1 source=$2 start=$SECONDS stamp
  shift 2
  stamp=$(source_stamp "$source")
  if [ "$(cat "$cache/$name/.stamp" 2>/dev/null)" = "$stamp" ]; then say "$name is there"; return; fi
  rm -rf "${cache:?}/$name"
  mkdir -p "$cache/$name"
  if "$@" >>"$log" 2>&1; then
    printf '%s' "$stamp" >"$cache/$name/.stamp"
    say "$name after $((SECONDS - start)) s"
  else
    missing "$name" "$(last_line)"
  fi
}

kafka() { mvn -q -B -f tests/real/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/kafka/lib"; }
hapi() { mvn -q -B -f tests/real/hapi/pom.xml -Dout="$cache/hapi" package; }
validator() {
  mvn -q -B -f tests/real/validator/pom.xml -Dout="$cache/validator" package &&
    (cd "$cache/validator" && npm pack --silent hl7.terminology.r4@7.0.1 && tar xzf hl7.terminology.r4-*.tgz && mv package terminology && rm -f ./*.tgz)
}

if command -v mvn >/dev/null && command -v java >/dev/null; then
  part kafka tests/real/kafka kafka
  part hapi tests/real/hapi hapi
  if command -v npm >/dev/null; then part validator tests/real/validator validator; else missing validator "npm is not installed"; fi
else
  for name in kafka hapi validator; do missing "$name" "Java 17 and Maven are not installed"; done
fi

debian() {
  local name=$1 program=$2 start=$SECONDS
  shift 2
  if command -v "$program" >/dev/null; then say "$name is there"; return; fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    missing "$name" "it is a Debian package and needs root: apt-get install $*"
    return
  fi
  [ -n "${updated:-}" ] || { apt-get update -q >>"$log" 2>&1; updated=yes; }
  if DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >>"$log" 2>&1; then
    say "$name after $((SECONDS - start)) s"
  else
    missing "$name" "$(last_line)"
  fi
}
debian orthanc Orthanc orthanc orthanc-dicomweb
debian chromium chromium chromium
exit 0
