{{/* One Deployment of workers: of a version (build id and image) and a task queue, "reading" or "background". */}}
{{- define "longview.worker" -}}
{{- $worker := .root.Values.worker -}}
{{- $queue := get $worker .queue -}}
{{- $own := dict "LONGVIEW_WORKER_QUEUES" .queue -}}
{{- $labels := dict -}}{{- $annotations := dict -}}{{- $suffix := "" -}}
{{- if $worker.versioning -}}
{{- $hash := include "longview.versionHash" .buildId -}}
{{- $labels = dict "longview.example.org/worker-version" $hash -}}
{{- $annotations = dict "longview.example.org/build-id" .buildId -}}
{{- if $worker.keep -}}{{- $_ := set $annotations "helm.sh/resource-policy" "keep" -}}{{- end -}}
{{- $suffix = printf "-%s" $hash -}}
{{- $own = merge $own (include "longview.workerVersion" (dict "root" .root "buildId" .buildId) | fromJson) -}}
{{- end -}}
{{ include "longview.deployment" (dict
  "root" .root "component" (printf "worker-%s" .queue) "values" $queue "image" .image
  "args" (list "worker") "own" $own "store" "write" "checkpoint" (include "longview.hasCheckpoint" .root)
  "labels" $labels "annotations" $annotations "suffix" $suffix
  "replicas" (ternary $queue.replicas "" (eq .root.Values.autoscaling.provider "none"))
) }}
{{- end }}

{{- define "longview.workerVersion" -}}
{{ toJson (dict "LONGVIEW_WORKER_DEPLOYMENT" (include "longview.workerDeployment" .root) "LONGVIEW_WORKER_BUILD_ID" .buildId) }}
{{- end }}

{{/*
Earlier versions of this release's workers, as JSON {versions: [{queue, hash, buildId, phase, live, image}]}. `live` is the Deployment as the cluster has
it; there is none where no cluster can be asked (helm template), and then worker.previousVersions names what is rendered. Phases: `kept`; `retiring` (named
in worker.retire: this upgrade scales it to nothing and takes its `keep` away); `gone` (the upgrade after that: no longer rendered, so that Helm deletes it).
*/}}
{{- define "longview.previousWorkers" -}}
{{- $root := . -}}
{{- $current := include "longview.versionHash" (include "longview.buildId" .) -}}
{{- $found := list -}}{{- $seen := list -}}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items | default list -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $hash := get $labels "longview.example.org/worker-version" -}}
{{- $ours := and (eq (get $labels "app.kubernetes.io/instance") $root.Release.Name) (eq (get $labels "app.kubernetes.io/name") $root.Chart.Name) -}}
{{- if and $ours $hash (ne $hash $current) -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $buildId := get $annotations "longview.example.org/build-id" -}}
{{- $phase := "kept" -}}
{{- if has $buildId $root.Values.worker.retire -}}
{{- $phase = ternary "retiring" "gone" (eq (get $annotations "helm.sh/resource-policy") "keep") -}}
{{- end -}}
{{- $queue := get $labels "app.kubernetes.io/component" | trimPrefix "worker-" -}}
{{- $found = append $found (dict "queue" $queue "hash" $hash "buildId" $buildId "phase" $phase "live" .) -}}
{{- $seen = append $seen (printf "%s %s" $hash $queue) -}}
{{- end -}}
{{- end -}}
{{- range $version := .Values.worker.previousVersions -}}
{{- $hash := include "longview.versionHash" $version.buildId -}}
{{- range $queue := list "reading" "background" -}}
{{- if not (or (eq $hash $current) (has (printf "%s %s" $hash $queue) $seen) (has $version.buildId $root.Values.worker.retire)) -}}
{{- $found = append $found (dict "queue" $queue "hash" $hash "buildId" $version.buildId "phase" "kept" "image" $version.image) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toJson (dict "versions" $found) }}
{{- end }}

{{/* A Deployment of the cluster once more, as Helm should have it: without what the server has added. One that KEDA has put to sleep is woken where KEDA
is no longer asked. */}}
{{- define "longview.asFound" -}}
{{- $meta := .live.metadata -}}
{{- $annotations := dict -}}
{{- range $name, $value := $meta.annotations | default dict -}}
{{- if hasPrefix "longview.example.org/" $name -}}{{- $_ := set $annotations $name $value -}}{{- end -}}
{{- end -}}
{{- if and .keep (ne .phase "retiring") -}}{{- $_ := set $annotations "helm.sh/resource-policy" "keep" -}}{{- end -}}
{{- $spec := .live.spec -}}
{{- if eq .phase "retiring" -}}{{- $_ := set $spec "replicas" 0 -}}
{{- else if and .awake (eq (int $spec.replicas) 0) -}}{{- $_ := set $spec "replicas" 1 -}}
{{- end -}}
{{ toYaml (dict
  "apiVersion" "apps/v1" "kind" "Deployment"
  "metadata" (dict "name" $meta.name "labels" $meta.labels "annotations" $annotations)
  "spec" $spec
) }}
{{- end }}
