{{/* What KEDA's operator logs in with at Kafka and Temporal. Takes: root, kind ("kafka" or "temporal"); "" where it needs nothing. */}}
{{- define "longview.scalerLogin" -}}
{{- $values := .root.Values -}}
{{- $settings := include "longview.settings" .root | fromJson -}}
{{- $security := get $settings "kafka_security" | default "plaintext" -}}
{{- $sasl := and (eq .kind "kafka") (hasPrefix "sasl" $security) -}}
{{- $tls := ternary (hasSuffix "ssl" $security) (eq (get $settings "temporal_tls") "on") (eq .kind "kafka") -}}
{{- $secrets := dict -}}
{{- $maps := dict -}}
{{- if $sasl -}}
{{- $_ := set $secrets "password" $values.secrets.kafka_password -}}
{{- $_ := set $maps "username" (dict "name" (printf "%s-scaler" (include "longview.fullname" .root)) "key" "kafka-username") -}}
{{- end -}}
{{- if and (eq .kind "temporal") $values.secrets.temporal_api_key.name -}}
{{- $_ := set $secrets "apiKey" $values.secrets.temporal_api_key -}}
{{- end -}}
{{- if $tls -}}
{{- with $values.secrets.client_cert_file -}}{{- if .name -}}{{- $_ := set $secrets "cert" . -}}{{- end -}}{{- end -}}
{{- with $values.secrets.client_key_file -}}{{- if .name -}}{{- $_ := set $secrets "key" . -}}{{- end -}}{{- end -}}
{{- with $values.files.ca_file -}}
{{- if .configMap -}}{{- $_ := set $maps "ca" (dict "name" .configMap "key" .key) -}}
{{- else if .inline -}}{{- $_ := set $maps "ca" (dict "name" (printf "%s-files" (include "longview.fullname" $.root)) "key" "ca_file") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if or $secrets $maps -}}
{{ toYaml (dict "secrets" $secrets "maps" $maps) }}
{{- end -}}
{{- end }}

{{- define "longview.temporalTrigger" -}}
{{- $settings := include "longview.settings" .root | fromJson -}}
{{- $queue := get $settings "task_queue" | default "longview" -}}
- type: temporal
  metadata:
    endpoint: {{ get $settings "temporal_address" | quote }}
    namespace: {{ get $settings "temporal_namespace" | default "default" | quote }}
    taskQueue: {{ ternary $queue (printf "%s-background" $queue) (eq .queue "reading") | quote }}
    queueTypes: workflow,activity
    targetQueueSize: {{ .root.Values.autoscaling.worker.backlog | quote }}
    enableTLS: {{ eq (get $settings "temporal_tls") "on" | quote }}
    {{- if .root.Values.worker.versioning }}
    workerDeploymentName: {{ include "longview.workerDeployment" .root | quote }}
    workerDeploymentBuildId: {{ .buildId | quote }}
    {{- if .previous }}
    includeRunningWorkflowCount: "true" # awake while the version drains: a review may come at any time
    {{- end }}
    {{- end }}
  {{- if include "longview.scalerLogin" (dict "root" .root "kind" "temporal") }}
  authenticationRef: {name: {{ include "longview.fullname" .root }}-temporal}
  {{- end }}
{{- end }}

{{/* A ScaledObject, never kept: where a rollback takes it away, its workers stay as many as they are. Takes: root, component, suffix, least, most, triggers (text). */}}
{{- define "longview.scaledObject" -}}
{{- $name := printf "%s-%s%s" (include "longview.fullname" .root) .component (.suffix | default "") -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $name }}
  labels: {{ include "longview.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {name: {{ $name }}}
  minReplicaCount: {{ .least }}
  maxReplicaCount: {{ .most }}
  pollingInterval: {{ .root.Values.autoscaling.pollingSeconds }}
  cooldownPeriod: {{ .root.Values.autoscaling.cooldownSeconds }}
  triggers: {{ .triggers | nindent 4 }}
{{- end }}

{{/* An autoscaling/v2 HorizontalPodAutoscaler by CPU and memory, or by `metric` of the Pods. */}}
{{- define "longview.hpa" -}}
{{- $name := printf "%s-%s%s" (include "longview.fullname" .root) .component (.suffix | default "") -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  labels: {{ include "longview.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ .least }}
  maxReplicas: {{ .most }}
  behavior: {scaleDown: {stabilizationWindowSeconds: {{ .root.Values.autoscaling.cooldownSeconds }}}}
  metrics:
    {{- if .metric }}
    - type: Pods
      pods: {metric: {name: {{ .metric }}}, target: {type: AverageValue, averageValue: {{ .target | quote }}}}
    {{- else }}
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .root.Values.autoscaling.hpa.cpuPercent }}}}
    - type: Resource
      resource: {name: memory, target: {type: Utilization, averageUtilization: {{ .root.Values.autoscaling.hpa.memoryPercent }}}}
    {{- end }}
{{- end }}

{{/* Records that the gateway has not read: the inbound topics of schemas/events.py, and the group of services/adapters.py. */}}
{{- define "longview.kafkaTrigger" -}}
{{- $settings := include "longview.settings" . | fromJson -}}
{{- $security := get $settings "kafka_security" | default "plaintext" -}}
{{- $mechanisms := dict "SCRAM-SHA-512" "scram_sha512" "SCRAM-SHA-256" "scram_sha256" "PLAIN" "plaintext" -}}
- type: apache-kafka
  metadata:
    bootstrapServers: {{ get $settings "kafka_bootstrap" | quote }}
    consumerGroup: longview-gateway
    topic: hospital.imaging-study.v1,hospital.observation.v1,hospital.patient.v1,hospital.order.v1,hospital.report.v1
    lagThreshold: {{ .Values.autoscaling.gateway.lag | quote }}
    offsetResetPolicy: earliest
    {{- if hasPrefix "sasl" $security }}
    sasl: {{ get $mechanisms (get $settings "kafka_sasl_mechanism" | default "SCRAM-SHA-512") }}
    {{- end }}
    tls: {{ ternary "enable" "disable" (hasSuffix "ssl" $security) }}
  {{- if include "longview.scalerLogin" (dict "root" . "kind" "kafka") }}
  authenticationRef: {name: {{ include "longview.fullname" . }}-kafka}
  {{- end }}
{{- end }}

{{/* Questions that wait for a place in the engine. */}}
{{- define "longview.waitingTrigger" -}}
{{- $pods := printf "%s-model-.+" (include "longview.fullname" .) -}}
- type: prometheus
  metadata:
    serverAddress: {{ .Values.autoscaling.prometheusAddress | quote }}
    query: {{ printf "sum(vllm:num_requests_waiting{namespace=%q,pod=~%q})" .Release.Namespace $pods | quote }}
    threshold: {{ .Values.autoscaling.model.waiting | quote }}
{{- end }}
