{{- /* Environment of the gateway; every required setting is here. */ -}}
{{- define "gateway.env" -}}
{{- $gateway := .Values.gateway -}}
{{- if not (or $gateway.keys.secretName $gateway.settings.open $gateway.extraEnv $gateway.envFrom) -}}
{{- fail "gateway.keys.secretName: which Secret holds the API keys? (or gateway.settings.open: true, if anyone may use the gateway)" -}}
{{- end -}}
- name: QUEUE_AGENT_GATEWAY_HOST
  value: 0.0.0.0
- name: QUEUE_AGENT_GATEWAY_PORT
  value: {{ $gateway.port | quote }}
{{- with $gateway.runtimes }}
- name: QUEUE_AGENT_GATEWAY_RUNTIMES
  value: {{ include "gateway.runtimes" $ | quote }}
{{- else }}
- name: QUEUE_AGENT_RUNTIME_NAME
  value: {{ default (include "runtime.preset" . | fromYaml).adapter .Values.runtime.name | quote }}
{{- if or .Values.cloud.queueUrl .Values.cloud.queues }}
{{ include "cloud.queueEnv" . }}
{{- end }}
{{- end }}
- name: QUEUE_AGENT_JOB_TOPIC_ARN
  value: {{ include "cloud.jobTopicArn" . | quote }}
- name: QUEUE_AGENT_TOPIC_ARN
  value: {{ include "cloud.topicArn" . | quote }}
- name: QUEUE_AGENT_BUCKET
  value: {{ include "cloud.bucket" . | quote }}
{{- include "cloud.env" . }}
{{- if and (include "cloud.onNats" .) (not (include "cloud.bucketOnS3" .)) (not (hasKey $gateway.settings "linkSeconds")) }}
- name: QUEUE_AGENT_GATEWAY_LINK_SECONDS
  value: "0"
{{- end }}
{{- with $gateway.keys }}
{{- if .secretName }}
- name: QUEUE_AGENT_GATEWAY_KEYS_FILE
  value: /etc/gateway/{{ .key }}
{{- end }}
{{- end }}
{{- $ofOthersToo := list "fair" "jobSeconds" "logFormat" "logLevel" "onDemandStays" "podStart" "tenant" }}
{{- range $name, $value := $gateway.settings }}
- name: QUEUE_AGENT_{{ has $name $ofOthersToo | ternary "" "GATEWAY_" }}{{ $name | snakecase | upper }}
  value: {{ include "chart.text" $value | quote }}
{{- end }}
{{- end -}}

{{- define "gateway.runtimes" -}}
{{- $entries := list -}}
{{- range .Values.gateway.runtimes -}}
{{- if hasKey . "queueUrl" -}}
{{- $entries = append $entries (printf "%s=%s" .name (include "cloud.address" (dict "root" $ "value" "gateway.runtimes" "queue" true "address" .queueUrl))) -}}
{{- else -}}
{{- $entries = append $entries .name -}}
{{- end -}}
{{- end -}}
{{- join "," $entries -}}
{{- end -}}

{{- define "gateway.extraSpec" -}}
{{- $owned := dict
  "automountServiceAccountToken" "nothing, since the gateway asks no Kubernetes API"
  "containers" "extraManifests, for a Deployment of your own"
  "enableServiceLinks" "nothing, since no container reads these variables"
  "imagePullSecrets" "imagePullSecrets"
  "restartPolicy" "nothing, since a Deployment has but one"
  "securityContext" "pod.securityContext"
  "serviceAccount" "gateway.serviceAccount.name"
  "serviceAccountName" "gateway.serviceAccount.name"
  "volumes" "gateway.extraVolumes"
-}}
{{- range list "affinity" "nodeSelector" "priorityClassName" "tolerations" "topologySpreadConstraints" -}}
{{- $_ := set $owned . (printf "gateway.%s" .) -}}
{{- end -}}
{{- include "chart.extraSpec" (dict "spec" .Values.gateway.extraSpec "value" "gateway.extraSpec" "owned" $owned) -}}
{{- end -}}

{{- /* Of the gateway's pods. */ -}}
{{- define "gateway.spec" -}}
{{- with .Values.gateway -}}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "chart.gatewaySelector" $ | fromYaml))) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
serviceAccountName: {{ include "chart.gatewayAccountName" $ | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml $.Values.pod.securityContext | nindent 2 }}
{{- with include "gateway.extraSpec" $ | trim }}
{{- . | nindent 0 }}
{{- end }}
containers:
  - name: gateway
    image: {{ include "chart.serviceImage" $ }}
    imagePullPolicy: {{ $.Values.agent.image.pullPolicy }}
    args: [gateway]
    env:
      {{- include "chart.environment" (dict "own" (include "gateway.env" $) "extra" $.Values.gateway.extraEnv) | nindent 6 }}
    {{- with .envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      - name: http
        containerPort: {{ .port }}
        protocol: TCP
    startupProbe:
      httpGet: {path: /healthz, port: http}
      periodSeconds: 1
      failureThreshold: 60
    readinessProbe:
      httpGet: {path: /readyz, port: http}
      periodSeconds: 5
    livenessProbe:
      httpGet: {path: /healthz, port: http}
      periodSeconds: 10
      failureThreshold: 6
    lifecycle:
      # Load balancers need a moment to stop sending requests.
      preStop:
        exec:
          command: [/bin/sh, -c, sleep 5]
    resources:
      {{- toYaml .resources | nindent 6 }}
    securityContext:
      {{- toYaml $.Values.agent.securityContext | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      {{- with include "cloud.volumeMounts" $ | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- if .keys.secretName }}
      - name: keys
        mountPath: /etc/gateway
        readOnly: true
      {{- end }}
      {{- with .extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- with .keys.secretName }}
  - name: keys
    secret: {secretName: {{ . | quote }}}
  {{- end }}
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  {{- with include "cloud.volumes" $ | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}
