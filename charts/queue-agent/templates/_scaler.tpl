{{- /* Of the scaler's pod. */ -}}
{{- define "scaler.spec" -}}
{{- with .Values.scaling.work -}}
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
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
# Reading the queue's length and the results is what agents may do, too.
serviceAccountName: {{ include "chart.serviceAccountName" $ | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml $.Values.pod.securityContext | nindent 2 }}
containers:
  - name: scaler
    image: {{ include "chart.serviceImage" $ }}
    imagePullPolicy: {{ $.Values.agent.image.pullPolicy }}
    args: [scaler]
    env:
      {{- include "chart.environment" (dict "own" (include "scaler.env" $) "extra" $.Values.scaling.work.extraEnv) | nindent 6 }}
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
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- with include "cloud.volumes" $ | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}
