#!/usr/bin/env bash
# Renews a lock: resolve with uv (its own lock file holds download addresses and is not kept), then export names and hashes alone.
# Usage: scripts/lock.sh [--gpu] [--upgrade | --check]. Without --gpu requirements.lock, the environment of everything here; with it
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
"$uv" export -q --frozen --all-extras --all-groups --no-emit-project --no-annotate --no-header --format requirements-txt -o fresh >/dev/null
if grep -nE '://|--(extra-)?index-url|--find-links|--trusted-host' fresh >&2; then
  echo "lock: the export names an address: $lock was left as it is." >&2
  exit 1
fi
if grep -E '^[a-z0-9]' fresh | grep -vE '\\$' >&2; then
  echo "lock: a package has no hash: $lock was left as it is." >&2
  exit 1
fi
packages=$(grep -cE '^[a-z0-9].*==' fresh)
if [ -n "$check" ]; then
  cmp -s fresh "$root/$lock" || { echo "lock: $lock is not what $project/pyproject.toml resolves to: renew it with scripts/lock.sh." >&2; exit 1; }
  echo "lock: $lock resolves, $packages packages" >&2
else
  cat fresh >"$root/$lock"
  echo "lock: $packages packages locked" >&2
fi
