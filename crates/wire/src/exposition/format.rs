//! Which format a body has: `Accept` and `Content-Type`.

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text004,
    /// Prometheus text 1.0.0: UTF-8 names in quotes.
    Text100,
    /// OpenMetrics 0.0.1.
    OpenMetrics001,
    /// OpenMetrics 1.0.0.
    OpenMetrics100,
    /// OpenMetrics 2.0.0.
    OpenMetrics200,
    /// Length-delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

impl Format {
    /// Whether it is one of the OpenMetrics versions.
    pub fn is_openmetrics(self) -> bool {
        matches!(self, Self::OpenMetrics001 | Self::OpenMetrics100 | Self::OpenMetrics200)
    }

    /// The media type, as in `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Self::Text100 => "text/plain; version=1.0.0; charset=utf-8",
            Self::OpenMetrics001 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
            Self::OpenMetrics100 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::OpenMetrics200 => "application/openmetrics-text; version=2.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// Reads a `Content-Type`; `None` when it names no format that a target may send.
    pub fn from_content_type(header: &str) -> Option<Self> {
        let mut parts = header.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let (mut version, mut encoding, mut proto) = (None, None, None);
        for part in parts {
            let (name, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => version = Some(value),
                "encoding" => encoding = Some(value),
                "proto" => proto = Some(value),
                _ => {}
            }
        }
        match media.as_str() {
            "text/plain" => {
                Some(if version.as_deref() == Some("1.0.0") { Self::Text100 } else { Self::Text004 })
            }
            "application/openmetrics-text" => Some(match version.as_deref() {
                Some("1.0.0") => Self::OpenMetrics100,
                Some(v) if v.starts_with("2.") => Self::OpenMetrics200,
                _ => Self::OpenMetrics001,
            }),
            "application/vnd.google.protobuf" => {
                let delimited = encoding.is_none_or(|e| e == "delimited");
                let family = proto.is_none_or(|p| p == "io.prometheus.client.metricfamily");
                (delimited && family).then_some(Self::Protobuf)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let cases = [
            ("text/plain", Some(Format::Text004)),
            ("text/plain; version=0.0.4; charset=utf-8; escaping=values", Some(Format::Text004)),
            ("Text/Plain;version=1.0.0", Some(Format::Text100)),
            ("application/openmetrics-text; version=1.0.0", Some(Format::OpenMetrics100)),
            ("application/openmetrics-text", Some(Format::OpenMetrics001)),
            ("text/html", None),
            ("application/vnd.google.protobuf; proto=other", None),
        ];
        for (header, format) in cases {
            assert_eq!(Format::from_content_type(header), format, "{header}");
        }
        for format in [Format::Text004, Format::Text100, Format::OpenMetrics100, Format::Protobuf] {
            assert_eq!(Format::from_content_type(format.content_type()), Some(format));
        }
    }
}
