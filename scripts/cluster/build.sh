#!/usr/bin/env bash
# Builds what a Kubernetes control plane without containers needs, from Go modules, into LONGVIEW_CACHE/cluster: bin/ (controlplane with kubectl,
# etcd, kwok, helm, kubeconform, helm-docs) and crds/ (KEDA, the Prometheus operator, External Secrets). What was made from the same recipe is left
# alone. Exit status: 0 all is there, 2 Go is missing or too old, 1 something could not be built.
set -euo pipefail
cd "$(dirname "$0")"

kubernetes=36.3 # 1.36.3; its parts are published as 0.36.3 (controlplane/go.mod names both)
kwok=v0.7.0
helm=v3.22.0
kubeconform=v0.8.0
helm_docs=v1.14.2
keda=v2.21.0
prometheus_operator=v0.85.0
external_secrets=v1.3.2
go_needed=1.26

cache=${LONGVIEW_CACHE:-$HOME/.cache/longview}/cluster
log=$cache/build.log
say() { printf 'cluster: %-20s %s\n' "$1" "$2"; }
fail() { printf 'cluster: %s\n' "$1" >&2; exit "${2:-1}"; }

# why LOG: the mend for what Go's output says went wrong.
why() {
  if grep -qiE 'no space left|disk quota' "$1"; then echo "the disk is full: a first build needs 6 GB, most of it in Go's build cache"
  elif grep -qiE 'signal: killed|out of memory' "$1"; then echo "it was killed: the largest package needs 3 GB of memory, set CLUSTER_BUILD_JOBS=1"
  elif grep -qiE 'dial tcp|no such host|proxyconnect|connection (refused|reset)|i/o timeout|403 Forbidden|404 Not Found|410 Gone' "$1"; then
    echo "the Go module proxy does not answer or lacks a module: check the network and GOPROXY"
  elif grep -qiE 'checksum mismatch|verifying' "$1"; then echo "a module differs from its checksum: check GOPROXY and GOSUMDB"
  else echo "see $log"; fi
}

# Says every 30 seconds how far a long build is, until it is ended.
tick() { local began=$SECONDS; while sleep 30 >/dev/null 2>&1; do say "$1" "  $((SECONDS - began)) s so far"; done; }
ticking=
trap '[ -z "$ticking" ] || kill "$ticking" 2>/dev/null || true' EXIT

# made NAME RECIPE COMMAND...: NAME, by COMMAND, unless it was made by the same RECIPE. COMMAND leaves it in $part.
made() {
  local name=$1 recipe=$2 began=$SECONDS status=0
  shift 2
  recipe=$(sha256sum <<<"$recipe" | cut -d' ' -f1)
  if [ -e "$cache/$name" ] && [ "$(cat "$cache/$name.recipe" 2>/dev/null)" = "$recipe" ]; then return; fi
  say "${name#*/}" "is being built"
  part=$cache/part
  rm -rf "$part" "$cache/$name.recipe" && mkdir -p "$part"
  tick "${name#*/}" & ticking=$!
  "$@" >"$log" 2>&1 </dev/null || status=$?
  kill "$ticking" 2>/dev/null || true
  ticking=
  [ "$status" = 0 ] || fail "${name#*/} cannot be built: $(why "$log")."
  rm -rf "${cache:?}/$name"
  mv "$part/${name#*/}" "$cache/$name"
  printf '%s' "$recipe" >"$cache/$name.recipe"
  say "${name#*/}" "ready after $((SECONDS - began)) s, $(du -sm "$cache/$name" | cut -f1) MB"
}

build=(-p="${CLUSTER_BUILD_JOBS:-2}" -trimpath -buildvcs=false)
export CGO_ENABLED=0 GOWORK=off

# ours NAME LDFLAGS: a module of this folder, with the sums beside it.
ours() { made "bin/$1" "$(cat "$1"/*) $2" compiled "$1" "$2"; }
compiled() { (cd "$1" && go build "${build[@]}" -mod=readonly -ldflags "-s -w $2" -o "$part/$1" .); }

# published NAME PACKAGE@VERSION LDFLAGS: a command of a published module, with that module's own pins.
published() { made "bin/$1" "$2 $3" installed "$2" "$3"; }
installed() { GOBIN=$part go install "${build[@]}" -ldflags "-s -w $2" "$1"; }

# definitions NAME MODULE@VERSION FILE...: some custom resource definitions out of a module's tree.
definitions() { made "crds/$1" "$*" copied "$@"; }
copied() {
  local name=$1 module=$2 tree file
  shift 2
  # From the root folder, which belongs to no module, Go downloads whatever version it is asked for.
  tree=$(cd / && go mod download -json "$module" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
  mkdir "$part/$name"
  for file in "$@"; do cat "$tree/$file" && echo && echo ---; done >"$part/$name/definitions.yaml"
}

command -v go >/dev/null || fail "Go is not installed: install Go $go_needed or newer, from which the control plane is built." 2
found=$(go env GOVERSION)
printf '%s\n' "$go_needed" "${found#go}" | sort -CV || fail "Go ${found#go} is too old: install Go $go_needed or newer." 2
mkdir -p "$cache/bin" "$cache/crds" && [ -w "$cache" ] || fail "$cache cannot be written: set LONGVIEW_CACHE to a folder that can."
cache=$(cd "$cache" && pwd)
exec 9>"$cache/lock"
flock 9 # two checkouts share the cache

[ -e "$cache/bin/controlplane" ] || say all "a first build takes 10 to 20 minutes on two cores and 6 GB of disk, later ones seconds"
version=k8s.io/component-base/version
ours controlplane "-X $version.gitVersion=v1.$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${kubernetes%.*}"
ln -sf controlplane "$cache/bin/kubectl"
ours etcd ""
published kwok "sigs.k8s.io/kwok/cmd/kwok@$kwok" ""
# Told nothing, helm takes an absent cluster for Kubernetes 1.20.
chart=helm.sh/helm/v3/pkg
published helm "helm.sh/helm/v3/cmd/helm@$helm" "-X helm.sh/helm/v3/internal/version.version=$helm
 -X $chart/chartutil.k8sVersionMajor=1 -X $chart/chartutil.k8sVersionMinor=${kubernetes%.*}
 -X $chart/lint/rules.k8sVersionMajor=1 -X $chart/lint/rules.k8sVersionMinor=${kubernetes%.*}"
published kubeconform "github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform" ""
published helm-docs "github.com/norwoodj/helm-docs/cmd/helm-docs@$helm_docs" "-X main.version=${helm_docs#v}"
crds=config/crd/bases
definitions keda "github.com/kedacore/keda/v2@$keda" \
  $crds/keda.sh_{scaledobjects,scaledjobs,triggerauthentications,clustertriggerauthentications}.yaml
crds=example/prometheus-operator-crd/monitoring.coreos.com
definitions prometheus "github.com/prometheus-operator/prometheus-operator@$prometheus_operator" \
  ${crds}_{servicemonitors,podmonitors,prometheusrules}.yaml
crds=config/crds/bases/external-secrets.io
definitions external-secrets "github.com/external-secrets/external-secrets@$external_secrets" \
  ${crds}_{externalsecrets,secretstores,clustersecretstores}.yaml
say all "is in $cache ($(du -sm "$cache" | cut -f1) MB)"
