{{- define "podDeletionCost.on" -}}
{{- if and .Values.podDeletionCost.enabled (ne .Values.scaling.mode "scaledjob") (eq .Values.mode "deployment") -}}true{{- end -}}
{{- end -}}

{{- /*
Whether nodes may be spot, as far as the values tell: what the pods select, else what the pool holds.
*/ -}}
{{- define "pod.maybeSpot" -}}
{{- $selector := default dict .Values.pod.nodeSelector -}}
{{- $selected := lower (default (get $selector "eks.amazonaws.com/capacityType") (get $selector "karpenter.sh/capacity-type")) -}}
{{- if $selected -}}
{{- if eq $selected "spot" -}}true{{- end -}}
{{- else if and .Values.karpenter.enabled (has "spot" .Values.karpenter.capacityTypes) -}}true{{- end -}}
{{- end -}}

{{- /* Whether agents take that mark away when their node is drained. */ -}}
{{- define "pod.watchesNode" -}}
{{- if and (include "podDeletionCost.on" .) .Values.podDeletionCost.watchNode (ne .Values.podDeletionCost.doNotDisrupt "never") -}}true{{- end -}}
{{- end -}}

{{- /* Whether busy pods are marked for Karpenter. */ -}}
{{- define "pod.doNotDisrupt" -}}
{{- $wanted := .Values.podDeletionCost.doNotDisrupt -}}
{{- $marks := or .Values.podDeletionCost.enabled (eq .Values.scaling.mode "scaledjob") -}}
{{- $harmless := or (include "pod.watchesNode" .) (not (include "pod.maybeSpot" .)) -}}
{{- if and $marks (or (eq $wanted "always") (and (eq $wanted "auto") $harmless)) -}}true{{- end -}}
{{- end -}}

{{- define "pod.labels" -}}
{{- merge (include "chart.runtimeSelector" . | fromYaml) (default dict .Values.pod.labels) (default dict .Values.commonLabels) | toYaml }}
{{- end -}}

{{- /* A change of configuration makes new pods; the runtime gets no cloud credentials. */ -}}
{{- define "pod.annotations" -}}
{{- $preset := include "runtime.preset" . | fromYaml -}}
{{- if include "cloud.onAws" . }}
eks.amazonaws.com/skip-containers: runtime
{{- end }}
{{- with $preset.files }}
checksum/runtime-files: {{ toJson . | sha256sum }}
{{- end }}
{{- with .Values.agent.models.list }}
checksum/model-list: {{ sha256sum . | quote }}
{{- end }}
{{- with .Values.agent.workflows.files }}
checksum/workflows: {{ toJson . | sha256sum }}
{{- end }}
{{- with .Values.agent.httpAdapter.file }}
checksum/http-adapter: {{ sha256sum . | quote }}
{{- end }}
{{- if include "collector.on" . }}
checksum/collector: {{ include "collector.config" . | sha256sum | quote }}
{{- end }}
{{- with .Values.pod.annotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /*
A spot node is gone two minutes after the notice, of which some seconds pass before the pod hears of it.
*/ -}}
{{- define "pod.shutdownGrace" -}}
{{- $grace := int .Values.agent.shutdownGrace -}}
{{- if include "pod.maybeSpot" . -}}
{{- $left := sub 110 (int .Values.pod.stopSeconds) -}}
{{- if lt $left 0 -}}
{{- fail "pod.stopSeconds: nodes may be spot, which are gone two minutes after the notice; 110 at most" -}}
{{- end -}}
{{- $grace = min $grace $left -}}
{{- end -}}
{{- $grace -}}
{{- end -}}

{{- /*
The grace period covers the agent's drain, which the runtime waits out, and the runtime's own end.
*/ -}}
{{- define "pod.grace" -}}
{{- add (include "pod.shutdownGrace" . | int) .Values.pod.stopSeconds -}}
{{- end -}}

{{- define "pod.tolerations" -}}
{{- $tolerations := default list .Values.pod.tolerations -}}
{{- if .Values.karpenter.enabled -}}
{{- range .Values.karpenter.taints -}}
{{- $match := hasKey . "value" | ternary (dict "operator" "Equal" "value" (get . "value")) (dict "operator" "Exists") -}}
{{- $tolerations = append $tolerations (merge (dict "key" .key "effect" .effect) $match) -}}
{{- end -}}
{{- end -}}
{{- with uniq $tolerations }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{- /* What all kinds of pods have in common. */ -}}
{{- define "pod.placement" -}}
{{- $selector := default dict .Values.pod.nodeSelector -}}
{{- if .Values.karpenter.enabled -}}
{{- $selector = merge (dict "karpenter.sh/nodepool" (include "chart.clusterName" .)) $selector -}}
{{- end -}}
{{- with $selector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "pod.tolerations" . }}
tolerations:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "chart.runtimeSelector" $ | fromYaml))) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- with .Values.pod.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.pod.runtimeClassName }}
runtimeClassName: {{ . | quote }}
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
{{- include "pod.extraSpec" . }}
{{- end -}}

{{- /* Fields of pods that have no value of their own: `pod.extraSpec`. */ -}}
{{- define "pod.extraSpec" -}}
{{- $owned := dict
  "activeDeadlineSeconds" "scaling.scaledJob.activeDeadlineSeconds"
  "automountServiceAccountToken" "nothing, since the agent's container alone gets a token"
  "containerConcurrency" "knative.containerConcurrency"
  "containers" "pod.extraContainers"
  "enableServiceLinks" "nothing, since no container reads these variables"
  "hostPID" "nothing, since the agent is told to stop as process 1 of its container"
  "imagePullSecrets" "imagePullSecrets"
  "initContainers" "pod.extraInitContainers"
  "responseStartTimeoutSeconds" "knative.timeoutSeconds"
  "restartPolicy" "scaling.mode"
  "serviceAccount" "serviceAccount.name"
  "serviceAccountName" "serviceAccount.name"
  "shareProcessNamespace" "nothing, since the agent is told to stop as process 1 of its container"
  "terminationGracePeriodSeconds" "agent.shutdownGrace and pod.stopSeconds"
  "timeoutSeconds" "knative.timeoutSeconds"
  "volumes" "pod.extraVolumes"
-}}
{{- range list "affinity" "nodeSelector" "priorityClassName" "resourceClaims" "runtimeClassName" "securityContext" "tolerations" "topologySpreadConstraints" -}}
{{- $_ := set $owned . (printf "pod.%s" .) -}}
{{- end -}}
{{- include "chart.extraSpec" (dict "spec" .Values.pod.extraSpec "value" "pod.extraSpec" "owned" $owned) -}}
{{- end -}}

{{- /* (dict "spec" fields "value" "the value's name" "owned" (dict field "what to set instead")) */ -}}
{{- define "chart.extraSpec" -}}
{{- range $field := keys (default dict .spec) | sortAlpha -}}
{{- with get $.owned $field -}}
{{- fail (printf "%s.%s: the chart says this of its pods; set instead: %s" $.value $field .) -}}
{{- end -}}
{{- end -}}
{{- with .spec }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- define "pod.runtimeVolumes" -}}
{{- $preset := include "runtime.preset" . | fromYaml -}}
- name: scratch
  emptyDir: {sizeLimit: {{ include "chart.quantity" (dict "value" .Values.runtime.scratchSize "of" "runtime.scratchSize") }}}
{{- with .Values.runtime.shmSize }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ include "chart.quantity" (dict "value" . "of" "runtime.shmSize") }}}
{{- end }}
{{- if $preset.files }}
- name: runtime-files
  configMap: {name: {{ include "chart.fullname" . }}-files}
{{- end }}
{{- include "models.volume" . }}
{{- with .Values.pod.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /*
The pod of a Deployment: the runtime is the main container, the agent its sidecar. In a Job it is
the other way round: the Job is done when the agent has done its one job.
*/ -}}
{{- define "pod.spec" -}}
{{- $job := eq .Values.scaling.mode "scaledjob" -}}
{{- $native := .Values.agent.nativeSidecar -}}
{{- if and $job (not $native) -}}
{{- fail "scaling.mode: scaledjob needs agent.nativeSidecar: a Job ends only when all its plain containers have ended" -}}
{{- end -}}
{{- include "pod.placement" . }}
{{- with .Values.pod.resourceClaims }}
resourceClaims:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ include "pod.grace" . }}
{{- if $job }}
restartPolicy: Never
{{- end }}
{{- $init := concat (include "models.initContainers" . | fromYamlArray) (default list .Values.pod.extraInitContainers) -}}
{{- if and $native (include "collector.on" .) }}
{{- $init = append $init (include "collector.container" . | fromYaml) }}
{{- end }}
{{- if $job }}
{{- $init = append $init (include "runtime.container" (dict "root" . "role" "sidecar") | fromYaml) }}
{{- range .Values.pod.extraContainers }}
{{- $init = append $init (merge (dict "restartPolicy" "Always") .) }}
{{- end }}
{{- else if $native }}
{{- $init = append $init (include "agent.container" (dict "root" . "role" "sidecar") | fromYaml) }}
{{- end }}
{{- with $init }}
initContainers:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
  {{- end }}
{{- end }}
containers:
  {{- if $job }}
  - {{ include "agent.container" (dict "root" . "role" "main") | nindent 4 | trim }}
  {{- else }}
  - {{ include "runtime.container" (dict "root" . "role" "main") | nindent 4 | trim }}
  {{- if not $native }}
  - {{ include "agent.container" (dict "root" . "role" "container") | nindent 4 | trim }}
  {{- if include "collector.on" . }}
  - {{ omit (include "collector.container" . | fromYaml) "restartPolicy" | toYaml | nindent 4 | trim }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- if and .Values.pod.extraContainers (not $job) }}
  {{- toYaml .Values.pod.extraContainers | nindent 2 }}
  {{- end }}
volumes:
  {{- include "pod.runtimeVolumes" . | nindent 2 }}
  {{- include "agent.volumes" . | nindent 2 }}
  {{- if include "collector.on" . }}
  - name: collector
    configMap: {name: {{ include "chart.fullname" . }}-collector}
  {{- end }}
  {{- if include "podDeletionCost.on" . }}
  # The usual token, for the agent alone.
  - name: kubernetes-api
    projected:
      sources:
        - serviceAccountToken: {path: token, expirationSeconds: 3600}
        - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
        - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
  {{- end }}
{{- end -}}

{{- /* Of Knative's pods. */ -}}
{{- define "knative.spec" -}}
{{- $knative := .Values.knative -}}
containerConcurrency: {{ $knative.containerConcurrency }}
timeoutSeconds: {{ $knative.timeoutSeconds | int64 }}
responseStartTimeoutSeconds: {{ $knative.timeoutSeconds | int64 }}
{{- include "pod.placement" . | trim | nindent 0 }}
{{- with concat (include "models.initContainers" . | fromYamlArray) (default list .Values.pod.extraInitContainers) }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - {{ include "runtime.container" (dict "root" . "role" "knative") | nindent 4 | trim }}
  {{- with .Values.pod.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  {{- include "pod.runtimeVolumes" . | nindent 2 }}
{{- end -}}
