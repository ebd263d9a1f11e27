{{- /*
Kubernetes refuses a pod whose parts have one name or place twice, or names, ports and quantities that
it does not know, which values may bring about: said here by the values' names.
(dict "spec" "a pod's, as YAML" "value" "pod")
*/ -}}
{{- define "chart.podRules" -}}
{{- $spec := .spec | fromYaml -}}
{{- with $spec.Error -}}
{{- fail (printf "the pods of %s: %s" $.value .) -}}
{{- end -}}
{{- $value := .value -}}
{{- $volumes := list -}}
{{- range $spec.volumes -}}
{{- include "chart.partName" (dict "name" .name "of" (printf "%s.extraVolumes" $value)) -}}
{{- if has .name $volumes -}}
{{- fail (printf "%s.extraVolumes: a volume is called %s already" $value .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- with dig "sizeLimit" "" (default dict .emptyDir) -}}
{{- $_ := include "chart.quantity" (dict "value" . "of" (printf "%s.extraVolumes: sizeLimit" $value)) -}}
{{- end -}}
{{- with .ephemeral -}}
{{- include "chart.resources" (dict "resources" (dig "volumeClaimTemplate" "spec" "resources" dict .) "of" (printf "%s.extraVolumes: resources" $value)) -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- $ports := list -}}
{{- range concat (default list $spec.initContainers) $spec.containers -}}
{{- $container := .name -}}
{{- include "chart.partName" (dict "name" $container "of" (printf "%s.extraContainers, %s.extraInitContainers" $value $value)) -}}
{{- if has $container $names -}}
{{- fail (printf "%s.extraContainers, %s.extraInitContainers: a container is called %s already" $value $value $container) -}}
{{- end -}}
{{- $names = append $names $container -}}
{{- range .ports -}}
{{- $port := printf "%v/%v" .containerPort (default "TCP" .protocol) -}}
{{- if or (lt (int64 .containerPort) 1) (gt (int64 .containerPort) 65535) -}}
{{- fail (printf "the container %s: %d is no port" $container (int64 .containerPort)) -}}
{{- end -}}
{{- if has $port $ports -}}
{{- fail (printf "the container %s listens on %s, as another one of its pod does: choose another port" $container $port) -}}
{{- end -}}
{{- $ports = append $ports $port -}}
{{- end -}}
{{- include "chart.resources" (dict "resources" .resources "of" (printf "resources of the container %s" $container)) -}}
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
{{- if and .value .valueFrom -}}
{{- fail (printf "extraEnv: %s: value or valueFrom, not both" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- .spec | trim -}}
{{- end -}}

{{- /* What a volume or a container may be called: (dict "name" … "of" "the value's name") */ -}}
{{- define "chart.partName" -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" (toString .name)) -}}
{{- fail (printf "%s: %v is no name: up to 63 small letters, digits and -" .of .name) -}}
{{- end -}}
{{- end -}}
