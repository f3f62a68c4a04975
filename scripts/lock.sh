#!/usr/bin/env bash
# Renews a lock: resolve with uv (its own lock file holds download addresses and is not kept), then export names and hashes alone.
# Usage: scripts/lock.sh [--gpu] [--upgrade | --check]. Without --gpu requirements.lock, the environment of everything here, and what the images take
# of it (the same resolution): requirements.services.lock, .trial.lock and .runtime.lock, and requirements.build.lock, the programs that build them. With it
# requirements.gpu.lock, the model server's on a GPU: gpu/pyproject.toml, in an environment of its own because overrides are project-wide in uv.
# What is locked stays as it is unless the project asks for another version, or --upgrade for the newest of all. --check changes nothing: the lock
# must resolve as it stands.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD uv=$PWD/.tools/bin/uv
project=. lock=requirements.lock upgrade='' check=''
for argument; do
  case $argument in
    --gpu) project=gpu lock=requirements.gpu.lock ;;
    --upgrade) upgrade=1 ;;
    --check) check=1 ;;
    *) echo "lock: $argument is not an option: see the head of scripts/lock.sh." >&2; exit 1 ;;
  esac
done
[ -x "$uv" ] || { echo "lock: uv is not there: run 'make setup' first." >&2; exit 1; }
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT

# The project's metadata in a folder of its own; the versions of the old lock as constraints, without those that its pyproject.toml pins itself.
cp README.md "$folder/"
if [ -n "$upgrade" ] || [ ! -s "$lock" ]; then
  cp "$project/pyproject.toml" "$folder/"
else
  kept=$(sed -nE 's/^([a-z0-9][a-z0-9._-]*==[^\\]*[^\\ ]) *\\?$/\1/p' "$lock" | grep -v implementation |
    while IFS= read -r pin; do grep -qE "\"${pin%%==*}(\[[a-z,]+\])?==" "$project/pyproject.toml" || printf '"%s", ' "$pin"; done)
  sed -E "s/^\[tool\.uv\]$/[tool.uv]\nconstraint-dependencies = [${kept//&/\\&}]/" "$project/pyproject.toml" >"$folder/pyproject.toml"
fi
cd "$folder"
"$uv" lock -q || { echo "lock: $project/pyproject.toml cannot be resolved beside what is locked: see the lines above, or renew all with --upgrade." >&2; exit 1; }
# take LOCK ARGUMENT...: what uv exports, into ./LOCK; a failure if it names an address or a package has no hash.
take() {
  local file=$1
  shift
  "$uv" export -q --frozen --no-emit-project --no-annotate --no-header --format requirements-txt "$@" -o "$file" >/dev/null
  sound "$file"
}

sound() {
  if grep -nE '://|--(extra-)?index-url|--find-links|--trusted-host' "$1" >&2; then
    echo "lock: the export names an address: $1 was left as it is." >&2
    exit 1
  fi
  if grep -E '^[a-z0-9]' "$1" | grep -vE '\\$' >&2; then
    echo "lock: a package has no hash: $1 was left as it is." >&2
    exit 1
  fi
}

locks=("$lock")
take "$lock" --all-extras --all-groups
if [ "$project" = . ]; then
  locks+=(requirements.services.lock requirements.trial.lock requirements.runtime.lock requirements.build.lock)
  take requirements.services.lock --no-default-groups --extra gateway --extra worker --extra inbox
  take requirements.trial.lock --no-default-groups --extra trial
  take requirements.runtime.lock --no-default-groups --extra runtime
  { sed -nE 's/^uv_version=(.*)$/uv==\1/p' "$root/scripts/setup.sh"; grep -ohE '"(hatchling|cyclonedx-bom)==[^"]*"' pyproject.toml | tr -d '"' | sort -u; } >build.in
  "$uv" pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 --constraint "$lock" -o requirements.build.lock build.in >/dev/null
  sound requirements.build.lock
fi
for each in "${locks[@]}"; do
  packages=$(grep -cE '^[a-z0-9].*==' "$each")
  if [ -z "$check" ]; then
    cat "$each" >"$root/$each"
    echo "lock: $each: $packages packages locked" >&2
  elif cmp -s "$each" "$root/$each"; then
    echo "lock: $each resolves, $packages packages" >&2
  else
    echo "lock: $each is not what $project/pyproject.toml resolves to: renew it with scripts/lock.sh." >&2
    exit 1
  fi
done
