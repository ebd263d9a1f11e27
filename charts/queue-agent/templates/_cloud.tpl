{{- define "cloud.onNats" -}}
{{- if eq .Values.cloud.provider "nats" -}}true{{- end -}}
{{- end -}}

{{- /* Whether results lie in S3, which they may beside queue and topics on NATS. */ -}}
{{- define "cloud.bucketOnS3" -}}
{{- if not (regexMatch "^(nats|tls)://" .Values.cloud.bucket) -}}true{{- end -}}
{{- end -}}

{{- /* Whether pods need anything of AWS. */ -}}
{{- define "cloud.onAws" -}}
{{- if or (not (include "cloud.onNats" .)) (include "cloud.bucketOnS3" .) (has .Values.models.source (list "s3" "download")) -}}true{{- end -}}
{{- end -}}

{{- /* An address of NATS in its parts: (dict "value" "cloud.queueUrl" "address" "nats://…") */ -}}
{{- define "cloud.natsAddress" -}}
{{- if not (regexMatch "^(nats|tls)://" .address) -}}
{{- fail (printf "%s: cloud.provider is nats, and %s is no address of NATS; it looks like nats://HOST:4222/STREAM" .value .address) -}}
{{- end -}}
{{- $rest := regexReplaceAll "^(nats|tls)://" .address "" -}}
{{- $hosts := first (splitList "/" $rest) -}}
{{- if contains "@" $hosts -}}
{{- fail (printf "%s: credentials belong in a Secret (cloud.nats.credentials or cloud.nats.user), and not in an address" .value) -}}
{{- end -}}
{{- $path := trimSuffix "/" (trimPrefix "/" (trimPrefix $hosts $rest)) -}}
{{- $stream := first (splitList "/" $path) -}}
{{- $name := trimPrefix "/" (trimPrefix $stream $path) -}}
{{- if hasSuffix ".fifo" $path -}}
{{- fail (printf "%s: NATS has no FIFO queues and topics" .value) -}}
{{- end -}}
{{- if not (regexMatch "^[A-Za-z0-9_-]+$" $stream) -}}
{{- fail (printf "%s: %s names no stream or bucket of letters, digits, - and _ after its hosts" .value .address) -}}
{{- end -}}
{{- dict "tls" (hasPrefix "tls" .address) "hosts" (splitList "," $hosts) "stream" $stream "name" $name | toJson -}}
{{- end -}}

{{- /* The same of a queue, a topic or a bucket, whose names differ: (dict "root" $ "value" … "address" … "queue" true) */ -}}
{{- define "cloud.address" -}}
{{- if include "cloud.onNats" .root -}}
{{- $parts := include "cloud.natsAddress" . | fromJson -}}
{{- if and .queue (not $parts.name) -}}
{{- fail (printf "%s: %s names no queue; it looks like nats://HOST:4222/STREAM/RUNTIME" .value .address) -}}
{{- else if and $parts.name (not .queue) -}}
{{- fail (printf "%s: %s is a queue's address; this one looks like nats://HOST:4222/NAME" .value .address) -}}
{{- end -}}
{{- else if regexMatch "^(nats|tls)://" .address -}}
{{- fail (printf "%s: %s lies on NATS; set cloud.provider: nats" .value .address) -}}
{{- end -}}
{{- .address -}}
{{- end -}}

{{- define "cloud.queueUrl" -}}
{{- include "cloud.address" (dict "root" . "value" "cloud.queueUrl" "queue" true "address" (required "cloud.queueUrl: where do jobs come from?" .Values.cloud.queueUrl)) -}}
{{- end -}}

{{- /* The queues that pods serve, as (list (dict "name" "high" "url" "https://…" "value" "cloud.queues")); an only one has no name. */ -}}
{{- define "cloud.queues" -}}
{{- $found := list -}}
{{- if and .Values.cloud.queues .Values.cloud.queueUrl -}}
{{- fail "cloud.queueUrl: cloud.queues names all queues; leave it empty" -}}
{{- end -}}
{{- range .Values.cloud.queues -}}
{{- $value := printf "cloud.queues.%s" .name -}}
{{- $url := include "cloud.address" (dict "root" $ "value" $value "queue" true "address" .url) -}}
{{- $found = append $found (dict "name" .name "url" $url "share" (default "" .share | toString) "value" $value) -}}
{{- else -}}
{{- $found = append $found (dict "name" "" "url" (include "cloud.queueUrl" .) "share" "" "value" "cloud.queueUrl") -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{- /* Which queues agent, scaler, setup and check are told. */ -}}
{{- define "cloud.queueEnv" -}}
{{- $queues := include "cloud.queues" . | fromJsonArray -}}
{{- if .Values.cloud.queues -}}
{{- $entries := list -}}
{{- range $queues -}}
{{- $entries = append $entries (printf "%s%s=%s" .name (ternary (printf ":%s" .share) "" (ne .share "")) .url) -}}
{{- end -}}
- name: QUEUE_AGENT_QUEUES
  value: {{ join "," $entries | quote }}
{{- else -}}
- name: QUEUE_AGENT_QUEUE_URL
  value: {{ (first $queues).url | quote }}
{{- end -}}
{{- end -}}

{{- define "cloud.topicArn" -}}
{{- include "cloud.address" (dict "root" . "value" "cloud.topicArn" "queue" false "address" (required "cloud.topicArn: where do notifications go?" .Values.cloud.topicArn)) -}}
{{- end -}}

{{- define "cloud.bucket" -}}
{{- $bucket := required "cloud.bucket: where do results go?" .Values.cloud.bucket -}}
{{- if and (include "cloud.onNats" .) (include "cloud.bucketOnS3" .) -}}
{{- $bucket -}}
{{- else -}}
{{- include "cloud.address" (dict "root" . "value" "cloud.bucket" "queue" false "address" $bucket) -}}
{{- end -}}
{{- end -}}

{{- define "cloud.jobTopicArn" -}}
{{- include "cloud.address" (dict "root" . "value" "gateway.jobTopicArn" "queue" false "address" (required "gateway.jobTopicArn: which topic are jobs published to?" .Values.gateway.jobTopicArn)) -}}
{{- end -}}

{{- /* All addresses of NATS that the values name. */ -}}
{{- define "cloud.natsAddresses" -}}
{{- $all := list .Values.cloud.queueUrl .Values.cloud.topicArn .Values.cloud.bucket -}}
{{- range .Values.cloud.queues -}}{{- $all = append $all .url -}}{{- end -}}
{{- if .Values.gateway.enabled -}}
{{- $all = append $all .Values.gateway.jobTopicArn -}}
{{- range .Values.gateway.runtimes -}}{{- $all = append $all (default "" .queueUrl) -}}{{- end -}}
{{- end -}}
{{- $found := list -}}
{{- range $all -}}{{- if and (include "cloud.onNats" $) (regexMatch "^(nats|tls)://" .) -}}{{- $found = append $found . -}}{{- end -}}{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{- /* The ports of the servers. */ -}}
{{- define "cloud.natsPorts" -}}
{{- $ports := list -}}
{{- range include "cloud.natsAddresses" . | fromJsonArray -}}
{{- range (include "cloud.natsAddress" (dict "value" "cloud" "address" .) | fromJson).hosts -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" -}}
{{- $ports = append $ports (int (default "4222" $port)) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- /* What cannot be on NATS, in words. */ -}}
{{- define "cloud.refusals" -}}
{{- if include "cloud.onNats" . -}}
{{- $onServers := "" -}}
{{- range include "cloud.natsAddresses" . | fromJsonArray -}}
{{- $parts := include "cloud.natsAddress" (dict "value" "cloud" "address" .) | fromJson -}}
{{- $servers := list -}}
{{- range $parts.hosts -}}
{{- $servers = append $servers (regexMatch ":[0-9]+$" . | ternary . (printf "%s:4222" .)) -}}
{{- end -}}
{{- $servers = printf "%t %s" $parts.tls (join "," (sortAlpha $servers)) -}}
{{- if and $onServers (ne $onServers $servers) -}}
{{- fail (printf "cloud: queues, topics and bucket name different servers of NATS (%s); all of one release lie on the same" .) -}}
{{- end -}}
{{- $onServers = $servers -}}
{{- end -}}
{{- if not (include "cloud.onAws" .) -}}
{{- with .Values.serviceAccount.roleArn -}}
{{- fail "serviceAccount.roleArn: nothing of this release lies on AWS, so no role is needed; leave it empty with cloud.provider: nats" -}}
{{- end -}}
{{- with .Values.gateway.serviceAccount.roleArn -}}
{{- fail "gateway.serviceAccount.roleArn: nothing of this release lies on AWS, so no role is needed; leave it empty with cloud.provider: nats" -}}
{{- end -}}
{{- end -}}
{{- if not (include "cloud.bucketOnS3" .) -}}
{{- if .Values.agent.settings.presign -}}
{{- fail "agent.settings.presign: a bucket on NATS has no links; gateways hand images out" -}}
{{- end -}}
{{- if .Values.gateway.settings.linkSeconds -}}
{{- fail "gateway.settings.linkSeconds: a bucket on NATS has no links; the gateway hands images out" -}}
{{- end -}}
{{- end -}}
{{- range $name := list "onDemand" "onDemandStays" -}}
{{- if get $.Values.gateway.settings $name -}}
{{- fail (printf "gateway.settings.%s: NATS has no queues by capacity type, spot and on demand" $name) -}}
{{- end -}}
{{- end -}}
{{- $queue := .Values.scaling.queue -}}
{{- if $queue.endpoint -}}
{{- fail "scaling.queue.endpoint: it is of SQS; where NATS tells of its streams is cloud.nats.monitoring.endpoint" -}}
{{- end -}}
{{- if not $queue.scaleOnInFlight -}}
{{- fail "scaling.queue.scaleOnInFlight: false: KEDA counts NATS's messages in work always; leave it at true, and scaling.scaledJob.strategy at default" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Where we are let in: the provider's variables of agent, gateway, scaler and check. */ -}}
{{- define "cloud.env" -}}
{{- include "cloud.refusals" . -}}
{{- if include "cloud.onNats" . -}}
{{- if include "cloud.bucketOnS3" . }}
- name: AWS_REGION
  value: {{ required "cloud.region: where is the bucket?" .Values.cloud.region | quote }}
{{- end }}
{{- with .Values.cloud.nats }}
{{- if .credentials.secretName }}
- name: NATS_CREDS
  value: /etc/nats/credentials/{{ .credentials.key }}
{{- end }}
{{- if .nkey.secretName }}
- name: NATS_NKEY
  value: /etc/nats/nkey/{{ .nkey.key }}
{{- end }}
{{- if .user.secretName }}
- name: NATS_USER
  valueFrom: {secretKeyRef: {name: {{ .user.secretName | quote }}, key: {{ .user.nameKey | quote }}}}
- name: NATS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .user.secretName | quote }}, key: {{ .user.passwordKey | quote }}}}
{{- end }}
{{- if .ca.secretName }}
- name: NATS_CA
  value: /etc/nats/ca/{{ .ca.key }}
{{- end }}
{{- if .certificate.secretName }}
- name: NATS_CERT
  value: /etc/nats/certificate/{{ .certificate.certificateKey }}
- name: NATS_KEY
  value: /etc/nats/certificate/{{ .certificate.privateKeyKey }}
{{- end }}
{{- end }}
{{- else }}
- name: AWS_REGION
  value: {{ required "cloud.region: where are queue, topic and bucket?" .Values.cloud.region | quote }}
{{- end }}
{{- end -}}

{{- /* The Secrets of NATS that are mounted, by folder. */ -}}
{{- define "cloud.secrets" -}}
{{- $secrets := dict -}}
{{- if include "cloud.onNats" . -}}
{{- range $name := list "credentials" "nkey" "ca" "certificate" -}}
{{- with (get $.Values.cloud.nats $name).secretName -}}{{- $_ := set $secrets $name . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $secrets | toJson -}}
{{- end -}}

{{- define "cloud.volumeMounts" -}}
{{- range $name, $_ := include "cloud.secrets" . | fromJson }}
- name: nats-{{ $name }}
  mountPath: /etc/nats/{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "cloud.volumes" -}}
{{- range $name, $secret := include "cloud.secrets" . | fromJson }}
- name: nats-{{ $name }}
  secret: {secretName: {{ $secret | quote }}}
{{- end }}
{{- end -}}

{{- /* Whether tenants take turns on NATS, by a second consumer for each queue. */ -}}
{{- define "cloud.natsFair" -}}
{{- $nats := .Values.cloud.nats -}}
{{- if and (include "cloud.onNats" .) (or (eq $nats.fair "on") (and (eq $nats.fair "auto") $nats.setup.enabled)) -}}
true
{{- end -}}
{{- end -}}

{{- /* KEDA's trigger for a consumer of a queue on NATS: (dict "root" $ "queue" … "name" … "turns" true) */ -}}
{{- define "cloud.natsTrigger" -}}
{{- $values := .root.Values -}}
{{- $queue := include "cloud.natsAddress" (dict "value" .queue.value "address" .queue.url) | fromJson -}}
{{- $monitoring := $values.cloud.nats.monitoring -}}
{{- $existing := $values.scaling.authentication.existing -}}
- type: nats-jetstream
  name: {{ .name | quote }}
  metadata:
    {{- if or $monitoring.endpoint (not $existing) }}
    natsServerMonitoringEndpoint: {{ required "cloud.nats.monitoring.endpoint: where do the servers tell KEDA what waits? HOST:8222, on a cluster of several the headless Service's" $monitoring.endpoint | quote }}
    {{- end }}
    account: {{ $monitoring.account | quote }}
    useHttps: {{ $monitoring.https | quote }}
    stream: {{ $queue.stream | quote }}
    consumer: {{ printf "%s%s" (include "cloud.natsConsumer" $queue.name) (.turns | ternary "~turns" "") | quote }}
    lagThreshold: {{ include "scaling.queueLength" .root | quote }}
    activationLagThreshold: {{ $values.scaling.queue.activationQueueLength | int64 | quote }}
  {{- with $existing }}
  authenticationRef:
    name: {{ . | quote }}
  {{- end }}
{{- end -}}

{{- /* A name as the consumer is called: what is no letter, digit, - or _ stands as =XX for each byte. */ -}}
{{- define "cloud.natsToken" -}}
{{- $written := "" -}}
{{- range splitList "" . -}}
{{- $written = printf "%s%s" $written (regexMatch "^[A-Za-z0-9_-]$" . | ternary . (regexReplaceAll "([0-9A-F]{2})" (printf "%X" .) "=${1}")) -}}
{{- end -}}
{{- $written -}}
{{- end -}}

{{- /* What the consumer of a queue is called, one of a priority, too. */ -}}
{{- define "cloud.natsConsumer" -}}
{{- $priority := regexFind "[^/]/(high|low)$" . | splitList "/" | last -}}
{{- if has $priority (list "high" "low") -}}
{{- include "cloud.natsToken" (trimSuffix (printf "/%s" $priority) .) }}~{{ $priority -}}
{{- else -}}
{{- include "cloud.natsToken" . -}}
{{- end -}}
{{- end -}}
