{{- /* Environment of the agent; every required setting is here. */ -}}
{{- define "agent.env" -}}
{{- $preset := include "runtime.preset" . | fromYaml -}}
{{- $agent := .Values.agent -}}
{{ include "cloud.queueEnv" . }}
- name: QUEUE_AGENT_TOPIC_ARN
  value: {{ include "cloud.topicArn" . | quote }}
- name: QUEUE_AGENT_BUCKET
  value: {{ include "cloud.bucket" . | quote }}
{{- include "cloud.env" . }}
- name: QUEUE_AGENT_RUNTIME
  value: {{ $preset.adapter | quote }}
{{- with .Values.runtime.name }}
- name: QUEUE_AGENT_RUNTIME_NAME
  value: {{ . | quote }}
{{- end }}
- name: QUEUE_AGENT_RUNTIME_URL
  value: http://127.0.0.1:{{ $preset.port }}
- name: QUEUE_AGENT_HEALTH_PORT
  value: {{ $agent.healthPort | quote }}
- name: QUEUE_AGENT_SHUTDOWN_GRACE
  value: {{ include "pod.shutdownGrace" . | quote }}
{{- range $name, $value := $agent.settings }}
- name: QUEUE_AGENT_{{ $name | snakecase | upper }}
  value: {{ include "chart.text" $value | quote }}
{{- end }}
{{- if include "runtime.shared" . }}
- name: QUEUE_AGENT_RUNTIME_FILES
  value: /runtime-files
{{- end }}
{{- if include "models.fetched" . }}
- name: QUEUE_AGENT_MODELS_FOLDER
  value: {{ .Values.models.mountPath | quote }}
- name: QUEUE_AGENT_MODELS_LIMIT
  value: {{ include "models.fetchLimit" . | quote }}
{{- with $agent.models.hosts }}
- name: QUEUE_AGENT_MODEL_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- if include "models.listConfigMap" . }}
- name: QUEUE_AGENT_MODELS
  value: /etc/queue-agent/models/{{ $agent.models.key }}
{{- end }}
{{- if $agent.models.credentials.secretName }}
- name: QUEUE_AGENT_MODEL_CREDENTIALS
  value: /etc/queue-agent/model-credentials/{{ $agent.models.credentials.key }}
{{- end }}
{{- end }}
{{- if include "workflows.configMap" . }}
- name: QUEUE_AGENT_WORKFLOWS
  value: /etc/queue-agent/workflows
{{- end }}
{{- with include "httpAdapter" . }}
- name: QUEUE_AGENT_RUNTIME_OPTIONS
  value: {{ dict "adapter" . | toJson | quote }}
{{- end }}
{{- with $agent.warmUp }}
{{- if and .job .configMap }}
{{- fail "agent.warmUp: a job or a configMap, not both" }}
{{- else if .job }}
- name: QUEUE_AGENT_WARM_UP
  value: {{ .job | quote }}
{{- else if .configMap }}
- name: QUEUE_AGENT_WARM_UP
  valueFrom: {configMapKeyRef: {name: {{ .configMap | quote }}, key: {{ .key | quote }}}}
{{- end }}
{{- end }}
{{- with include "provenance" . | fromYaml }}
- name: QUEUE_AGENT_PROVENANCE_CERTIFICATE
  value: /etc/queue-agent/provenance/{{ .certificate }}
{{- with .key }}
- name: QUEUE_AGENT_PROVENANCE_KEY
  value: /etc/queue-agent/provenance/{{ . }}
{{- end }}
{{- with .kmsKey }}
- name: QUEUE_AGENT_PROVENANCE_KMS_KEY
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- with $agent.runtimeAuth.secretName }}
- name: QUEUE_AGENT_RUNTIME_AUTH
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $agent.runtimeAuth.key | quote }}}}
{{- end }}
{{- with $agent.runtimeApiKey.secretName }}
- name: QUEUE_AGENT_RUNTIME_API_KEY
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $agent.runtimeApiKey.key | quote }}}}
{{- end }}
{{- with $agent.runtimeHeaders.secretName }}
- name: QUEUE_AGENT_RUNTIME_HEADERS
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $agent.runtimeHeaders.key | quote }}}}
{{- end }}
{{- if eq .Values.scaling.mode "scaledjob" }}
- name: QUEUE_AGENT_MAX_JOBS
  value: "1"
- name: QUEUE_AGENT_IDLE_LIMIT
  value: {{ .Values.scaling.cooldownPeriod | int64 | quote }}
{{- end }}
{{- if include "podDeletionCost.on" . }}
- name: QUEUE_AGENT_POD_DELETION_COST
  value: "true"
- name: QUEUE_AGENT_POD_DO_NOT_DISRUPT
  value: {{ empty (include "pod.doNotDisrupt" .) | ternary "false" "true" | quote }}
{{- if include "pod.watchesNode" . }}
- name: QUEUE_AGENT_POD_WATCH_NODE
  value: "true"
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- end }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}
{{- $traces := .Values.telemetry.traces | replace "none" "off" -}}
{{- if or (ne $traces "off") (has $agent.settings.metrics (list "otlp" "both")) }}
- name: QUEUE_AGENT_TRACES
  value: {{ $traces | quote }}
{{- with default (.Values.telemetry.collector.enabled | ternary "http://127.0.0.1:4317" "") .Values.telemetry.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The agent's container: (dict "root" $ "role" "main"|"sidecar"|"container"|"check") */ -}}
{{- define "agent.container" -}}
{{- $root := .root -}}
{{- $agent := $root.Values.agent -}}
name: agent
image: {{ include (eq .role "check" | ternary "chart.serviceImage" "chart.agentImage") $root }}
imagePullPolicy: {{ $agent.image.pullPolicy }}
{{- if eq .role "sidecar" }}
restartPolicy: Always
{{- end }}
args: {{ eq .role "check" | ternary "[check, --no-runtime, --no-messages]" "[run]" }}
env:
  {{- include "chart.environment" (dict "own" (include "agent.env" $root) "extra" $root.Values.agent.extraEnv) | nindent 2 }}
{{- with $agent.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if ne .role "check" }}
ports:
  - name: health
    containerPort: {{ $agent.healthPort }}
    protocol: TCP
startupProbe:
  httpGet: {path: /healthz, port: health}
  {{- toYaml $agent.startupProbe | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: health}
  {{- toYaml $agent.readinessProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: health}
  {{- toYaml $agent.livenessProbe | nindent 2 }}
{{- end }}
{{- if eq .role "sidecar" }}
lifecycle:
  # Kubernetes stops native sidecars last; this one must stop taking jobs first.
  preStop:
    exec:
      command: [/bin/sh, -c, kill -TERM 1]
{{- end }}
resources:
  {{- toYaml $agent.resources | nindent 2 }}
securityContext:
  {{- toYaml $agent.securityContext | nindent 2 }}
volumeMounts:
  - name: agent-tmp
    mountPath: /tmp
  {{- with include "cloud.volumeMounts" $root | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "runtime.shared" $root }}
  - name: scratch
    mountPath: /runtime-files
    subPath: {{ include "runtime.scratchPath" . | quote }}
  {{- end }}
  {{- if include "models.fetched" $root }}
  - name: models
    mountPath: {{ $root.Values.models.mountPath | quote }}
    {{- if eq $root.Values.models.source "claim" }}
    {{- with $root.Values.models.claim.subPath }}
    subPath: {{ . | quote }}
    {{- end }}
    {{- end }}
  {{- if include "models.listConfigMap" $root }}
  - name: model-list
    mountPath: /etc/queue-agent/models
    readOnly: true
  {{- end }}
  {{- if $agent.models.credentials.secretName }}
  - name: model-credentials
    mountPath: /etc/queue-agent/model-credentials
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if include "workflows.configMap" $root }}
  - name: workflows
    mountPath: /etc/queue-agent/workflows
    readOnly: true
  {{- end }}
  {{- if include "httpAdapter.configMap" $root }}
  - name: http-adapter
    mountPath: /etc/queue-agent/http-adapter
    readOnly: true
  {{- end }}
  {{- if include "provenance" $root }}
  - name: provenance
    mountPath: /etc/queue-agent/provenance
    readOnly: true
  {{- end }}
  {{- if and (include "podDeletionCost.on" $root) (ne .role "check") }}
  - name: kubernetes-api
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
  {{- end }}
  {{- with $agent.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Volumes that the agent's container alone mounts. */ -}}
{{- define "agent.volumes" -}}
- name: agent-tmp
  emptyDir: {sizeLimit: {{ include "chart.quantity" (dict "value" .Values.agent.scratchSize "of" "agent.scratchSize") }}}
{{- include "cloud.volumes" . }}
{{- if include "models.fetched" . }}
{{- with include "models.listConfigMap" . }}
- name: model-list
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- with .Values.agent.models.credentials.secretName }}
- name: model-credentials
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- end }}
{{- with include "workflows.configMap" . }}
- name: workflows
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- with include "httpAdapter.configMap" . }}
- name: http-adapter
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- with include "provenance" . | fromYaml }}
- name: provenance
  {{- with .configMap }}
  configMap: {name: {{ . | quote }}}
  {{- end }}
  {{- with .secret }}
  secret:
    secretName: {{ . | quote }}
    items:
      - {key: {{ $.Values.agent.provenance.certificateKey | quote }}, path: {{ $.Values.agent.provenance.certificateKey | quote }}}
      {{- if not $.Values.agent.provenance.kmsKey }}
      - {key: {{ $.Values.agent.provenance.privateKeyKey | quote }}, path: {{ $.Values.agent.provenance.privateKeyKey | quote }}}
      {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* What files are signed with, if they are: from where it is mounted, and by which names. */ -}}
{{- define "provenance" -}}
{{- $told := .Values.agent.provenance -}}
{{- $settings := .Values.agent.settings -}}
{{- if and (or $told.secretName $told.kmsKey $told.certificate) (or $settings.provenanceCertificate $settings.provenanceKey $settings.provenanceKmsKey) -}}
{{- fail "agent.provenance: or agent.settings.provenanceCertificate and _Key, not both" -}}
{{- else if and $told.secretName $told.certificate -}}
{{- fail "agent.provenance: certificates from a Secret or as a text, not both" -}}
{{- else if and $told.certificate (not $told.kmsKey) -}}
{{- fail "agent.provenance.certificate: needs kmsKey; a private key stays in a Secret (secretName)" -}}
{{- else if and $told.kmsKey (not (or $told.secretName $told.certificate)) -}}
{{- fail "agent.provenance.kmsKey: needs its certificates (secretName or certificate)" -}}
{{- else if $told.certificate -}}
{{- dict "configMap" (printf "%s-provenance" (include "chart.fullname" .)) "certificate" "tls.crt" "kmsKey" $told.kmsKey | toYaml -}}
{{- else if $told.kmsKey -}}
{{- dict "secret" $told.secretName "certificate" $told.certificateKey "kmsKey" $told.kmsKey | toYaml -}}
{{- else if $told.secretName -}}
{{- dict "secret" $told.secretName "certificate" $told.certificateKey "key" $told.privateKeyKey | toYaml -}}
{{- end -}}
{{- end -}}

{{- /* What the adapter http is told: a name, or where the file is. */ -}}
{{- define "httpAdapter" -}}
{{- $told := .Values.agent.httpAdapter -}}
{{- $given := compact (list $told.name $told.file $told.configMap) -}}
{{- if ne (include "runtime.preset" . | fromYaml).adapter "http" -}}
{{- if $given -}}
{{- fail "agent.httpAdapter: is of the adapter http alone (runtime.adapter)" -}}
{{- end -}}
{{- else if gt (len $given) 1 -}}
{{- fail "agent.httpAdapter: one of name, file and configMap" -}}
{{- else if and $given .Values.agent.settings.runtimeOptions -}}
{{- fail "agent.httpAdapter: or agent.settings.runtimeOptions, not both" -}}
{{- else if $given -}}
{{- $told.name | default (printf "/etc/queue-agent/http-adapter/%s" $told.key) -}}
{{- else if not .Values.agent.settings.runtimeOptions -}}
{{- fail "agent.httpAdapter: the adapter http needs a name, a file or a configMap" -}}
{{- end -}}
{{- end -}}

{{- /* The ConfigMap that holds the file of the adapter http, if there is one. */ -}}
{{- define "httpAdapter.configMap" -}}
{{- if .Values.agent.httpAdapter.file -}}
{{- printf "%s-http-adapter" (include "chart.fullname" .) -}}
{{- else -}}
{{- .Values.agent.httpAdapter.configMap -}}
{{- end -}}
{{- end -}}

{{- /* The ConfigMap that holds workflows by name, if there is one. */ -}}
{{- define "workflows.configMap" -}}
{{- $workflows := .Values.agent.workflows -}}
{{- if and $workflows.files $workflows.configMap -}}
{{- fail "agent.workflows: files or a configMap, not both" -}}
{{- end -}}
{{- if $workflows.files -}}
{{- printf "%s-workflows" (include "chart.fullname" .) -}}
{{- else -}}
{{- $workflows.configMap -}}
{{- end -}}
{{- end -}}
