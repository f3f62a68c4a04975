#!/usr/bin/env bash
# What the Dockerfiles' build stages do, one step a call, always as root inside a build stage and never on a machine of yours:
#   tools          /opt/build: uv, hatchling and cyclonedx-bom, from requirements.build.lock
#   packages LOCK  /opt/longview: an environment with the packages of LOCK, byte-compiled
#   project        /out: Longview itself and the list of all parts (SBOM), laid out as they go over the image's root
# The package index is pip's and uv's default one, or what two secrets of the build say: `index` (its address, with credentials if it needs them)
# and `ca` (certificates, where the index has one of a private authority). Neither reaches a layer. Everything is checked by hash all the same.
# Every file gets the time SOURCE_DATE_EPOCH and every .pyc is valid without one, so that equal input gives equal bytes.
set -euo pipefail
: "${SOURCE_DATE_EPOCH:?}"
secrets=/run/secrets environment=/opt/longview out=/out
packages=lib/python3.11/site-packages
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 UV_LINK_MODE=copy UV_CACHE_DIR=/var/cache/uv UV_HTTP_TIMEOUT=180 PYC_INVALIDATION_MODE=UNCHECKED_HASH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
if [ -s "$secrets/index" ]; then PIP_INDEX_URL=$(cat "$secrets/index"); UV_DEFAULT_INDEX=$PIP_INDEX_URL; export PIP_INDEX_URL UV_DEFAULT_INDEX; fi
if [ -s "$secrets/ca" ]; then export PIP_CERT=$secrets/ca SSL_CERT_FILE=$secrets/ca; fi

# settle FOLDER: one time for all of it.
settle() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

case ${1:-} in
  tools)
    python3.11 -m venv /opt/build
    /opt/build/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes -r requirements.build.lock
    ;;
  packages)
    [ -x "$environment/bin/python" ] || /opt/build/bin/uv venv -q -p /usr/local/bin/python3.11 "$environment"
    /opt/build/bin/uv pip sync -q --require-hashes --compile-bytecode -p "$environment/bin/python" "$2"
    rm -f "$environment/.lock" "$environment"/bin/*activate* "$environment"/bin/*.bat
    chmod -R a+rX,go-w "$environment"
    settle "$environment"
    ;;
  project)
    target=$out$environment/$packages
    /opt/build/bin/python -m hatchling build -t wheel -d dist >/dev/null
    /opt/build/bin/uv pip install -q --no-deps --no-index --find-links dist -p "$environment/bin/python" --target "$target" longview
    mv "$target/bin" "$out$environment/bin"
    "$environment/bin/python" -m compileall -q --invalidation-mode unchecked-hash -s "$out" "$target"
    rm -f "$target/.lock" "$target"/longview-*.dist-info/uv_cache.json
    sed -i -e '/uv_cache\.json/d' -e 's#^bin/#../../../bin/#' "$target"/longview-*.dist-info/RECORD
    cp -a "$out$environment/." "$environment/"
    mkdir -p "$out/usr/share/doc/longview"
    cp LICENSE "$out/usr/share/doc/longview/"
    /opt/build/bin/python sbom.py --python "$environment/bin/python" --project pyproject.toml "$out/usr/share/doc/longview/sbom.cdx.json"
    chmod -R a+rX,go-w "$out"
    settle "$out"
    ;;
  *)
    echo "image_environment: say tools, packages LOCK or project." >&2
    exit 1
    ;;
esac
