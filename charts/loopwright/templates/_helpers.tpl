{{/* Name of the release's own objects. */}}
{{- define "loopwright.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "loopwright.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "loopwright.labels" -}}
{{ include "loopwright.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "loopwright.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "loopwright.fullname" .) "default") -}}
{{- end -}}

{{- define "loopwright.subjects" -}}
subjects:
- {kind: ServiceAccount, name: {{ include "loopwright.serviceAccount" . }}, namespace: {{ .Release.Namespace }}}
{{- end -}}

{{/* An image by its key below .Values.images: list $ "runtime". */}}
{{- define "loopwright.image" -}}
{{- $root := index . 0 -}}
{{- $images := $root.Values.images -}}
{{- $one := index $images (index . 1) -}}
{{- $name := printf "%s/%s" $images.registry $one.repository -}}
{{- if $one.digest -}}
{{ $name }}@{{ $one.digest }}
{{- else -}}
{{ $name }}:{{ $one.tag | default $images.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* A setting as a variable holds it. YAML's numbers are floats, which would print as 1e+06. */}}
{{- define "loopwright.text" -}}
{{- if kindIs "slice" . -}}
{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* The annotation of an alert that links to its page of docs/runbooks: list $ "page". */}}
{{- define "loopwright.runbook" -}}
{{- with (index . 0).Values.settings.runbookUrl }}
        runbook_url: {{ trimSuffix "/" . }}/{{ index $ 1 }}.md
{{- end -}}
{{- end -}}
