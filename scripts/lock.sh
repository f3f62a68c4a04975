#!/usr/bin/env bash
# Renews requirements.lock: resolve with uv (its own lock file holds download addresses and is not kept), then export names and hashes alone.
# Usage: scripts/lock.sh [uv lock options]. On a new checkout every version that pyproject.toml leaves open is renewed; where an uv.lock stands from
# before, only what has to move, unless --upgrade or --upgrade-package NAME is given.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .tools/bin/uv ] || { echo "lock: uv is not there: run 'make setup' first." >&2; exit 1; }
fresh=$(mktemp) && trap 'rm -f "$fresh"' EXIT
.tools/bin/uv lock -q "$@" || { echo "lock: pyproject.toml cannot be resolved: see the lines above." >&2; exit 1; }
.tools/bin/uv export -q --frozen --all-extras --all-groups --no-emit-project --no-annotate --no-header --format requirements-txt -o "$fresh" >/dev/null
if grep -nE '://|--(extra-)?index-url|--find-links|--trusted-host' "$fresh" >&2; then
  echo "lock: the export names an address: requirements.lock was left as it is." >&2
  exit 1
fi
if grep -E '^[a-z0-9]' "$fresh" | grep -vE '\\$' >&2; then
  echo "lock: a package has no hash: requirements.lock was left as it is." >&2
  exit 1
fi
cat "$fresh" >requirements.lock
echo "lock: $(grep -cE '^[a-z0-9].*==' requirements.lock) packages locked" >&2
