{{/* What every Pod has in common: hardening as Pod Security `restricted` asks for, placement, volumes, probes. */}}

{{- define "longview.serviceAccount" -}}
{{ include "longview.fullname" .root }}-{{ .component }}
{{- end }}

{{- define "longview.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Service links are off: with them Kubernetes would invent LONGVIEW_ variables for Services, and an unknown one is refused.
All processes are one user, because the store's folders are its owner's alone. */}}
{{- define "longview.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where a Pod may and should run. `values` are a component's: nodeSelector, tolerations, affinity, priorityClassName. */}}
{{- define "longview.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .values.priorityClassName | default .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if .values.affinity }}
affinity: {{ toYaml .values.affinity | nindent 2 }}
{{- else if and .root.Values.trial.enabled .onStore }}
affinity: # a volume that one node alone can mount keeps all of the trial on that node
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/instance: {{ .root.Release.Name }}
            longview.example.org/on-store: "true"
{{- end }}
{{- end }}

{{- define "longview.spread" -}}
topologySpreadConstraints:
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{ include "longview.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{- define "longview.probes" -}}
startupProbe:
  httpGet: {path: /health, port: operations}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /ready, port: operations}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health, port: operations}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* Names of the files of ConfigMaps that a component reads. */}}
{{- define "longview.filesOf" -}}
{{- $component := .component -}}{{- $names := list -}}
{{- range $name, $file := .root.Values.files -}}
{{- if and (or $file.configMap $file.inline) (include "longview.isTold" (dict "component" $component "name" $name)) -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{ toJson (dict "names" $names) }}
{{- end }}

{{- define "longview.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if (include "longview.secretsOf" . | fromJson).names }}
- {name: secrets, mountPath: {{ include "longview.secretFolder" .root }}, readOnly: true}
{{- end }}
{{- if (include "longview.filesOf" . | fromJson).names }}
- {name: files, mountPath: {{ include "longview.fileFolder" .root }}, readOnly: true}
{{- end }}
{{- if .store }}
{{- $data := include "longview.dataFolder" .root }}
{{- if .root.Values.trial.enabled }}
- {name: store, mountPath: {{ $data }}/store, subPath: store, readOnly: {{ eq .store "read" }}}
- {name: store, mountPath: {{ $data }}/state, subPath: state, readOnly: {{ eq .store "read" }}}
{{- else }}
- {name: store, mountPath: {{ $data }}/store, readOnly: {{ eq .store "read" }}}
{{- end }}
{{- end }}
{{- if .checkpoint }}
{{ include "longview.checkpointMount" (dict "root" .root "readOnly" true) }}
{{- end }}
{{- end }}

{{- define "longview.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ (.values).tmpSize | default "1Gi" }}}
{{- with (include "longview.secretsOf" . | fromJson).names }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
{{- range . }}
{{- $secret := get $.root.Values.secrets . }}
      - secret:
          name: {{ $secret.name }}
          items: [{key: {{ $secret.key | quote }}, path: {{ . }}}]
{{- end }}
{{- end }}
{{- $early := and (eq .component "migrate") .root.Values.migrations.hook }}
{{- with (include "longview.filesOf" . | fromJson).names }}
- name: files
  projected:
    defaultMode: 0444
    sources:
{{- range $name := . }}
{{- $file := get $.root.Values.files $name }}
      - configMap:
          name: {{ $file.configMap | default (printf "%s-%sfiles" (include "longview.fullname" $.root) (ternary "migrate-" "" $early)) }}
          items: [{key: {{ ternary $file.key $name (ne $file.configMap "") | quote }}, path: {{ $name }}}]
{{- end }}
{{- end }}
{{- if .store }}
- name: store
  persistentVolumeClaim: {claimName: {{ include "longview.storeClaim" .root }}}
{{- end }}
{{- if .checkpoint }}
{{ include "longview.checkpointVolume" .root }}
{{- end }}
{{- end }}

{{/* The checkpoint: an image that holds it, a claim, or (untrained) a folder of the trial's claim. "" for whoever needs no more of it than release.json, where
files.model_release holds that: 8.6 GB would be fetched to every node of a worker. */}}
{{- define "longview.hasCheckpoint" -}}
{{- $told := or .Values.files.model_release.configMap .Values.files.model_release.inline -}}
{{- if and .Values.model.enabled (not $told) }}true{{ end -}}
{{- end }}

{{- define "longview.checkpointMount" -}}
- {name: checkpoint, mountPath: /models, readOnly: {{ .readOnly }}{{ if .root.Values.model.checkpoint.untrained }}, subPath: models{{ end }}}
{{- end }}

{{- define "longview.checkpointVolume" -}}
{{- $checkpoint := .Values.model.checkpoint -}}
- name: checkpoint
{{- if $checkpoint.untrained }}
  persistentVolumeClaim: {claimName: {{ include "longview.storeClaim" . }}}
{{- else if $checkpoint.image.reference }}
  image: {reference: {{ $checkpoint.image.reference | quote }}, pullPolicy: {{ $checkpoint.image.pullPolicy }}}
{{- else }}
  persistentVolumeClaim: {claimName: {{ $checkpoint.existingClaim }}, readOnly: true}
{{- end }}
{{- end }}

{{/* Annotations that make a new configuration a new rollout, and those of the values. */}}
{{- define "longview.podAnnotations" -}}
{{- $all := dict -}}
{{- $files := dict -}}
{{- range (include "longview.filesOf" . | fromJson).names -}}{{- $_ := set $files . (get $.root.Values.files .) -}}{{- end -}}
{{- if $files -}}{{- $_ := set $all "checksum/files" (toJson $files | sha256sum) -}}{{- end -}}
{{- $all = merge $all ((.values).podAnnotations | default dict) .root.Values.podAnnotations -}}
{{- if $all }}
annotations: {{ toYaml $all | nindent 2 }}
{{- end }}
{{- end }}

{{/*
A Deployment of ours. Takes: root, component, values (the component's), image, args (of `longview`), own (env of this component alone), store ("", "read"
or "write"), checkpoint (bool), ports (name -> number), labels (besides; also in the selector), suffix (of the name), annotations, replicas ("" where an
autoscaler decides), preStop (seconds), strategy.
*/}}
{{- define "longview.deployment" -}}
{{- $name := printf "%s-%s%s" (include "longview.fullname" .root) .component (.suffix | default "") -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels: {{ include "longview.labels" . | nindent 4 }}
    {{- with .labels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with .annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if ne (toString .replicas) "" }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: {{ .root.Values.revisionHistoryLimit }}
  progressDeadlineSeconds: {{ .progressDeadlineSeconds | default 600 }}
  strategy: {{ .strategy | default (dict "type" "RollingUpdate" "rollingUpdate" (dict "maxSurge" 1 "maxUnavailable" 0)) | toYaml | nindent 4 }}
  selector:
    matchLabels: {{ include "longview.selector" . | nindent 6 }}
      {{- with .labels }}{{ toYaml . | nindent 6 }}{{ end }}
  template:
    metadata:
      labels: {{ include "longview.podLabels" . | nindent 8 }}
      {{- include "longview.podAnnotations" . | nindent 6 }}
    spec:
      serviceAccountName: {{ include "longview.serviceAccount" . }}
      {{- include "longview.podSecurity" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
      {{- include "longview.placement" (dict "root" .root "values" .values "onStore" .store) | nindent 6 }}
      {{- include "longview.spread" . | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ .image }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: [longview]
          args: {{ toJson .args }}
          {{- include "longview.containerSecurity" . | nindent 10 }}
          env: {{ include "longview.environment" (dict "root" .root "component" .component "store" (ne .store "") "own" (merge (dict) (.own | default dict) (dict "LONGVIEW_GRACE_SECONDS" (include "longview.graceSeconds" .values)) (include "longview.operations" .root | fromJson))) | nindent 12 }}
          ports:
            - {name: operations, containerPort: 9090}
            {{- range $port, $number := .ports }}
            - {name: {{ $port }}, containerPort: {{ $number }}}
            {{- end }}
          {{- include "longview.probes" . | nindent 10 }}
          {{- with .preStop }}
          lifecycle: {preStop: {sleep: {seconds: {{ . }}}}}
          {{- end }}
          resources: {{ toYaml .values.resources | nindent 12 }}
          volumeMounts: {{ include "longview.mounts" . | nindent 12 }}
      volumes: {{ include "longview.volumes" . | nindent 8 }}
{{- end }}

{{/* A Job that runs one command of `longview`. Takes: root, component, values, args, own, store, annotations, suffix. */}}
{{- define "longview.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "longview.fullname" .root }}-{{ .component }}{{ .suffix | default "" }}
  labels: {{ include "longview.labels" . | nindent 4 }}
  {{- with .annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  backoffLimit: {{ .values.backoffLimit }}
  activeDeadlineSeconds: {{ .values.activeDeadlineSeconds }}
  template:
    metadata:
      labels: {{ include "longview.podLabels" . | nindent 8 }}
      {{- include "longview.podAnnotations" . | nindent 6 }}
    spec:
      serviceAccountName: {{ include "longview.serviceAccount" . }}
      restartPolicy: Never
      {{- include "longview.podSecurity" . | nindent 6 }}
      {{- include "longview.placement" (dict "root" .root "values" .values "onStore" .store) | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "longview.servicesImage" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: [longview]
          args: {{ toJson .args }}
          {{- include "longview.containerSecurity" . | nindent 10 }}
          env: {{ include "longview.environment" (dict "root" .root "component" .component "store" (ne (.store | default "") "") "own" .own) | nindent 12 }}
          resources: {{ toYaml .values.resources | nindent 12 }}
          volumeMounts: {{ include "longview.mounts" . | nindent 12 }}
      volumes: {{ include "longview.volumes" . | nindent 8 }}
{{- end }}
