//! Request parameters: the query string and a form body read as one list, as Prometheus reads them.

use axum::body::Bytes;
use axum::http::{HeaderMap, Uri, header};
use model::duration::PromDuration;
use model::seam::TimeRange;
use model::{Selector, TenantId, Timestamp};

use crate::error::{ApiError, ErrorType};

/// The header that names the tenant, as Mimir, Cortex and Loki spell it.
const TENANT_HEADER: &str = "x-scope-orgid";

/// The earliest and latest times that Prometheus accepts, in milliseconds.
const MIN_TIME: Timestamp = Timestamp(i64::MIN / 1_000_000);
const MAX_TIME: Timestamp = Timestamp(i64::MAX / 1_000_000);

/// Times of requests lie within so many milliseconds, so that the ranges, offsets and look-backs of a query do not leave what
/// 64 bits hold.
const FURTHEST: i64 = 9_000_000_000_000_000_000;

/// The parameters of one request, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads the query string and, where the content type says so, the form in `body`. A form's values come first.
    pub(crate) fn read(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        let content_type =
            headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if content_type.starts_with("application/x-www-form-urlencoded") {
            pairs.extend(form_urlencoded::parse(body).into_owned());
        } else if !body.is_empty() && !content_type.is_empty() {
            let message = format!(
                "content type {content_type:?}: send parameters as application/x-www-form-urlencoded"
            );
            return Err(ApiError::new(ErrorType::BadData, message));
        }
        if let Some(query) = uri.query() {
            pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        }
        Ok(Self { pairs })
    }

    /// The first value of `name`; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of `name`, or an error that says it is missing.
    pub(crate) fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::parameter(name, "parameter is required"))
    }

    /// A time: seconds since the epoch with a fraction, or RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let wrong = |cause| ApiError::parameter(name, format!("invalid time value for '{name}': {cause}"));
        self.get(name).map(|text| parse_time(text).map_err(wrong)).transpose()
    }

    /// A time that must be given.
    pub(crate) fn require_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let text = self.get(name).unwrap_or_default();
        parse_time(text).map_err(|cause| ApiError::parameter(name, cause))
    }

    /// A duration in milliseconds: seconds with a fraction, or `1m30s`.
    pub(crate) fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|text| parse_duration(text).map_err(|cause| ApiError::parameter(name, cause)))
            .transpose()
    }

    /// A count; 0 and absent mean "no limit".
    pub(crate) fn limit(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else { return Ok(0) };
        text.parse().map_err(|_| match text.parse::<i64>() {
            Ok(_) => ApiError::parameter(name, format!("{name} must be non-negative")),
            Err(_) => ApiError::parameter(name, format!("{text:?} is not a whole number of 0 or more")),
        })
    }

    /// A limit of the metadata endpoints: absent and below 0 mean "no limit", 0 means nothing.
    pub(crate) fn limit_or_all(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(limit) => Ok(usize::try_from(limit).ok()),
            Err(_) => Err(ApiError::bad_data(format!("{name} must be a number"))),
        }
    }

    /// A truth value as Go's `strconv.ParseBool` reads it.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some(false)),
            _ => Err(ApiError::parameter(name, format!("{text:?} is not a truth value"))),
        }
    }

    /// `start` and `end`, both optional; an end before the start is a range without a moment in it.
    pub(crate) fn any_range(&self) -> Result<TimeRange, ApiError> {
        Ok(TimeRange {
            start: self.time("start")?.unwrap_or(MIN_TIME),
            end: self.time("end")?.unwrap_or(MAX_TIME),
        })
    }

    /// `start` and `end`, both optional.
    pub(crate) fn range(&self) -> Result<TimeRange, ApiError> {
        let range = self.any_range()?;
        if range.end < range.start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
        }
        Ok(range)
    }

    /// The selectors of every `match[]`, each with a matcher that refuses the empty value.
    pub(crate) fn selectors(&self, options: &promql::Options) -> Result<Vec<Selector>, ApiError> {
        let selectors = self.any_selectors(options)?;
        if selectors.iter().any(|selector| selector.iter().all(model::Matcher::matches_empty)) {
            return Err(ApiError::parameter(
                "match[]",
                "match[] must contain at least one non-empty matcher",
            ));
        }
        Ok(selectors)
    }

    /// The selectors of every `match[]`, whatever they select.
    pub(crate) fn any_selectors(&self, options: &promql::Options) -> Result<Vec<Selector>, ApiError> {
        let parse = |text: &str| {
            promql::parse_selector(text, options).map_err(|err| ApiError::parameter("match[]", err))
        };
        self.all("match[]").map(parse).collect()
    }
}

/// The tenant that a request names, or the default one.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<TenantId, ApiError> {
    let Some(value) = headers.get(TENANT_HEADER) else { return Ok(TenantId::default()) };
    let text =
        value.to_str().map_err(|_| ApiError::bad_data(format!("header {TENANT_HEADER} is not ASCII")))?;
    TenantId::new(text).map_err(|err| ApiError::bad_data(format!("header {TENANT_HEADER}: {err}")))
}

/// Seconds since the epoch or RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Some(seconds) = parse_float(text)
        && seconds.is_finite()
    {
        let at = Timestamp::from_seconds(seconds);
        if at.ms().unsigned_abs() > FURTHEST.unsigned_abs() {
            return Err(format!("cannot parse {text:?} to a valid timestamp. It overflows int64"));
        }
        return Ok(at);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(Timestamp(at.as_millisecond())),
        Err(_) => Err(format!("cannot parse {text:?} to a valid timestamp")),
    }
}

/// A number as Go reads it: underscores may stand between digits.
fn parse_float(text: &str) -> Option<f64> {
    if !text.contains('_') {
        return text.parse().ok();
    }
    let bytes = text.as_bytes();
    let between_digits = |at: usize| {
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    let fits = (0..bytes.len()).all(|at| bytes[at] != b'_' || between_digits(at));
    if fits { text.replace('_', "").parse().ok() } else { None }
}

/// Seconds with a fraction or a Prometheus duration, in milliseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return if ms.is_finite() && ms.abs() < 9.2e12 {
            Ok(ms as i64)
        } else {
            Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"))
        };
    }
    match PromDuration::parse(text) {
        Ok(duration) => Ok(duration.ms()),
        Err(_) => Err(format!("cannot parse {text:?} to a valid duration")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_read_as_prometheus_reads_them() {
        assert_eq!(parse_time("1435781451.781"), Ok(Timestamp(1_435_781_451_781)));
        assert_eq!(parse_time("2015-07-01T20:10:51.781Z"), Ok(Timestamp(1_435_781_451_781)));
        assert_eq!(parse_time("2015-07-01T22:10:51.781+02:00"), Ok(Timestamp(1_435_781_451_781)));
        assert_eq!(parse_time("-1.5"), Ok(Timestamp(-1500)));
        assert_eq!(parse_time("9300000000"), Ok(Timestamp(9_300_000_000_000)));
        assert_eq!(parse_time("1_435_781_451.5"), Ok(Timestamp(1_435_781_451_500)));
        for bad in ["", "now", "NaN", "1e30", "-9.1e15", "2015-07-01", "_1", "1__0", "1_", "1_.5"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_duration("15"), Ok(15_000));
        assert_eq!(parse_duration("0.5"), Ok(500));
        assert_eq!(parse_duration("1m30s"), Ok(90_000));
        for bad in ["", "1x", "1e300"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_form_body_and_the_query_string_are_one_list() {
        let uri: Uri = "/x?b=2&a=3".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        let params = Params::read(&uri, &headers, &Bytes::from_static(b"a=1&c=x%20y&c=&c=z")).unwrap();
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.all("a").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(params.get("b"), Some("2"));
        assert_eq!(params.all("c").collect::<Vec<_>>(), ["x y", "", "z"]);
        assert!(params.require("missing").is_err());
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        assert!(Params::read(&uri, &headers, &Bytes::from_static(b"{}")).is_err());
    }

    #[test]
    fn tenants_come_from_the_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(tenant(&headers).unwrap(), TenantId::default());
        headers.insert("X-Scope-OrgID", "team-a".parse().unwrap());
        assert_eq!(tenant(&headers).unwrap().as_str(), "team-a");
        headers.insert("X-Scope-OrgID", "../etc".parse().unwrap());
        assert!(tenant(&headers).is_err());
    }
}
