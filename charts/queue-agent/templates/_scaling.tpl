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

{{- /* KEDA takes a trigger's settings from its metadata, and there as strings only. */ -}}
{{- define "scaling.triggers" -}}
{{- $scaling := .Values.scaling -}}
{{- with $scaling.queue }}
{{- if .enabled }}
- type: aws-sqs-queue
  name: queue
  metadata:
    queueURL: {{ required "cloud.queueUrl: where do jobs come from?" $.Values.cloud.queueUrl | quote }}
    awsRegion: {{ required "cloud.region: where are queue, topic and bucket?" $.Values.cloud.region | quote }}
    queueLength: {{ include "scaling.queueLength" $ | quote }}
    activationQueueLength: {{ .activationQueueLength | quote }}
    scaleOnInFlight: {{ .scaleOnInFlight | quote }}
    scaleOnDelayed: {{ .scaleOnDelayed | quote }}
    {{- with .endpoint }}
    awsEndpoint: {{ . | quote }}
    {{- end }}
  authenticationRef:
    name: {{ include "scaling.authentication" $ }}
{{- end }}
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
