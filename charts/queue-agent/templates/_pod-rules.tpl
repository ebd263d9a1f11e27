{{- /*
Kubernetes refuses a pod whose parts have one name or place twice, which values may bring about: said
here by the values' names. (dict "spec" "a pod's, as YAML" "value" "pod")
*/ -}}
{{- define "chart.podRules" -}}
{{- $spec := .spec | fromYaml -}}
{{- $value := .value -}}
{{- $volumes := list -}}
{{- range $spec.volumes -}}
{{- if has .name $volumes -}}
{{- fail (printf "%s.extraVolumes: a volume is called %s already" $value .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $names := list -}}
{{- $ports := list -}}
{{- range concat (default list $spec.initContainers) $spec.containers -}}
{{- $container := .name -}}
{{- if has $container $names -}}
{{- fail (printf "%s.extraContainers, %s.extraInitContainers: a container is called %s already" $value $value $container) -}}
{{- end -}}
{{- $names = append $names $container -}}
{{- range .ports -}}
{{- $port := printf "%v/%v" .containerPort (default "TCP" .protocol) -}}
{{- if has $port $ports -}}
{{- fail (printf "the container %s listens on %s, as another one of its pod does: choose another port" $container $port) -}}
{{- end -}}
{{- $ports = append $ports $port -}}
{{- end -}}
{{- $limits := dig "resources" "limits" dict . | default dict -}}
{{- range $kind, $count := dig "resources" "requests" dict . | default dict -}}
{{- if and (contains "/" $kind) $count (ne (toString $count) (get $limits $kind | toString)) -}}
{{- fail (printf "resources of the container %s: %s: requests and limits must name the same number" $container $kind) -}}
{{- end -}}
{{- end -}}
{{- $paths := list -}}
{{- range .volumeMounts -}}
{{- $path := trimSuffix "/" .mountPath -}}
{{- if has $path $paths -}}
{{- fail (printf "%s is mounted twice in the container %s: by the chart, extraVolumeMounts, writablePaths or models.mountPath" .mountPath $container) -}}
{{- end -}}
{{- $paths = append $paths $path -}}
{{- if not (has .name $volumes) -}}
{{- fail (printf "extraVolumeMounts: the container %s mounts %s, and %s.extraVolumes has no such volume" $container .name $value) -}}
{{- end -}}
{{- end -}}
{{- $variables := list -}}
{{- range .env -}}
{{- if has .name $variables -}}
{{- fail (printf "extraEnv: the container %s has %s twice" $container .name) -}}
{{- end -}}
{{- $variables = append $variables .name -}}
{{- if and (hasKey . "value") (not (kindIs "string" .value)) -}}
{{- fail (printf "extraEnv: %s: a value is a text, so in quotes" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- .spec | trim -}}
{{- end -}}
