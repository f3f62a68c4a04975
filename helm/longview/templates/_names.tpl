{{/* Names, labels and images. A name leaves room for the longest suffix, "-worker-background-" and 8 digits, within 63 characters. */}}

{{- define "longview.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 34 | trimSuffix "-" -}}
{{- end }}

{{- define "longview.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "longview.labels" -}}
{{ include "longview.selector" . }}
app.kubernetes.io/part-of: longview
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What each image is called where it is built (scripts/images/catalog.py). */}}
{{- define "longview.imageNames" -}}
{"services": "longview", "trial": "longview-trial", "cpu": "longview-model-cpu", "gpu": "longview-model"}
{{- end }}

{{/* registry/repository@digest, or :tag where no digest is given. `image` is one of the values' images, `target` what it is called when it is built. */}}
{{- define "longview.image" -}}
{{- $registry := .image.registry | default .root.Values.image.registry -}}
{{- $name := .image.repository | default (get (include "longview.imageNames" . | fromJson) .target) -}}
{{- $path := ternary (printf "%s/%s" $registry $name) $name (ne $registry "") -}}
{{- if .image.digest -}}
{{ $path }}@{{ .image.digest }}
{{- else -}}
{{ $path }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "longview.servicesImage" -}}
{{ include "longview.image" (dict "root" . "image" .Values.image "target" "services") }}
{{- end }}

{{/* What Temporal knows this release's workers by: letters, digits, '.', '_' and '-' alone, since KEDA asks for it in a visibility query. */}}
{{- define "longview.buildId" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- $id := $tag -}}
{{- if .Values.image.digest -}}
{{- $id = printf "%s-%s" $tag (.Values.image.digest | trimPrefix "sha256:" | trunc 12) -}}
{{- end -}}
{{- default $id .Values.worker.buildId | replace "+" "_" -}}
{{- end }}

{{/* Eight hex digits for a build id, short enough for a name. */}}
{{- define "longview.versionHash" -}}
{{- sha256sum . | trunc 8 -}}
{{- end }}

{{/* The name of the Temporal worker deployment: one for each release, also where several share a Temporal namespace. */}}
{{- define "longview.workerDeployment" -}}
{{- default (printf "%s-%s" .Release.Namespace (include "longview.fullname" .) | trunc 64 | trimSuffix "-") .Values.worker.deploymentName -}}
{{- end }}

{{- define "longview.storeClaim" -}}
{{- default (printf "%s-store" (include "longview.fullname" .)) .Values.store.existingClaim -}}
{{- end }}

{{/* What a Pod bears: no version of chart or release, since a new one alone must restart nothing. */}}
{{- define "longview.podLabels" -}}
{{ include "longview.selector" . }}
app.kubernetes.io/part-of: longview
{{- with .labels }}
{{ toYaml . }}
{{- end }}
{{- if .store }}
longview.example.org/on-store: "true"
{{- end }}
{{- end }}

{{/* Components of this release that run processes, as YAML: {components: [...]}. */}}
{{- define "longview.components" -}}
{{- $all := list -}}
{{- if .Values.gateway.enabled }}{{- $all = append $all "gateway" }}{{- end -}}
{{- if .Values.worker.enabled }}{{- $all = concat $all (list "worker-reading" "worker-background") }}{{- end -}}
{{- if .Values.inbox.enabled }}{{- $all = append $all "inbox" }}{{- end -}}
{{- if .Values.codec.enabled }}{{- $all = append $all "codec" }}{{- end -}}
{{- if .Values.model.enabled }}{{- $all = append $all "model" }}{{- end -}}
{{- if and .Values.worker.enabled .Values.schedules.enabled }}{{- $all = append $all "schedules" }}{{- end -}}
{{- if and .Values.worker.enabled .Values.worker.versioning }}{{- $all = append $all "promote" }}{{- end -}}
{{- if and .Values.worker.enabled .Values.tests.enabled }}{{- $all = append $all "test" }}{{- end -}}
{{- if .Values.trial.enabled }}{{- $all = concat $all (list "trial-broker" "trial-temporal" "trial-fhir" "trial-archive") }}{{- end -}}
{{- if and .Values.migrations.enabled (not .Values.migrations.hook) }}{{- $all = append $all "migrate" }}{{- end -}}
{{ toYaml (dict "components" $all) }}
{{- end }}
