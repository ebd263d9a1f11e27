{{- /* Names leave room for the longest suffix, "-admission", and for KEDA's "keda-hpa-". */ -}}
{{- define "chart.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $full = .Release.Name -}}
{{- end -}}
{{- /* Releases may have dots in their names and begin with digits, Services may not. */ -}}
{{- $full = regexReplaceAll "^([0-9])" ($full | replace "." "-") "r-${1}" -}}
{{- include "chart.cut" (dict "name" (regexReplaceAll "-+$" $full "") "most" 50) -}}
{{- end -}}

{{- /* A name that is not too long; what is cut stays told apart: (dict "name" … "most" 63) */ -}}
{{- define "chart.cut" -}}
{{- if gt (len .name) (int .most) -}}
{{- printf "%s-%s" (regexReplaceAll "-+$" (.name | trunc (sub .most 9 | int)) "") (sha256sum .name | trunc 8) -}}
{{- else -}}
{{- .name -}}
{{- end -}}
{{- end -}}

{{- /* For objects that live outside namespaces. */ -}}
{{- define "chart.clusterName" -}}
{{- include "chart.cut" (dict "name" (printf "%s-%s" (include "chart.fullname" .) .Release.Namespace | trimSuffix "-") "most" 63) -}}
{{- end -}}

{{- define "chart.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "chart.runtimeSelector" -}}
{{ include "chart.selectorLabels" . }}
app.kubernetes.io/component: runtime
{{- end -}}

{{- define "chart.gatewaySelector" -}}
{{ include "chart.selectorLabels" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "chart.scalerSelector" -}}
{{ include "chart.selectorLabels" . }}
app.kubernetes.io/component: scaler
{{- end -}}

{{- define "chart.labels" -}}
{{ include "chart.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{- /* What the chart tells its own objects by stays its own. */ -}}
{{- with omit (default dict .Values.commonLabels) "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "chart.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "chart.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "chart.gatewayAccountName" -}}
{{- if .Values.gateway.serviceAccount.create -}}
{{- default (printf "%s-gateway" (include "chart.fullname" .)) .Values.gateway.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.gateway.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /*
(dict "root" $ "image" .Values.….image "repository" "default" "tag" "default")
Container engines put a host of their own before a repository that names none, so none is left without.
*/ -}}
{{- define "chart.image" -}}
{{- $repository := default .repository .image.repository -}}
{{- $first := first (splitList "/" $repository) -}}
{{- if not (and (contains "/" $repository) (or (contains "." $first) (contains ":" $first) (eq $first "localhost"))) -}}
{{- $registry := required (printf "imageRegistry: which registry holds %s? `make images REGISTRY=…` builds the project's images and pushes them to yours" $repository) .root.Values.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" $registry) $repository -}}
{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* For pods that need no GPU. */ -}}
{{- define "chart.serviceImage" -}}
{{- if .Values.agent.serviceImage.repository -}}
{{- include "chart.image" (dict "root" . "image" .Values.agent.serviceImage "repository" "" "tag" .Chart.AppVersion) -}}
{{- else -}}
{{- include "chart.agentImage" . -}}
{{- end -}}
{{- end -}}

{{- define "chart.agentImage" -}}
{{- include "chart.image" (dict "root" . "image" .Values.agent.image "repository" "sd-queue-agent" "tag" .Chart.AppVersion) -}}
{{- end -}}
