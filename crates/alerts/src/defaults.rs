//! The texts of notifications when the user gives none: templates under Alertmanager's names, so that a user's own
//! definitions replace them.

/// Text templates.
pub(crate) const TEXT: &str = r#"
{{- define "__alertmanager" }}Bellwether{{ end }}
{{- define "__alertmanagerURL" }}{{ .ExternalURL }}/alerts?receiver={{ .Receiver | urlquery }}{{ end }}
{{- define "__subject" }}[{{ .Status | toUpper }}{{ if eq .Status "firing" }}:{{ .FiringCount }}{{ end }}] {{ .GroupLabels.SortedPairs.Values | join " " }}{{ $rest := .CommonLabels.Remove .GroupLabels.Names }}{{ if gt (len $rest) 0 }} ({{ $rest.Values | join " " }}){{ end }}{{ end }}
{{- define "__description" }}{{ end }}
{{- define "__text_alert_list" }}{{ range . }}Labels:
{{ range .Labels.SortedPairs }} - {{ .Name }} = {{ .Value }}
{{ end }}Annotations:
{{ range .Annotations.SortedPairs }} - {{ .Name }} = {{ .Value }}
{{ end }}Source: {{ .GeneratorURL }}
{{ end }}{{ end }}
{{- define "__text_alert_list_markdown" }}{{ range . }}
Labels:
{{ range .Labels.SortedPairs }}  - {{ .Name }} = {{ .Value }}
{{ end }}
Annotations:
{{ range .Annotations.SortedPairs }}  - {{ .Name }} = {{ .Value }}
{{ end }}
Source: {{ .GeneratorURL }}
{{ end }}{{ end }}
{{- define "__truncated" }}{{ if gt .TruncatedAlerts 0 }}{{ .AlertCount }} alerts, of which {{ .TruncatedAlerts }} are not listed here.
{{ end }}{{ end }}
{{- define "__both" }}{{ template "__truncated" . }}{{ if gt (len .Alerts.Firing) 0 }}Alerts Firing:
{{ template "__text_alert_list" .Alerts.Firing }}{{ end }}{{ if gt (len .Alerts.Resolved) 0 }}Alerts Resolved:
{{ template "__text_alert_list" .Alerts.Resolved }}{{ end }}{{ end }}
{{- define "__both_markdown" }}{{ template "__truncated" . }}{{ if gt (len .Alerts.Firing) 0 }}**Alerts firing**
{{ template "__text_alert_list_markdown" .Alerts.Firing }}{{ end }}{{ if gt (len .Alerts.Resolved) 0 }}**Alerts resolved**
{{ template "__text_alert_list_markdown" .Alerts.Resolved }}{{ end }}{{ end }}
{{- define "__short" }}{{ template "__truncated" . }}{{ range .Alerts }}{{ .Status | toUpper }} {{ .Labels.alertname }}{{ with .Annotations.summary }}: {{ . }}{{ end }}
{{ end }}{{ end }}

{{- define "email.default.subject" }}{{ template "__subject" . }}{{ end }}
{{- define "email.default.text" }}{{ template "__both" . }}{{ .ExternalURL }}
{{ end }}

{{- define "slack.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "slack.default.username" }}{{ template "__alertmanager" . }}{{ end }}
{{- define "slack.default.color" }}{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}{{ end }}
{{- define "slack.default.fallback" }}{{ template "slack.default.title" . }} | {{ template "slack.default.titlelink" . }}{{ end }}
{{- define "slack.default.callbackid" }}{{ end }}
{{- define "slack.default.pretext" }}{{ end }}
{{- define "slack.default.titlelink" }}{{ template "__alertmanagerURL" . }}{{ end }}
{{- define "slack.default.iconemoji" }}{{ end }}
{{- define "slack.default.iconurl" }}{{ end }}
{{- define "slack.default.text" }}{{ end }}
{{- define "slack.default.footer" }}{{ end }}

{{- define "pagerduty.default.description" }}{{ template "__subject" . }}{{ end }}
{{- define "pagerduty.default.client" }}{{ template "__alertmanager" . }}{{ end }}
{{- define "pagerduty.default.clientURL" }}{{ template "__alertmanagerURL" . }}{{ end }}
{{- define "pagerduty.default.instances" }}{{ template "__text_alert_list" . }}{{ end }}

{{- define "opsgenie.default.message" }}{{ template "__subject" . }}{{ end }}
{{- define "opsgenie.default.description" }}{{ .CommonAnnotations.SortedPairs.Values | join " " }}
{{ template "__both" . }}{{ end }}
{{- define "opsgenie.default.source" }}{{ template "__alertmanagerURL" . }}{{ end }}

{{- define "wechat.default.message" }}{{ template "__subject" . }}
{{ .CommonAnnotations.SortedPairs.Values | join " " }}
{{ template "__both" . }}{{ template "__alertmanagerURL" . }}{{ end }}
{{- define "wechat.default.to_user" }}{{ end }}
{{- define "wechat.default.to_party" }}{{ end }}
{{- define "wechat.default.to_tag" }}{{ end }}
{{- define "wechat.default.agent_id" }}{{ end }}

{{- define "victorops.default.state_message" }}{{ .CommonAnnotations.SortedPairs.Values | join " " }}
{{ template "__both" . }}{{ end }}
{{- define "victorops.default.entity_display_name" }}{{ template "__subject" . }}{{ end }}
{{- define "victorops.default.monitoring_tool" }}{{ template "__alertmanager" . }}{{ end }}

{{- define "pushover.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "pushover.default.message" }}{{ .CommonAnnotations.SortedPairs.Values | join " " }}
{{ template "__both" . }}{{ end }}
{{- define "pushover.default.url" }}{{ template "__alertmanagerURL" . }}{{ end }}

{{- define "sns.default.subject" }}{{ template "__subject" . }}{{ end }}
{{- define "sns.default.message" }}{{ .CommonAnnotations.SortedPairs.Values | join " " }}
{{ template "__both" . }}{{ end }}

{{- define "telegram.default.message" }}{{ template "__both" . }}{{ end }}

{{- define "discord.default.content" }}{{ end }}
{{- define "discord.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "discord.default.message" }}{{ template "__both_markdown" . }}{{ end }}

{{- define "webex.default.message" }}**{{ template "__subject" . }}**
{{ template "__both_markdown" . }}{{ end }}

{{- define "msteams.default.summary" }}{{ template "__subject" . }}{{ end }}
{{- define "msteams.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "msteams.default.text" }}{{ template "__both_markdown" . }}{{ end }}
{{- define "msteamsv2.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "msteamsv2.default.text" }}{{ template "__both_markdown" . }}{{ end }}

{{- define "jira.default.summary" }}{{ template "__subject" . }}{{ end }}
{{- define "jira.default.description" }}{{ template "__both" . }}{{ end }}
{{- define "jira.default.priority" }}{{ $priority := "" }}{{ range .Alerts.Firing }}{{ $severity := .Labels.severity }}{{ if eq $severity "critical" }}{{ $priority = "High" }}{{ else if and (eq $severity "warning") (ne $priority "High") }}{{ $priority = "Medium" }}{{ else if and (eq $severity "info") (eq $priority "") }}{{ $priority = "Low" }}{{ end }}{{ end }}{{ $priority }}{{ end }}

{{- define "rocketchat.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "rocketchat.default.alias" }}{{ template "__alertmanager" . }}{{ end }}
{{- define "rocketchat.default.titlelink" }}{{ template "__alertmanagerURL" . }}{{ end }}
{{- define "rocketchat.default.emoji" }}{{ end }}
{{- define "rocketchat.default.iconurl" }}{{ end }}
{{- define "rocketchat.default.text" }}{{ end }}

{{- define "mattermost.default.username" }}{{ template "__alertmanager" . }}{{ end }}
{{- define "mattermost.default.color" }}{{ if eq .Status "firing" }}#e53935{{ else }}#43a047{{ end }}{{ end }}
{{- define "mattermost.default.text" }}{{ template "__both_markdown" . }}{{ end }}
{{- define "mattermost.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "mattermost.default.titlelink" }}{{ template "__alertmanagerURL" . }}{{ end }}
{{- define "mattermost.default.fallback" }}{{ template "__subject" . }} | {{ template "__alertmanagerURL" . }}{{ end }}

{{- define "twilio.default.message" }}{{ template "__short" . }}{{ end }}
{{- define "ntfy.default.title" }}{{ template "__subject" . }}{{ end }}
{{- define "ntfy.default.message" }}{{ template "__short" . }}{{ end }}
{{- define "googlechat.default.message" }}*{{ template "__subject" . }}*
{{ template "__both" . }}{{ template "__alertmanagerURL" . }}{{ end }}
{{- define "snmptrap.default.message" }}{{ template "__short" . }}{{ end }}
"#;

/// The HTML template of e-mails.
pub(crate) const HTML: &str = r#"
{{- define "email.default.html" }}<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{ template "__subject" . }}</title></head>
<body style="margin:0;padding:16px;background:#f4f5f7;font:14px/1.5 sans-serif;color:#1c2733">
<div style="max-width:640px;margin:0 auto;background:#fff;border:1px solid #dde1e6;border-radius:6px;overflow:hidden">
<div style="padding:14px 20px;color:#fff;background:{{ if eq .Status "firing" }}#c62828{{ else }}#2e7d32{{ end }}"><b>{{ .AlertCount }} alert{{ if gt .AlertCount 1 }}s{{ end }} for{{ range .GroupLabels.SortedPairs }} {{ .Name }}={{ .Value }}{{ end }}</b></div>
<div style="padding:12px 20px"><a href="{{ template "__alertmanagerURL" . }}">Open in {{ template "__alertmanager" . }}</a></div>
{{ if gt .TruncatedAlerts 0 }}<div style="padding:0 20px 12px">{{ .TruncatedAlerts }} of them are not listed here.</div>{{ end }}
{{ if gt (len .Alerts.Firing) 0 }}<h3 style="margin:0;padding:4px 20px">[{{ .FiringCount }}] Firing</h3>{{ range .Alerts.Firing }}{{ template "__email_alert" . }}{{ end }}{{ end }}
{{ if gt (len .Alerts.Resolved) 0 }}<h3 style="margin:0;padding:4px 20px">[{{ .ResolvedCount }}] Resolved</h3>{{ range .Alerts.Resolved }}{{ template "__email_alert" . }}{{ end }}{{ end }}
<div style="padding:12px 20px;color:#6b7785"><a href="{{ .ExternalURL }}">Sent by {{ template "__alertmanager" . }}</a></div>
</div></body></html>
{{ end }}
{{- define "__email_alert" }}<div style="padding:8px 20px;border-top:1px solid #eceff3">
<b>Labels</b><br>
{{ range .Labels.SortedPairs }}{{ .Name }} = {{ .Value }}<br>
{{ end }}{{ if gt (len .Annotations) 0 }}<b>Annotations</b><br>
{{ end }}{{ range .Annotations.SortedPairs }}{{ .Name }} = {{ .Value }}<br>
{{ end }}{{ if .GeneratorURL }}<a href="{{ .GeneratorURL }}">Source</a>{{ end }}
</div>
{{ end }}
"#;
