//! What a receiver answers: `ExportMetricsServiceResponse` and `google.rpc.Status`, in protobuf and JSON.

use crate::proto::Writer;

/// gRPC's codes that a receiver uses. Source: the OpenTelemetry protocol, "Failures".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Everything was read.
    Ok = 0,
    /// The request is wrong: do not send it again.
    InvalidArgument = 3,
    /// Too much: send it again later, when a delay is given.
    ResourceExhausted = 8,
    /// There is no such method.
    Unimplemented = 12,
    /// Our bug.
    Internal = 13,
    /// Not now: send it again later.
    Unavailable = 14,
}

/// A success, with how many points were refused and why.
pub fn response(rejected: usize, message: &str) -> Vec<u8> {
    let mut out = Writer::default();
    if rejected > 0 || !message.is_empty() {
        out.part(1, |partial| {
            partial.varint(1, rejected as u64);
            partial.bytes(2, message.as_bytes());
        });
    }
    out.0
}

/// [`response`] in JSON.
pub fn response_json(rejected: usize, message: &str) -> Vec<u8> {
    let value = if rejected > 0 || !message.is_empty() {
        serde_json::json!({"partialSuccess": {"rejectedDataPoints": rejected.to_string(), "errorMessage": message}})
    } else {
        serde_json::json!({"partialSuccess": {}})
    };
    value.to_string().into_bytes()
}

/// A `google.rpc.Status`; `retry_after`: seconds after which the sender may try again.
pub fn status(code: Code, message: &str, retry_after: Option<u32>) -> Vec<u8> {
    let mut out = Writer::default();
    out.varint(1, code as u64);
    out.bytes(2, message.as_bytes());
    if let Some(seconds) = retry_after {
        out.part(3, |any| {
            any.bytes(1, b"type.googleapis.com/google.rpc.RetryInfo");
            any.part(2, |info| info.part(1, |delay| delay.varint(1, u64::from(seconds))));
        });
    }
    out.0
}

/// [`status`] in JSON.
pub fn status_json(code: Code, message: &str) -> Vec<u8> {
    serde_json::json!({"code": code as u32, "message": message}).to_string().into_bytes()
}
