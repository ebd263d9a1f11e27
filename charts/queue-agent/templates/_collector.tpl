{{- define "collector.on" -}}
{{- if and .Values.telemetry.collector.enabled (eq .Values.mode "deployment") -}}true{{- end -}}
{{- end -}}

{{- define "collector.config" -}}
{{- $collector := .Values.telemetry.collector -}}
{{- if $collector.config -}}
{{- toYaml $collector.config -}}
{{- else -}}
{{- $exporter := eq $collector.exporter "xray" | ternary "awsxray" "otlp" -}}
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:4317}
      http: {endpoint: 127.0.0.1:4318}
processors:
  memory_limiter: {check_interval: 1s, limit_percentage: 80, spike_limit_percentage: 20}
  batch: {timeout: 5s}
exporters:
  {{- if eq $exporter "awsxray" }}
  awsxray:
    region: {{ .Values.cloud.region | quote }}
  {{- else }}
  otlp:
    endpoint: {{ required "telemetry.collector.otlpEndpoint: where do traces go?" $collector.otlpEndpoint | quote }}
  {{- end }}
service:
  extensions: [health_check]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [{{ $exporter }}]
{{- end -}}
{{- end -}}

{{- /* As a native sidecar it starts before the agent and ends after it. */ -}}
{{- define "collector.container" -}}
{{- $collector := .Values.telemetry.collector -}}
name: collector
image: {{ include "chart.image" (dict "root" . "image" $collector.image "repository" "" "tag" "") }}
imagePullPolicy: {{ $collector.image.pullPolicy }}
restartPolicy: Always
args: [--config=/etc/collector/config.yaml]
ports:
  - name: collector
    containerPort: 13133
    protocol: TCP
startupProbe:
  httpGet: {path: /, port: collector}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /, port: collector}
livenessProbe:
  httpGet: {path: /, port: collector}
  periodSeconds: 20
resources:
  {{- toYaml $collector.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.agent.securityContext | nindent 2 }}
volumeMounts:
  - name: collector
    mountPath: /etc/collector
    readOnly: true
{{- end -}}
