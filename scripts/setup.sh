#!/usr/bin/env bash
# Creates .venv from requirements.lock: one resolution, checked by hash, from whatever package index pip or uv is set to.
# Usage: scripts/setup.sh [PYTHON]. Does nothing when the lock, the project, Python and the place are those it was made from.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
uv_version=0.13.9
needed_mib=8000
log=.tools/setup.log

say() { printf 'setup: %s\n' "$1" >&2; }
fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

# why LOG: the mend for what pip's or uv's output says went wrong.
why() {
  if grep -qiE 'no space left|disk quota' "$1"; then echo "the disk is full: free about $needed_mib MiB, or set UV_CACHE_DIR to another disk"
  elif grep -qiE 'hash(es)? (mismatch|do not match)|mismatch.*hash' "$1"; then echo "a package differs from its hash in requirements.lock: the package index serves other files, ask whoever runs it"
  elif grep -qiE 'error sending request|failed to (fetch|resolve|download)|dns error|connection|timed out|no matching distribution|not found in the package registry' "$1"; then
    echo "the package index does not answer or lacks a package: check the network and PIP_INDEX_URL or UV_INDEX_URL"
  else echo "see $log"; fi
}

# A hospital's mirror is set for pip more often than for uv, which does not read pip's settings.
use_index_of_pip() {
  local url
  [ -z "${PIP_CERT:-}" ] || [ -n "${SSL_CERT_FILE:-}" ] || export SSL_CERT_FILE=$PIP_CERT
  [ -z "${PIP_TRUSTED_HOST:-}" ] || [ -n "${UV_INSECURE_HOST:-}" ] || export UV_INSECURE_HOST=$PIP_TRUSTED_HOST
  [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ] || return 0
  url=${PIP_INDEX_URL:-$(.tools/bin/pip config list 2>/dev/null | sed -nE "s/^(global|install|user)\.index-url='(.*)'$/\2/p" | tail -1)}
  [ -z "$url" ] || export UV_DEFAULT_INDEX=$url
  [ -z "${PIP_EXTRA_INDEX_URL:-}" ] || [ -n "${UV_INDEX:-}" ] || export UV_INDEX=$PIP_EXTRA_INDEX_URL
}

# Says every 15 seconds how far a long installation is, until it is ended.
tick() {
  while sleep 15 >/dev/null 2>&1; do say "  $((SECONDS - start)) s, $(du -sm .venv 2>/dev/null | cut -f1) MiB so far"; done
}

found=$(command -v "$python") || fail "$python is not there: install Python 3.11 to 3.13, or call make with PYTHON=/path/to/python3."
"$found" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' ||
  fail "$("$found" --version 2>&1) is not supported: install Python 3.11 to 3.13, or call make with PYTHON=/path/to/python3."
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm): the environment is locked for Linux on x86-64."

version=$("$found" -c 'import sys; print(*sys.version_info[:2], sep=".")')
stamp=$({ cat requirements.lock pyproject.toml scripts/setup.sh; echo "$version"; pwd; } | sha256sum | cut -d' ' -f1)
[ "$(cat .venv/.stamp 2>/dev/null || true)" != "$stamp" ] || exit 0

start=$SECONDS
if [ ! -d .venv ]; then
  free_mib=$(df -Pm . | awk 'NR == 2 {print $4}')
  [ "$free_mib" -ge "$needed_mib" ] || fail "only $free_mib MiB of disk are free here: the environment needs $needed_mib."
fi
if ! .tools/bin/uv --version 2>/dev/null | grep -qF "uv $uv_version"; then
  say "installing uv $uv_version"
  rm -rf .tools
  "$found" -m venv .tools >/dev/null 2>&1 || { rm -rf .tools; fail "$found cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)."; }
  .tools/bin/pip install --no-input --disable-pip-version-check "uv==$uv_version" >"$log" 2>&1 || fail "uv $uv_version cannot be installed: $(why "$log")."
fi
uv=$PWD/.tools/bin/uv
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
unset PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
use_index_of_pip

say "installing $(grep -c '^[a-z0-9].*==' requirements.lock) locked packages (6 GB: half a minute to some minutes)"
again=--allow-existing
[ "$(.venv/bin/python -c 'import sys; print(*sys.version_info[:2], sep=".")' 2>/dev/null || true)" = "$version" ] || again=--clear
rm -f .venv/.stamp
"$uv" venv -q "$again" -p "$found" .venv >"$log" 2>&1 || fail "the environment cannot be made: $(why "$log")."
tick & ticking=$!
trap 'kill "$ticking" 2>/dev/null || true' EXIT
"$uv" pip sync --require-hashes --compile-bytecode -p .venv/bin/python requirements.lock >"$log" 2>&1 ||
  fail "the locked packages cannot be installed: $(why "$log")."
"$uv" pip install --no-deps --no-build-isolation -p .venv/bin/python -e . >>"$log" 2>&1 ||
  fail "the project itself cannot be installed: see $log."
printf '%s' "$stamp" >.venv/.stamp
say "ready after $((SECONDS - start)) s"
