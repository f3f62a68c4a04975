{{/*
Who may speak with whom. Nothing is open that is not named here: Pods of this release among themselves as they need it, the rest as `networkPolicy` of the
values says. An entry of the values is {cidr, except} or {namespace, pods}, and for egress its ports.
*/}}

{{/* Takes one entry of the values; one NetworkPolicyPeer. */}}
{{- define "longview.peer" -}}
{{- if .cidr }}
- ipBlock:
    cidr: {{ .cidr }}
    {{- with .except }}
    except: {{ toJson . }}
    {{- end }}
{{- else }}
- {{ if .namespace }}namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}}
  {{ end }}podSelector: {{ if .pods }}{matchLabels: {{ toJson .pods }}}{{ else }}{}{{ end }}
{{- end }}
{{- end }}

{{/* Pods of this release. Takes: root, components. */}}
{{- define "longview.peersWithin" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ .root.Chart.Name }}
      app.kubernetes.io/instance: {{ .root.Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ toJson .components }}}
{{- end }}

{{/* What each component speaks to, and where that is when it is a part of this release. */}}
{{- define "longview.routes" -}}
{{- $reading := list "temporal" "fhir" "dicomweb" "database" "model" "traces" -}}
{{ toJson (dict
  "egress" (dict
    "gateway" (list "kafka" "temporal" "database" "traces")
    "worker-reading" $reading
    "worker-background" (append $reading "audit")
    "inbox" (list "temporal" "database" "oidc" "traces")
    "codec" (list "database" "traces")
    "model" (list "traces")
    "migrate" (list "database")
    "schedules" (list "temporal")
    "promote" (list "temporal")
    "test" (concat $reading (list "kafka" "oidc" "audit" "inbox")))
  "within" (dict
    "kafka" (dict "component" "trial-broker" "port" 9092)
    "temporal" (dict "component" "trial-temporal" "port" 7233)
    "fhir" (dict "component" "trial-fhir" "port" 8080)
    "dicomweb" (dict "component" "trial-archive" "port" 8081)
    "model" (dict "component" "model" "port" 8000))
) }}
{{- end }}

{{/* Takes: root, component, annotations. */}}
{{- define "longview.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "longview.fullname" .root }}-{{ .component }}
  labels: {{ include "longview.labels" . | nindent 4 }}
  {{- with .annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels: {{ include "longview.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress: {{ include "longview.ingressRules" . | trim | default "[]" | nindent 4 }}
  egress: {{ include "longview.egressRules" . | trim | default "[]" | nindent 4 }}
{{- end }}

{{- define "longview.ingressRules" -}}
{{- $root := .root -}}{{- $component := .component -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $present := (include "longview.components" .root | fromYaml).components -}}
{{- $routes := include "longview.routes" .root | fromJson -}}
{{- $ports := dict "inbox" 8080 "codec" 8082 "model" 8000 -}}
{{- if and $policy.ingress.monitoring (has $component (list "gateway" "worker-reading" "worker-background" "inbox" "codec" "model")) }}
- from: {{ range $policy.ingress.monitoring }}{{ include "longview.peer" . | nindent 4 }}{{ end }}
  ports: [{protocol: TCP, port: {{ ternary 8000 9090 (and (eq $component "model") (eq (include "longview.modelProbes" .root) "http")) }}}]
{{- end }}
{{- if and (hasKey $ports $component) (get $policy.ingress $component) }}
- from: {{ range get $policy.ingress $component }}{{ include "longview.peer" . | nindent 4 }}{{ end }}
  ports: [{protocol: TCP, port: {{ get $ports $component }}}]
{{- end }}
{{- range $route, $within := $routes.within }}
{{- if eq $within.component $component }}
{{- $callers := list }}
{{- range $caller, $egress := $routes.egress }}
{{- if and (has $route $egress) (has $caller $present) }}{{ $callers = append $callers $caller }}{{ end }}
{{- end }}
{{- if $callers }}
- from: {{ include "longview.peersWithin" (dict "root" $root "components" $callers) | nindent 4 }}
  ports: [{protocol: TCP, port: {{ $within.port }}}]
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "longview.egressRules" -}}
{{- $root := .root -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $present := (include "longview.components" .root | fromYaml).components -}}
{{- $routes := include "longview.routes" .root | fromJson -}}
{{- $to := get $routes.egress .component | default list -}}
{{- if and $policy.dns $to }}
- to: {{ range $policy.dns }}{{ include "longview.peer" . | nindent 4 }}{{ end }}
  ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{- end }}
{{- range $route := $to }}
{{- $within := get $routes.within $route | default dict }}
{{- if has ($within.component | default "") $present }}
- to: {{ include "longview.peersWithin" (dict "root" $root "components" (list $within.component)) | nindent 4 }}
  ports: [{protocol: TCP, port: {{ $within.port }}}]
{{- end }}
{{- range get $policy.egress $route | default list }}
- to: {{ include "longview.peer" . | nindent 4 }}
  ports: [{{ range $i, $port := .ports }}{{ if $i }}, {{ end }}{protocol: TCP, port: {{ $port }}}{{ end }}]
{{- end }}
{{- end }}
{{- end }}
