{{- /* Of the Job's pod that makes streams, consumers and buckets. */ -}}
{{- define "setup.spec" -}}
{{- $setup := .Values.cloud.nats.setup -}}
{{- /* The usual queue, and the priorities that have one beside it. */ -}}
{{- $usual := "" -}}
{{- $priorities := list -}}
{{- range include "cloud.queues" . | fromJsonArray -}}
{{- $priority := regexFind "[^/]/(high|low)/?$" .url | trimSuffix "/" | splitList "/" | last -}}
{{- $base := regexReplaceAll "/(high|low)/?$" .url "" -}}
{{- if has $priority (list "high" "low") -}}
{{- $priorities = append $priorities $priority -}}
{{- else -}}
{{- $base = .url -}}
{{- end -}}
{{- if and $usual (ne $usual $base) -}}
{{- fail (printf "cloud.queues: cloud.nats.setup makes the queues of one runtime, and %s is another's; they look like nats://HOST/STREAM/RUNTIME and .../RUNTIME/high" .url) -}}
{{- end -}}
{{- $usual = $base -}}
{{- end -}}
restartPolicy: Never
{{- with .Values.helmTest.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.helmTest.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
# The release's own account is not there yet.
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.pod.securityContext | nindent 2 }}
containers:
  - name: setup
    image: {{ include "chart.serviceImage" . }}
    imagePullPolicy: {{ .Values.agent.image.pullPolicy }}
    args: [setup, --change, --lease, {{ $setup.lease | int64 | quote }}, --max-receives, {{ $setup.maxReceives | int64 | quote }}, --replicas, {{ $setup.replicas | int64 | quote }}{{ with $setup.streamBytes }}, --stream-bytes, {{ . | int64 | quote }}{{ end }}{{ with $setup.bucketBytes }}, --bucket-bytes, {{ . | int64 | quote }}{{ end }}{{ with $priorities }}, --priorities, {{ join "," . | quote }}{{ end }}{{ if not (include "cloud.natsFair" $) }}, --no-fair{{ end }}]
    env:
      - name: QUEUE_AGENT_QUEUE_URL
        value: {{ $usual | quote }}
      - name: QUEUE_AGENT_TOPIC_ARN
        value: {{ include "cloud.topicArn" . | quote }}
      {{- if not (include "cloud.bucketOnS3" .) }}
      - name: QUEUE_AGENT_BUCKET
        value: {{ include "cloud.bucket" . | quote }}
      {{- end }}
      {{- include "cloud.env" . | trim | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 64Mi}
      limits: {memory: 256Mi}
    securityContext:
      {{- toYaml .Values.agent.securityContext | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      {{- with include "cloud.volumeMounts" . | trim }}
      {{- . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- with include "cloud.volumes" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}
