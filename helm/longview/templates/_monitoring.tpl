{{/* The alerts of one installation: its runbooks, its namespace, and no alarm for what it does not run. */}}
{{- define "longview.alerts" -}}
{{- $text := .text | replace "https://runbooks.example.org/longview" (.root.Values.monitoring.runbooks | trimSuffix "/") -}}
{{- range $process := list "gateway" "worker" "inbox" "codec" -}}
{{- if not (get $.root.Values $process).enabled -}}
{{- $text = regexReplaceAll (printf "\\n *or absent\\(longview_build_info\\{[^}]*process=\"%s\"\\}\\)" $process) $text "" -}}
{{- end -}}
{{- end -}}
{{- $text = $text | replace "namespace=\"longview\"" (printf "namespace=%q" .root.Release.Namespace) -}}
{{- $groups := list -}}
{{- range $group := (fromYaml $text).groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- if or $.root.Values.model.enabled (ne $rule.alert "LongviewModelGone") -}}{{- $rules = append $rules $rule -}}{{- end -}}
{{- end -}}
{{- $groups = append $groups (set $group "rules" $rules) -}}
{{- end -}}
{{ toYaml (dict "groups" $groups) }}
{{- end }}
