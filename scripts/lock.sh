#!/usr/bin/env bash
# Renews requirements.lock: resolve with uv (its own lock file holds download addresses and is not kept), then export names and hashes alone.
# Usage: scripts/lock.sh [--upgrade]. What is locked stays as it is unless pyproject.toml asks for another version, or --upgrade for the newest of all.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$PWD/.tools/bin/uv
[ -x "$uv" ] || { echo "lock: uv is not there: run 'make setup' first." >&2; exit 1; }
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT

# The project's metadata in a folder of its own; the versions of the old lock as constraints, without those that pyproject.toml pins itself.
cp README.md "$folder/"
if [ "${1:-}" = --upgrade ] || [ ! -s requirements.lock ]; then
  cp pyproject.toml "$folder/"
else
  kept=$(sed -nE 's/^([a-z0-9][a-z0-9._-]*==[^\\]*[^\\ ]) *\\?$/\1/p' requirements.lock | grep -v implementation |
    while IFS= read -r pin; do grep -qE "\"${pin%%==*}(\[[a-z,]+\])?==" pyproject.toml || printf '"%s", ' "$pin"; done)
  sed -E "s/^\[tool\.uv\]$/[tool.uv]\nconstraint-dependencies = [${kept//&/\\&}]/" pyproject.toml >"$folder/pyproject.toml"
fi
cd "$folder"
"$uv" lock -q || { echo "lock: pyproject.toml cannot be resolved beside what is locked: see the lines above, or renew all with --upgrade." >&2; exit 1; }
"$uv" export -q --frozen --all-extras --all-groups --no-emit-project --no-annotate --no-header --format requirements-txt -o fresh >/dev/null
if grep -nE '://|--(extra-)?index-url|--find-links|--trusted-host' fresh >&2; then
  echo "lock: the export names an address: requirements.lock was left as it is." >&2
  exit 1
fi
if grep -E '^[a-z0-9]' fresh | grep -vE '\\$' >&2; then
  echo "lock: a package has no hash: requirements.lock was left as it is." >&2
  exit 1
fi
cat fresh >"$OLDPWD/requirements.lock"
echo "lock: $(grep -cE '^[a-z0-9].*==' fresh) packages locked" >&2
