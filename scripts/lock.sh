#!/usr/bin/env bash
# Renews requirements.lock: resolve with uv (its own lock file holds download addresses and is not kept), export hashes alone.
set -euo pipefail
cd "$(dirname "$0")/.."
.tools/bin/uv lock -q --upgrade
.tools/bin/uv export -q --frozen --all-extras --all-groups --no-emit-project --format requirements-txt -o requirements.lock
if grep -nE '^[^#]*(://|--(extra-)?index-url|--find-links)' requirements.lock; then
  echo "longview lock: requirements.lock names an address: it must not." >&2
  exit 1
fi
echo "longview lock: $(grep -c '==' requirements.lock) packages locked" >&2
