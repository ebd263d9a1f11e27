{{- /* Of the pod of `helm test`, which mounts what the agent mounts. */ -}}
{{- define "check.spec" -}}
{{- $container := include "agent.container" (dict "root" . "role" "check") | fromYaml -}}
{{- $mounted := list -}}
{{- range $container.volumeMounts }}{{ $mounted = append $mounted .name }}{{ end -}}
restartPolicy: Never
activeDeadlineSeconds: 300
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
serviceAccountName: {{ include "chart.serviceAccountName" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.pod.securityContext | nindent 2 }}
{{- with include "pod.extraSpec" . | trim }}
{{- . | nindent 0 }}
{{- end }}
containers:
  - {{ toYaml (set $container "name" "check") | nindent 4 | trim }}
volumes:
  {{- include "agent.volumes" . | nindent 2 }}
  {{- range list "scratch" "models" }}
  {{- if has . $mounted }}
  - name: {{ . | quote }}
    emptyDir: {sizeLimit: 1Gi}
  {{- end }}
  {{- end }}
  {{- range .Values.pod.extraVolumes }}
  {{- if has .name $mounted }}
  - {{ toYaml . | nindent 4 | trim }}
  {{- end }}
  {{- end }}
{{- end -}}
