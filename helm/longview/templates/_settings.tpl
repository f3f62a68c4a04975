{{/*
What the processes are told. `settings` of the values, what the chart itself decides, and paths of files: of ConfigMaps (`files`) and of Secrets
(`secrets`). Everything stands in the Pod's template: what a version was started with stays with it when it is rolled back, or kept beside a newer one.
*/}}

{{/* All settings that are the same for every process, as JSON; those of the trial's parts are filled in. */}}
{{- define "longview.settings" -}}
{{- $all := dict -}}
{{- if .Values.trial.enabled -}}
{{- $name := include "longview.fullname" . -}}
{{- $_ := set $all "kafka_bootstrap" (printf "%s-trial-broker:9092" $name) -}}
{{- $_ := set $all "temporal_address" (printf "%s-trial-temporal:7233" $name) -}}
{{- $_ := set $all "fhir_url" (printf "http://%s-trial-fhir:8080/fhir" $name) -}}
{{- $_ := set $all "dicomweb_url" (printf "http://%s-trial-archive:8081/dicom-web" $name) -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- if kindIs "bool" $value -}}
{{- $_ := set $all $name (ternary "on" "off" $value) -}}
{{- else if kindIs "float64" $value -}}
{{- $_ := set $all $name (int64 $value | toString) -}}
{{- else if ne (toString $value) "" -}}
{{- $_ := set $all $name (toString $value) -}}
{{- end -}}
{{- end -}}
{{ toJson $all }}
{{- end }}

{{/* Settings that only some processes are told, by what their names begin with: one that logs in somewhere must have the secret for it too. */}}
{{- define "longview.toldTo" -}}
{{- $workers := list "worker-reading" "worker-background" "test" -}}
{{ toJson (dict
  "kafka_" (list "gateway" "test")
  "fhir_" $workers
  "dicomweb_" $workers
  "model_" $workers
  "shadow_" $workers
  "history_" $workers
  "escalation_" $workers
  "critical_" $workers
  "series_" $workers
  "audit_" (list "worker-background" "test")
  "oidc_" (list "inbox" "test")
  "inbox_login" (list "inbox" "test")
  "codec_" (list "codec")
) }}
{{- end }}

{{/* "true" where a component is told the setting `name`. */}}
{{- define "longview.isTold" -}}
{{- $component := .component -}}{{- $name := .name -}}{{- $told := true -}}
{{- range $prefix, $components := include "longview.toldTo" . | fromJson -}}
{{- if and (hasPrefix $prefix $name) (not (has $component $components)) -}}{{- $told = false -}}{{- end -}}
{{- end -}}
{{- if $told }}true{{ end -}}
{{- end }}

{{/* The secret settings that a component may read: no more than it needs. */}}
{{- define "longview.secretsOf" -}}
{{- $connected := list "client_cert_file" "client_key_file" -}}
{{- $temporal := concat $connected (list "payload_key_file" "temporal_api_key") -}}
{{- $reading := list "database_url" "fhir_token" "fhir_key_file" "dicomweb_token" "model_token" "shadow_model_token" "history_model_token" -}}
{{- $table := dict
  "gateway" (concat $temporal (list "database_url" "kafka_password"))
  "worker-reading" (concat $temporal $reading)
  "worker-background" (concat $temporal $reading (list "audit_token"))
  "inbox" (concat $temporal (list "database_url" "oidc_client_secret"))
  "codec" (concat $connected (list "database_url" "payload_key_file" "codec_operators_file"))
  "model" (list "model_token")
  "trial-fhir" (list "fhir_token")
  "trial-archive" (list "dicomweb_token")
  "migrate" (concat $connected (list "database_url"))
  "schedules" $temporal
  "promote" $temporal
  "test" (concat $temporal $reading (list "kafka_password" "oidc_client_secret" "audit_token"))
-}}
{{- $given := list -}}
{{- range get $table .component | default list -}}
{{- if (get $.root.Values.secrets .).name -}}{{- $given = append $given . -}}{{- end -}}
{{- end -}}
{{ toJson (dict "names" $given) }}
{{- end }}

{{- define "longview.secretFolder" -}}/etc/longview/secrets{{- end }}
{{- define "longview.fileFolder" -}}/etc/longview/files{{- end }}
{{- define "longview.dataFolder" -}}/var/lib/longview{{- end }}
{{- define "longview.variable" -}}LONGVIEW_{{ upper . }}{{- end }}

{{/* Where the checkpoint lies in whatever mounts it. */}}
{{- define "longview.checkpointPath" -}}
{{- $path := ternary "current" .Values.model.checkpoint.path .Values.model.checkpoint.untrained -}}
{{- printf "/models/%s" $path | trimSuffix "/" -}}
{{- end }}

{{/* A process of ours: env as a list, sorted by name. `own` is what only this component is told; `store` is whether it mounts the object store. */}}
{{- define "longview.environment" -}}
{{- $root := .root -}}{{- $component := .component -}}
{{- $env := dict "HOME" "/tmp" -}}
{{- range $name, $value := include "longview.settings" $root | fromJson -}}
{{- if include "longview.isTold" (dict "component" $component "name" $name) -}}
{{- $_ := set $env (include "longview.variable" $name) $value -}}
{{- end -}}
{{- end -}}
{{- range $name, $file := $root.Values.files -}}
{{- if and (or $file.configMap $file.inline) (include "longview.isTold" (dict "component" $component "name" $name)) -}}
{{- $_ := set $env (include "longview.variable" $name) (printf "%s/%s" (include "longview.fileFolder" $root) $name) -}}
{{- end -}}
{{- end -}}
{{- range (include "longview.secretsOf" . | fromJson).names -}}
{{- $variable := include "longview.variable" . -}}
{{- $variable = ternary $variable (printf "%s_FILE" $variable) (hasSuffix "_FILE" $variable) -}}
{{- $_ := set $env $variable (printf "%s/%s" (include "longview.secretFolder" $root) .) -}}
{{- end -}}
{{- $kept := and .store $root.Values.trial.enabled -}}
{{- $_ := set $env "LONGVIEW_STATE_DIR" (ternary (printf "%s/state" (include "longview.dataFolder" $root)) "/tmp/state" $kept) -}}
{{- $_ := set $env "LONGVIEW_STORE_DIR" (ternary (printf "%s/store" (include "longview.dataFolder" $root)) "/tmp/store" .store) -}}
{{- if include "longview.isTold" (dict "component" $component "name" "model_url") -}}
{{- $_ := set $env "LONGVIEW_MODEL_MEDIA" (include "longview.modelMedia" $root) -}}
{{- with include "longview.modelUrl" $root -}}
{{- $_ := set $env "LONGVIEW_MODEL_URL" . -}}
{{- end -}}
{{- if and $root.Values.model.enabled (not (hasKey $env "LONGVIEW_MODEL_RELEASE")) -}}
{{- $_ := set $env "LONGVIEW_MODEL_RELEASE" (printf "%s/release.json" (include "longview.checkpointPath" $root)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .own | default dict -}}
{{- $_ := set $env $name $value -}}
{{- end -}}
{{- range $name, $value := $env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end -}}
{{- end }}

{{- define "longview.modelUrl" -}}
{{- if .Values.model.enabled -}}
{{ ternary "https" "http" (ne .Values.model.tls.secret "") }}://{{ include "longview.fullname" . }}-model:8000
{{- else -}}
{{ .Values.model.url }}
{{- end -}}
{{- end }}

{{/* A model server of this release shares the store's disk; another one does not, unless told. */}}
{{- define "longview.modelMedia" -}}
{{- default (ternary "file" "data" .Values.model.enabled) .Values.model.media -}}
{{- end }}

{{/* Where /health, /ready and /metrics are. */}}
{{- define "longview.operations" -}}
{{ toJson (dict "LONGVIEW_OPERATIONS_HOST" "0.0.0.0" "LONGVIEW_OPERATIONS_PORT" "9090") }}
{{- end }}

{{/* A process ends by itself before Kubernetes kills it; of the Pod's grace period up to 5 s pass before it is told. */}}
{{- define "longview.graceSeconds" -}}
{{- max 1 (sub (int .terminationGracePeriodSeconds) 10) -}}
{{- end }}

{{/* Others than the Pod itself may reach the inbox only where people log in; without a login it stays on the Pod's loopback (kubectl port-forward). */}}
{{- define "longview.inboxServed" -}}
{{- eq (toString .Values.settings.inbox_login) "oidc" -}}
{{- end }}

{{- define "longview.usesStore" -}}
{{- or .Values.gateway.enabled .Values.worker.enabled .Values.inbox.enabled .Values.codec.enabled (and .Values.model.enabled (eq (include "longview.modelMedia" .) "file")) -}}
{{- end }}
