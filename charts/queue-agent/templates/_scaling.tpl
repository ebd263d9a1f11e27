{{- define "scaling.authentication" -}}
{{- default (include "chart.fullname" .) .Values.scaling.authentication.existing -}}
{{- end -}}

{{- /* As many as are done in 24 seconds; a pod of a ScaledJob does one. */ -}}
{{- define "scaling.queueLength" -}}
{{- $scaling := .Values.scaling -}}
{{- if int $scaling.queue.queueLength -}}
{{- int $scaling.queue.queueLength -}}
{{- else if eq $scaling.mode "scaledjob" -}}
1
{{- else -}}
{{- max 1 (int (floor (divf 24 $scaling.jobSeconds))) -}}
{{- end -}}
{{- end -}}

{{- /* Whether `queue-agent scaler` is there. */ -}}
{{- define "scaler.on" -}}
{{- if and (eq .Values.mode "deployment") (eq .Values.scaling.mode "scaledobject") (eq .Values.scaling.by "work") -}}
true
{{- end -}}
{{- end -}}

{{- define "scaler.env" -}}
{{- $scaling := .Values.scaling -}}
{{ include "cloud.queueEnv" . }}
- name: QUEUE_AGENT_BUCKET
  value: {{ include "cloud.bucket" . | quote }}
- name: QUEUE_AGENT_RUNTIME_NAME
  value: {{ default (include "runtime.preset" . | fromYaml).adapter .Values.runtime.name | quote }}
{{- include "cloud.env" . }}
- name: QUEUE_AGENT_SCALER_PORT
  value: {{ $scaling.work.port | quote }}
- name: QUEUE_AGENT_SCALER_WAIT
  value: {{ include "chart.text" $scaling.work.wait | quote }}
- name: QUEUE_AGENT_SCALER_START
  value: {{ include "chart.text" $scaling.work.start | quote }}
- name: QUEUE_AGENT_SCALER_MAX_PODS
  value: {{ include "chart.text" $scaling.maxReplicas | quote }}
- name: QUEUE_AGENT_SCALER_JOB_SECONDS
  value: {{ include "chart.text" $scaling.jobSeconds | quote }}
{{- with $scaling.work.prefixes }}
- name: QUEUE_AGENT_SCALER_PREFIXES
  value: {{ join "," . | quote }}
{{- end }}
{{- end -}}

{{- /* What a queue's trigger is called: a name that a formula may have. */ -}}
{{- define "scaling.triggerName" -}}
queue{{ with .name }}_{{ . | replace "-" "_" }}{{ end }}
{{- end -}}

{{- /* What the triggers of a queue are called; of one whose tenants take turns there are two: (dict "root" $ "queue" …) */ -}}
{{- define "scaling.triggerNames" -}}
{{- $name := include "scaling.triggerName" .queue -}}
{{- $names := list $name -}}
{{- if include "cloud.natsFair" .root -}}{{- $names = append $names (printf "%s_turns" $name) -}}{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{- /* The sum of what KEDA would count each for itself: (list "queue_high" …). Of a sum there is nothing beside it; `queue-agent scaler` adds up by itself, and one queue's tenants' turns then count for themselves. */ -}}
{{- define "scaling.summed" -}}
{{- $scaling := .Values.scaling -}}
{{- $names := list -}}
{{- if and $scaling.queue.enabled (not (include "scaler.on" .)) -}}
{{- range include "cloud.queues" . | fromJsonArray -}}
{{- $names = concat $names (include "scaling.triggerNames" (dict "root" $ "queue" .) | fromJsonArray) -}}
{{- end -}}
{{- range $other := list "cron" "prometheus" "extraTriggers" -}}
{{- if get $scaling $other -}}
{{- $names = list -}}
{{- if $.Values.cloud.queues -}}
{{- fail (printf "scaling.%s: KEDA adds up several queues (cloud.queues) only where there are no other triggers; set scaling.by: work, whose scaler does" $other) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- gt (len $names) 1 | ternary $names list | toJson -}}
{{- end -}}

{{- /* KEDA takes a trigger's settings from its metadata, and there as strings only. */ -}}
{{- define "scaling.triggers" -}}
{{- $scaling := .Values.scaling -}}
{{- if $scaling.queue.enabled }}
{{- range include "cloud.queues" . | fromJsonArray }}
{{- $queue := . }}
{{- range $place, $name := include "scaling.triggerNames" (dict "root" $ "queue" .) | fromJsonArray }}
{{- if include "cloud.onNats" $ }}
{{ include "cloud.natsTrigger" (dict "root" $ "queue" $queue "name" $name "turns" (gt $place 0)) }}
{{- else }}
- type: aws-sqs-queue
  name: {{ $name | quote }}
  metadata:
    queueURL: {{ $queue.url | quote }}
    awsRegion: {{ required "cloud.region: where are queue, topic and bucket?" $.Values.cloud.region | quote }}
    queueLength: {{ include "scaling.queueLength" $ | quote }}
    activationQueueLength: {{ $scaling.queue.activationQueueLength | int64 | quote }}
    scaleOnInFlight: {{ $scaling.queue.scaleOnInFlight | quote }}
    scaleOnDelayed: {{ $scaling.queue.scaleOnDelayed | quote }}
    {{- with $scaling.queue.endpoint }}
    awsEndpoint: {{ . | quote }}
    {{- end }}
  authenticationRef:
    name: {{ include "scaling.authentication" $ | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if include "scaler.on" . }}
- type: metrics-api
  name: work
  metadata:
    url: {{ printf "http://%s-scaler.%s.svc:%d/pods" (include "chart.fullname" .) .Release.Namespace (int $scaling.work.port) }}
    valueLocation: pods
    targetValue: "1"
{{- end }}
{{- range $scaling.cron }}
- type: cron
  metadata:
    timezone: {{ .timezone | quote }}
    start: {{ .start | quote }}
    end: {{ .end | quote }}
    desiredReplicas: {{ .desiredReplicas | quote }}
{{- end }}
{{- range $scaling.prometheus }}
- type: prometheus
  metadata:
    serverAddress: {{ .serverAddress | quote }}
    query: {{ .query | quote }}
    threshold: {{ .threshold | quote }}
    {{- if hasKey . "activationThreshold" }}
    activationThreshold: {{ .activationThreshold | quote }}
    {{- end }}
{{- end }}
{{- with $scaling.extraTriggers }}
{{ toYaml . }}
{{- end }}
{{- end -}}
