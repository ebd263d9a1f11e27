{{- define "models.readOnly" -}}
{{- $source := .Values.models.source -}}
{{- if or (has $source (list "s3" "download")) (and (eq $source "claim") .Values.models.claim.readOnly) -}}true{{- end -}}
{{- end -}}

{{- /* Of all that stands in the volume and in its claim, and of their names, which are cut. */ -}}
{{- define "models.digest" -}}
{{- $models := .Values.models -}}
{{- list (include "chart.clusterName" .) .Values.cloud.region $models.bucket $models.prefix $models.size $models.s3 | toJson | sha256sum | trunc 8 -}}
{{- end -}}

{{- define "models.volumeName" -}}
{{- printf "%s-%s" (include "chart.clusterName" . | trunc 54 | trimSuffix "-") (include "models.digest" .) -}}
{{- end -}}

{{- define "models.claimName" -}}
{{- printf "%s-models-%s" (include "chart.fullname" . | trunc 47 | trimSuffix "-") (include "models.digest" .) -}}
{{- end -}}

{{- define "models.volume" -}}
{{- $models := .Values.models -}}
{{- if eq $models.source "s3" }}
- name: models
  persistentVolumeClaim: {claimName: {{ include "models.claimName" . | quote }}, readOnly: true}
{{- else if eq $models.source "claim" }}
- name: models
  persistentVolumeClaim:
    claimName: {{ required "models.claim.name: which claim holds the models?" $models.claim.name | quote }}
    readOnly: {{ $models.claim.readOnly }}
{{- else if ne $models.source "none" }}
- name: models
  emptyDir: {sizeLimit: {{ include "chart.quantity" (dict "value" $models.size "of" "models.size") }}}
{{- end }}
{{- end -}}

{{- /* A YAML list, empty unless models are downloaded. */ -}}
{{- define "models.initContainers" -}}
{{- if eq .Values.models.source "download" }}
{{- $download := .Values.models.download }}
- name: models
  image: {{ include "chart.image" (dict "root" . "image" $download.image "repository" "" "tag" "") }}
  imagePullPolicy: {{ $download.image.pullPolicy }}
  {{- if $download.command }}
  command: {{ toJson $download.command }}
  {{- else }}
  command: [aws, s3, sync, --no-progress, {{ printf "s3://%s/%s" (required "models.bucket: which bucket holds the models?" .Values.models.bucket) .Values.models.prefix | quote }}, {{ .Values.models.mountPath | quote }}]
  {{- end }}
  env:
    {{- include "chart.environment" (dict "own" (include "models.downloadEnv" .) "extra" $download.extraEnv) | nindent 4 }}
  resources:
    {{- toYaml $download.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.agent.securityContext | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: {{ .Values.models.mountPath | quote }}
    - name: scratch
      mountPath: /tmp
      subPath: models-tmp
{{- end }}
{{- end -}}

{{- define "models.downloadEnv" -}}
- {name: HOME, value: /tmp}
- {name: AWS_REGION, value: {{ required "cloud.region: where is the models' bucket?" .Values.cloud.region | quote }}}
{{- end -}}

{{- /* Whether the agent fetches models into the volume. */ -}}
{{- define "models.fetched" -}}
{{- if or .Values.agent.models.hosts (include "models.listConfigMap" .) -}}
{{- $source := .Values.models.source -}}
{{- if not (or (eq $source "scratch") (and (eq $source "claim") (not .Values.models.claim.readOnly))) -}}
{{- fail "agent.models: models.source must be scratch, or claim with models.claim.readOnly: false, to be written" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{- /* The ConfigMap that holds the list of models, if there is one. */ -}}
{{- define "models.listConfigMap" -}}
{{- $models := .Values.agent.models -}}
{{- if and $models.list $models.configMap -}}
{{- fail "agent.models: a list or a configMap, not both" -}}
{{- end -}}
{{- if $models.list -}}
{{- printf "%s-model-list" (include "chart.fullname" .) -}}
{{- else -}}
{{- $models.configMap -}}
{{- end -}}
{{- end -}}

{{- /* In bytes. */ -}}
{{- define "models.fetchLimit" -}}
{{- $limit := .Values.agent.models.limit -}}
{{- $unit := hasSuffix "Ti" $limit | ternary 1099511627776 1073741824 -}}
{{- mul (regexFind "^[0-9]+" $limit | int64) $unit -}}
{{- end -}}
