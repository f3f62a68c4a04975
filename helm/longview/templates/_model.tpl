{{/* What the model server is told: model.settings, and what the chart decides. None of the other processes' settings reaches it. */}}
{{- define "longview.modelEnvironment" -}}
{{- $env := dict "HOME" "/var/cache/longview" "XDG_CACHE_HOME" "/var/cache/longview" -}}
{{- range $name, $value := .Values.model.settings -}}
{{- $_ := set $env (printf "LONGVIEW_MODEL_SERVER_%s" (upper $name)) (toString $value) -}}
{{- end -}}
{{- $media := ternary (printf "%s/store" (include "longview.dataFolder" .)) "/media" (eq (include "longview.modelMedia" .) "file") -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_HOST" "0.0.0.0" -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_PORT" "8000" -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_CHECKPOINT" (include "longview.checkpointPath" .) -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_MEDIA_DIR" $media -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_CACHE" "/var/cache/longview" -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_TOKEN_FILE" (printf "%s/model_token" (include "longview.secretFolder" .)) -}}
{{- if .Values.model.tls.secret -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_TLS_CERT_FILE" "/etc/longview/tls/tls.crt" -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_TLS_KEY_FILE" "/etc/longview/tls/tls.key" -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_PROBE_PORT" "9090" -}}
{{- if .Values.model.tls.clients -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_CLIENT_CA_FILE" "/etc/longview/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- $settings := include "longview.settings" . | fromJson -}}
{{- range $name := list "log_format" "traces_url" -}}
{{- with get $settings $name -}}{{- $_ := set $env (printf "LONGVIEW_MODEL_SERVER_%s" (upper $name)) . -}}{{- end -}}
{{- end -}}
{{- if eq .Values.model.device "gpu" -}}
{{- $_ := set $env "LONGVIEW_MODEL_SERVER_TENSOR_PARALLEL" (toString .Values.model.gpus) -}}
{{- end -}}
{{- range $name, $value := $env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end -}}
{{- end }}

{{/* Its resources, with as many GPUs as share the model. */}}
{{- define "longview.modelResources" -}}
{{- $resources := deepCopy .Values.model.resources -}}
{{- if eq .Values.model.device "gpu" -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- $_ := set $limits .Values.model.gpuResource (.Values.model.gpus | int64) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{ toYaml $resources }}
{{- end }}

{{/* The name of the port that answers probes and Prometheus: with TLS one of its own, since neither has a certificate. */}}
{{- define "longview.modelProbes" -}}
{{- ternary "operations" "http" (ne .Values.model.tls.secret "") -}}
{{- end }}
