{{- /*
The chart's variables and those that a value adds, which win over the chart's of the same name: two
of one name are refused by server-side apply. (dict "own" "the chart's, as YAML" "extra" (list …))
*/ -}}
{{- define "chart.environment" -}}
{{- $given := dict -}}
{{- range .extra -}}{{- $_ := set $given .name . -}}{{- end -}}
{{- $own := list -}}
{{- $both := false -}}
{{- range .own | fromYamlArray -}}
{{- if hasKey $given .name -}}{{- $both = true -}}{{- else -}}{{- $own = append $own . -}}{{- end -}}
{{- end -}}
{{- if $both -}}
{{- concat $own .extra | toYaml -}}
{{- else -}}
{{- .own | trim -}}
{{- with .extra }}
{{ toYaml . }}
{{- end -}}
{{- end -}}
{{- end -}}
