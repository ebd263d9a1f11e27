{{- /* Whole numbers reach templates as floats, and large ones would be written as 6.4e+07. */ -}}
{{- define "chart.text" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else if not (kindIs "invalid" .) -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- /* A quantity, if Kubernetes reads it: (dict "value" "10Gi" "of" "the value's name") */ -}}
{{- define "chart.quantity" -}}
{{- $text := include "chart.text" .value -}}
{{- if not (regexMatch "^([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$" $text) -}}
{{- fail (printf "%s: %s is no quantity that Kubernetes knows, such as 10Gi, 1.5Gi, 500M, 250m or 2: one number, not negative, and its unit without a blank" .of ($text | quote)) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{- /* The same as a number. */ -}}
{{- define "chart.amount" -}}
{{- $text := include "chart.quantity" . -}}
{{- $unit := regexFind "([KMGTPE]i|[numkMGTPE])$" $text -}}
{{- $units := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) -}}
{{- end -}}

{{- /* A container's resources, if Kubernetes takes them: (dict "resources" … "of" "the value's name") */ -}}
{{- define "chart.resources" -}}
{{- $of := .of -}}
{{- $requests := default dict (default dict .resources).requests -}}
{{- $limits := default dict (default dict .resources).limits -}}
{{- range $kind, $count := $limits -}}
{{- if not (kindIs "invalid" $count) -}}{{- $_ := include "chart.quantity" (dict "value" $count "of" (printf "%s.limits.%s" $of $kind)) -}}{{- end -}}
{{- end -}}
{{- range $kind, $count := $requests -}}
{{- if not (kindIs "invalid" $count) -}}
{{- $asked := include "chart.amount" (dict "value" $count "of" (printf "%s.requests.%s" $of $kind)) | float64 -}}
{{- $limit := get $limits $kind -}}
{{- $bounded := and (hasKey $limits $kind) (not (kindIs "invalid" $limit)) -}}
{{- $most := $bounded | ternary $limit 0 -}}
{{- $most = include "chart.amount" (dict "value" $most "of" (printf "%s.limits.%s" $of $kind)) | float64 -}}
{{- if or (contains "/" $kind) (hasPrefix "hugepages-" $kind) -}}
{{- if or (not $bounded) (ne $asked $most) -}}
{{- fail (printf "%s: %s: requests and limits must name the same number" $of $kind) -}}
{{- end -}}
{{- else if and $bounded (gt $asked $most) -}}
{{- fail (printf "%s: %s: the request (%s) is larger than the limit (%s)" $of $kind (include "chart.text" $count) (include "chart.text" $limit)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $kind, $count := $limits -}}
{{- if and (contains "/" $kind) (not (kindIs "invalid" $count)) -}}
{{- $whole := include "chart.amount" (dict "value" $count "of" $of) | float64 -}}
{{- if ne $whole (floor $whole) -}}
{{- fail (printf "%s.limits.%s: %s is no whole number of devices" $of $kind (include "chart.text" $count)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
