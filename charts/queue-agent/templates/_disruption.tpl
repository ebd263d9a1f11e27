{{- /*
How many pods a drain may take at once: (dict "budget" values "value" "their name" "pods" the number that there is
for long). A budget that no drain ends with is refused.
*/ -}}
{{- define "chart.disruptionBudget" -}}
{{- $least := include "chart.text" .budget.minAvailable -}}
{{- $away := include "chart.text" .budget.maxUnavailable -}}
{{- if and $least $away -}}
{{- fail (printf "%s: minAvailable (%s) or maxUnavailable (%s), not both; \"\" takes one away" .value $least $away) -}}
{{- else if not (or $least $away) -}}
{{- fail (printf "%s: minAvailable or maxUnavailable, or enabled: false" .value) -}}
{{- end -}}
{{- if has $away (list "0" "0%") -}}
{{- fail (printf "%s.maxUnavailable: %s lets no pod go, so that no node is ever drained" .value $away) -}}
{{- end -}}
{{- if $least -}}
{{- $stay := int $least -}}
{{- if hasSuffix "%" $least -}}
{{- $stay = div (add (mul (trimSuffix "%" $least | int) (int .pods)) 99) 100 | int -}}
{{- end -}}
{{- if ge $stay (int .pods) -}}
{{- fail (printf "%s.minAvailable: %s of %v pods lets none go, so that no node is ever drained" .value $least .pods) -}}
{{- end -}}
{{- end -}}
{{- if $least }}
minAvailable: {{ $least }}
{{- else }}
maxUnavailable: {{ $away }}
{{- end }}
# A pod that is not ready works for nobody, and holds up no drain.
unhealthyPodEvictionPolicy: AlwaysAllow
{{- end -}}
