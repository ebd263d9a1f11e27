{{- /* The row of presets.yaml with what the values override: as YAML, for `fromYaml`. */ -}}
{{- define "runtime.preset" -}}
{{- $given := .Values.runtime -}}
{{- $rows := .Files.Get "presets.yaml" -}}
{{- $row := regexFind (printf "(?m)^%s:\n(?:  .*\n|\n)*" $given.preset) $rows -}}
{{- $defaultPort := regexFind "(?m)^  port: [0-9]+" $row | trimPrefix "  port: " | int -}}
{{- $port := default $defaultPort (int $given.port) -}}
{{- $context := dict "port" $port "model" $given.model "models" .Values.models.mountPath "mode" .Values.mode "Template" .Template -}}
{{- $_ := set $context "stored" (include "runtime.storedModels" .) -}}
{{- $_ := set $context "region" .Values.cloud.region -}}
{{- $writable := not (or (eq .Values.models.source "none") (include "models.readOnly" .)) -}}
{{- $_ := set $context "kept" (ternary .Values.models.mountPath "" $writable) -}}
{{- if $given.args }}{{ $_ := set $context "model" (default "unused" $given.model) }}{{ end -}}
{{- $preset := index (tpl $row $context | fromYaml) $given.preset -}}
{{- if and $given.options (not $preset.options) -}}
{{- fail (printf "runtime.options: the preset %s has none; its arguments are runtime.extraArgs" $given.preset) -}}
{{- end -}}
{{- $repository := default $preset.image.repository $given.image.repository -}}
{{- if not $repository -}}
{{- fail (printf "runtime.image.repository: the %s preset needs an image" $given.preset) -}}
{{- end -}}
{{- $tag := "" -}}
{{- if and (not $given.image.repository) $preset.image.repository -}}
{{- $tag = printf "%s%s" .Chart.AppVersion $preset.image.tagSuffix -}}
{{- else if not (or $given.image.tag $given.image.digest) -}}
{{- fail "runtime.image: an image of your own needs a tag or a digest" -}}
{{- end -}}
{{- $_ := set $preset "reference" (include "chart.image" (dict "root" . "image" $given.image "repository" $repository "tag" $tag)) -}}
{{- $_ := set $preset "port" $port -}}
{{- $_ := set $preset "adapter" (default $preset.adapter $given.adapter) -}}
{{- $_ := set $preset "probeBy" (default $preset.probeBy $given.probeBy) -}}
{{- $_ := set $preset "probePath" (default $preset.probePath $given.probePath) -}}
{{- $_ := set $preset "command" (default $preset.command $given.command) -}}
{{- $_ := set $preset "args" (concat (default $preset.args $given.args | default list) (include "runtime.optionArgs" . | fromJsonArray) (default list $given.extraArgs)) -}}
{{- $_ := set $preset "writable" (concat $preset.writable (default list $given.writablePaths) | uniq) -}}
{{- $_ := set $preset "files" (merge (deepCopy (default dict $given.configFiles)) $preset.files) -}}
{{- toYaml $preset -}}
{{- end -}}

{{- /* The options as arguments, a JSON array: what can be given several times is a list. */ -}}
{{- define "runtime.optionArgs" -}}
{{- $args := list -}}
{{- range $name, $value := .Values.runtime.options -}}
{{- $option := kebabcase $name -}}
{{- if kindIs "bool" $value -}}
{{- $args = append $args (printf "--%s%s" (ternary "" "no-" $value) $option) -}}
{{- else if kindIs "slice" $value -}}
{{- range $value -}}{{- $args = append $args (printf "--%s=%s" $option .) -}}{{- end -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $args = append $args (printf "--%s=%s" $option (include "chart.text" $value)) -}}
{{- end -}}
{{- end -}}
{{- toJson $args -}}
{{- end -}}

{{- /* The addresses of models that the bundled runtime has from object storage, one a line. */ -}}
{{- define "runtime.storedModels" -}}
{{- $options := .Values.runtime.options -}}
{{- range concat (list .Values.runtime.model) (default list $options.model) (default list $options.upscaler) -}}
{{- $address := regexReplaceAll "^[^=/]*=" . "" -}}
{{- if regexMatch "^(s3|nats|tls)://" $address }}{{ $address }}
{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Where on the scratch space a writable folder is. */ -}}
{{- define "runtime.scratchPath" -}}
{{- trimPrefix "/" . | replace "/" "-" -}}
{{- end -}}

{{- /* The runtime's folder that the agent shares, if it does. */ -}}
{{- define "runtime.shared" -}}
{{- if and .Values.runtime.shareFiles (not .Values.runtime.adapter) -}}
{{- (include "runtime.preset" . | fromYaml).shared -}}
{{- end -}}
{{- end -}}

{{- define "runtime.probe" -}}
{{- if eq .preset.probeBy "tcp" }}
tcpSocket:
  port: {{ hasKey . "port" | ternary .port "runtime" }}
{{- else }}
httpGet:
  path: {{ .preset.probePath | quote }}
  {{- if not (hasKey . "port") }}
  port: runtime
  {{- end }}
{{- end }}
{{ toYaml .timing }}
{{- end -}}

{{- /*
The runtime's own end waits for the agent's: the agent drains while its health port answers,
and a job under way needs its runtime. Every runtime's image has Python.
*/ -}}
{{- define "runtime.waitForAgent" -}}
import socket, time
deadline = time.monotonic() + {{ include "pod.shutdownGrace" . }}
while time.monotonic() < deadline:
    try:
        socket.create_connection(("127.0.0.1", {{ .Values.agent.healthPort }}), 1).close()
    except OSError:
        break
    time.sleep(0.5)
{{- end -}}

{{- /*
The runtime's resources, as YAML. The defaults, over which Helm lays the values, have a whole GPU; where
a slice, another maker's GPU or a claim is asked for, it is meant instead.
*/ -}}
{{- define "runtime.resources" -}}
{{- $resources := deepCopy (default dict .Values.runtime.resources) -}}
{{- $claimed := list -}}
{{- range .Values.pod.resourceClaims -}}{{- $claimed = append $claimed .name -}}{{- end -}}
{{- range $resources.claims -}}
{{- if not (has .name $claimed) -}}
{{- fail (printf "runtime.resources.claims: %s is none of pod.resourceClaims" .name) -}}
{{- end -}}
{{- end -}}
{{- if and $claimed (not $resources.claims) -}}
{{- $claims := list -}}
{{- range $claimed -}}{{- $claims = append $claims (dict "name" .) -}}{{- end -}}
{{- $_ := set $resources "claims" $claims -}}
{{- end -}}
{{- $other := not (empty $resources.claims) -}}
{{- range $name := concat (keys (default dict $resources.limits)) (keys (default dict $resources.requests)) -}}
{{- if regexMatch "^(nvidia[.]com/(mig-|gpu[.]).+|amd[.]com/gpu|gpu[.]intel[.]com/.+)$" $name -}}{{- $other = true -}}{{- end -}}
{{- end -}}
{{- if $other -}}
{{- range $part := list "requests" "limits" -}}
{{- with get $resources $part -}}{{- $_ := unset . "nvidia.com/gpu" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- /* Whole GPUs of a pod. */ -}}
{{- define "runtime.gpus" -}}
{{- $resources := include "runtime.resources" . | fromYaml -}}
{{- get (merge (dict) (default dict $resources.limits) (default dict $resources.requests)) "nvidia.com/gpu" | int -}}
{{- end -}}

{{- /* The runtime's container: (dict "root" $ "role" "main"|"sidecar"|"knative") */ -}}
{{- define "runtime.container" -}}
{{- $root := .root -}}
{{- $values := $root.Values.runtime -}}
{{- $preset := include "runtime.preset" $root | fromYaml -}}
name: runtime
image: {{ $preset.reference }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- if eq .role "sidecar" }}
restartPolicy: Always
{{- end }}
{{- with $preset.command }}
command: {{ toJson . }}
{{- end }}
{{- with $preset.args }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- $given := list -}}
  {{- range $values.extraEnv -}}{{- $given = append $given .name -}}{{- end }}
  {{- range $name, $value := $preset.env }}
  {{- if not (has $name $given) }}
  - name: {{ $name | quote }}
    value: {{ $value | quote }}
  {{- end }}
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: {{ eq .role "knative" | ternary "http1" "runtime" }}
    containerPort: {{ $preset.port }}
    protocol: TCP
{{- if eq .role "knative" }}
readinessProbe:
  {{- include "runtime.probe" (dict "preset" $preset "timing" $values.readinessProbe "port" 0) | trim | nindent 2 }}
startupProbe:
  {{- include "runtime.probe" (dict "preset" $preset "timing" $values.startupProbe "port" 0) | trim | nindent 2 }}
{{- else }}
startupProbe:
  {{- include "runtime.probe" (dict "preset" $preset "timing" $values.startupProbe) | trim | nindent 2 }}
readinessProbe:
  {{- include "runtime.probe" (dict "preset" $preset "timing" $values.readinessProbe) | trim | nindent 2 }}
livenessProbe:
  {{- if and (eq $values.livenessBy "agent") (ne .role "sidecar") }}
  httpGet: # a number, since the port's name is of the agent's container
    path: /runtimez
    port: {{ $root.Values.agent.healthPort }}
  {{- toYaml $values.livenessProbe | nindent 2 }}
  {{- else }}
  {{- include "runtime.probe" (dict "preset" $preset "timing" $values.livenessProbe) | trim | nindent 2 }}
  {{- end }}
{{- end }}
{{- if and $values.lifecycle (ne .role "knative") }}
lifecycle:
  {{- toYaml $values.lifecycle | nindent 2 }}
{{- else if eq .role "main" }}
lifecycle:
  preStop:
    exec:
      command:
        - python3
        - -c
        - |
          {{- include "runtime.waitForAgent" $root | nindent 10 }}
{{- end }}
resources:
  {{- include "runtime.resources" $root | nindent 2 }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  {{- range $preset.writable }}
  - name: scratch
    mountPath: {{ . | quote }}
    subPath: {{ include "runtime.scratchPath" . | quote }}
  {{- end }}
  {{- if $values.shmSize }}
  - name: shm
    mountPath: /dev/shm
  {{- end }}
  {{- if $preset.files }}
  - name: runtime-files
    mountPath: /etc/runtime
    readOnly: true
  {{- end }}
  {{- if ne $root.Values.models.source "none" }}
  - name: models
    mountPath: {{ $root.Values.models.mountPath | quote }}
    {{- if include "models.readOnly" $root }}
    readOnly: true
    {{- end }}
    {{- if eq $root.Values.models.source "claim" }}
    {{- with $root.Values.models.claim.subPath }}
    subPath: {{ . | quote }}
    {{- end }}
    {{- end }}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
