{{/* The name of everything, whatever the release is called: meltemi, or meltemi-<revision>. */}}
{{- define "meltemi.name" -}}
{{- if .Values.revision }}meltemi-{{ .Values.revision }}{{ else }}meltemi{{ end -}}
{{- end -}}

{{/* What is in no namespace must differ between namespaces. */}}
{{- define "meltemi.clusterName" -}}
{{- printf "%s-%s" (include "meltemi.name" .) .Release.Namespace -}}
{{- end -}}

{{- define "meltemi.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "meltemi.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The ConfigMap with the mesh's settings. */}}
{{- define "meltemi.settingsName" -}}
{{- if has .Values.revision (list "" "default") }}istio{{ else }}istio-{{ .Values.revision }}{{ end -}}
{{- end -}}

{{- define "meltemi.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* These may never change: a Deployment's selector cannot. */}}
{{- define "meltemi.selectorLabels" -}}
app.kubernetes.io/name: meltemi
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "meltemi.labels" -}}
{{ include "meltemi.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: meltemi
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
istio.io/rev: {{ default "default" .Values.revision | quote }}
{{- end -}}

{{/* Istiod's ports and their names. */}}
{{- define "meltemi.servicePorts" -}}
- {name: grpc-xds, port: 15010, targetPort: grpc-xds, protocol: TCP}
- {name: https-dns, port: 15012, targetPort: https-dns, protocol: TCP}
- {name: https-webhook, port: 443, targetPort: https-webhook, protocol: TCP}
- {name: http-monitoring, port: 15014, targetPort: http-monitoring, protocol: TCP}
{{- end -}}

{{- /* Where gateways' Secrets are read: off, all, or namespaces. Without an authority nobody could have them. */ -}}
{{- define "meltemi.gatewaySecrets" -}}
{{- if or (ne .Values.serve.ca "on") (ne .Values.gateways.secrets "on") }}off
{{- else if .Values.gateways.secretNamespaces }}{{ join "," (uniq .Values.gateways.secretNamespaces) }}
{{- else }}all
{{- end }}
{{- end }}
