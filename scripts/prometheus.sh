#!/usr/bin/env bash
# Unpacks Debian's Prometheus and promtool into LONGVIEW_CACHE for `make test-real`: no service is installed or started. What is there already is left
# alone. Where it cannot be had, one line says so, and the tests that need it skip. Exit status 0 as long as the cache can be written.
set -uo pipefail
cd "$(dirname "$0")/.."
cache=${LONGVIEW_CACHE:-$HOME/.cache/longview}
folder=$cache/prometheus
mkdir -p "$cache" && [ -w "$cache" ] || { echo "prometheus: $cache cannot be written: set LONGVIEW_CACHE to a folder that can." >&2; exit 1; }

if [ -x "$folder/usr/bin/promtool" ]; then echo "prometheus: is there"; exit 0; fi
start=$SECONDS
rm -rf "${folder:?}.new" && mkdir -p "$folder.new"
fetched() { (cd "$folder.new" && apt-get download -q prometheus >>fetch.log 2>&1 </dev/null); }
if command -v apt-get >/dev/null && command -v dpkg >/dev/null \
  && { fetched || { apt-get update -q >>"$folder.new/fetch.log" 2>&1 </dev/null && fetched; }; } \
  && dpkg -x "$folder.new"/prometheus_*.deb "$folder.new" >>"$folder.new/fetch.log" 2>&1; then
  rm -f "$folder.new"/prometheus_*.deb && rm -rf "$folder" && mv "$folder.new" "$folder"
  echo "prometheus: ready after $((SECONDS - start)) s, $(du -sm "$folder" | cut -f1) MB"
else
  echo "cannot be had: prometheus: $(grep -vE '^\s*$' "$folder.new/fetch.log" 2>/dev/null | tail -1 | cut -c1-200) (it comes from Debian, by apt-get download)"
fi
exit 0
