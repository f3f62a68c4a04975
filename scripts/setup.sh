#!/usr/bin/env bash
# Creates .venv from requirements.lock: one resolution, checked by hash, from whatever package index pip and uv are set to.
# Usage: scripts/setup.sh [PYTHON]. Does nothing when the lock, the project and Python are the ones it was made from.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
uv_version=0.13.9
needed_mib=8000

fail() { printf 'longview setup: %s\n' "$1" >&2; exit 1; }
say() { printf 'longview setup: %s\n' "$1" >&2; }

command -v "$python" >/dev/null || fail "$python is not there: install Python 3.11 to 3.13, or call make with PYTHON=/path/to/python3."
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' ||
  fail "$("$python" --version) is not supported: install Python 3.11 to 3.13, or call make with PYTHON=/path/to/python3."
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm): the environment is locked for Linux on x86-64."

stamp=$({ cat requirements.lock pyproject.toml; "$python" --version; pwd; } | sha256sum | cut -d' ' -f1)
[ "$(cat .venv/.stamp 2>/dev/null || true)" = "$stamp" ] && exit 0

free_mib=$(df -Pm . | awk 'NR == 2 {print $4}')
[ "$free_mib" -ge "$needed_mib" ] || fail "only $free_mib MiB of disk are free: the environment needs $needed_mib."

start=$SECONDS
if ! .tools/bin/uv --version 2>/dev/null | grep -qF "$uv_version"; then
  say "installing uv $uv_version"
  rm -rf .tools
  "$python" -m venv .tools || fail "$python cannot make a virtual environment: install its venv module (Debian: python3-venv)."
  .tools/bin/pip install -q --disable-pip-version-check "uv==$uv_version" || fail "uv $uv_version cannot be installed: check the package index (PIP_INDEX_URL) and the network."
fi
say "installing the locked environment (about 6 GB; half a minute to some minutes)"
rm -f .venv/.stamp
.tools/bin/uv venv -q --allow-existing -p "$python" .venv || fail "the environment cannot be made: remove .venv and try again."
env -u PYTHONDONTWRITEBYTECODE .tools/bin/uv pip sync -q --require-hashes --compile-bytecode -p .venv/bin/python requirements.lock ||
  fail "the locked packages cannot be installed: check the package index (UV_INDEX_URL), the network and the disk."
.tools/bin/uv pip install -q --no-deps --no-build-isolation -p .venv/bin/python -e . || fail "the project itself cannot be installed: see the lines above."
printf '%s' "$stamp" >.venv/.stamp
say "ready after $((SECONDS - start)) s"
