//! Every answer that is not 202: its status, its body, and when to come again. One place, so that the description
//! (`openapi.json`, docs/serve.md) can be checked against it.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Serialize;

use crate::limits::RETRY_AFTER_S;
use crate::log::Appended;

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{why}")]
    Malformed { metric: Option<usize>, field: Option<String>, why: String },
    #[error("{why}")]
    Invalid { metric: Option<usize>, field: Option<String>, why: String },
    #[error("`Authorization: Bearer CLIENT` must say which client sends: {why}")]
    NoClientId { why: String },
    #[error("there is nothing at this path; POST /metrics, GET /healthz, /readyz, /stats and /openapi.json")]
    NoSuchPath,
    #[error("{method} is not possible here; {allow} is")]
    WrongMethod { method: String, allow: &'static str },
    #[error("the body was not whole within {waited_ms} ms")]
    TooSlow { waited_ms: u64 },
    #[error("the body broke off: {why}")]
    BrokenBody { why: String },
    #[error("the body is larger than {max_bytes} bytes; send it in parts")]
    BodyTooLarge { max_bytes: usize },
    #[error("more than {max} metrics in one request; send them in parts")]
    BatchTooLarge { max: usize },
    #[error("Content-Encoding {encoding} is not understood; send the body as it is")]
    Encoding { encoding: String },
    #[error("this client sends more than {metrics_per_s} metrics a second; come again in {retry_after_s} s")]
    RateLimited { metrics_per_s: f64, retry_after_s: u64 },
    #[error("nothing was taken: {why}")]
    Unavailable { why: String },
    #[error("the server is stopping; nothing was taken")]
    Stopping,
    #[error(
        "the cluster acknowledged {} of {} metrics; {} were not written and {} may have been: {}",
        .0.acknowledged, .0.acknowledged + .0.not_written + .0.unknown, .0.not_written, .0.unknown,
        .0.why.as_deref().unwrap_or("it did not answer in time")
    )]
    NotAcknowledged(Appended),
}

impl Refusal {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } | Self::Invalid { .. } | Self::BrokenBody { .. } => StatusCode::BAD_REQUEST,
            Self::NoClientId { .. } => StatusCode::UNAUTHORIZED,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } | Self::BatchTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } | Self::Stopping | Self::NotAcknowledged(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For programs: what kind of refusal it is.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed_json",
            Self::Invalid { .. } => "invalid_metric",
            Self::NoClientId { .. } => "no_client_id",
            Self::NoSuchPath => "no_such_path",
            Self::WrongMethod { .. } => "wrong_method",
            Self::TooSlow { .. } => "too_slow",
            Self::BrokenBody { .. } => "broken_body",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BatchTooLarge { .. } => "batch_too_large",
            Self::Encoding { .. } => "encoding_not_understood",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Stopping => "stopping",
            Self::NotAcknowledged(_) => "not_acknowledged",
        }
    }

    const fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_s, .. } => Some(*retry_after_s),
            Self::Unavailable { .. } | Self::Stopping | Self::NotAcknowledged(_) => Some(RETRY_AFTER_S),
            _ => None,
        }
    }

    /// Whether the rest of the connection cannot be made sense of, or is not to be waited for.
    const fn closes(&self) -> bool {
        matches!(self, Self::TooSlow { .. } | Self::BrokenBody { .. } | Self::BodyTooLarge { .. } | Self::Stopping)
    }

    /// The body.
    pub(crate) fn json(&self) -> String {
        let mut error =
            Error { code: self.code(), message: self.to_string(), metric: None, field: None, outcome: None };
        match self {
            Self::Malformed { metric, field, .. } | Self::Invalid { metric, field, .. } => {
                error.metric = *metric;
                error.field.clone_from(field);
            }
            Self::NotAcknowledged(appended) => {
                error.outcome = Some(Outcome {
                    acknowledged: appended.acknowledged,
                    not_written: appended.not_written,
                    unknown: appended.unknown,
                });
            }
            _ => {}
        }
        // Text and numbers always are JSON.
        serde_json::to_string(&ErrorBody { error }).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct ErrorBody {
    error: Error,
}

#[derive(Serialize)]
struct Error {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(flatten)]
    outcome: Option<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    acknowledged: u32,
    not_written: u32,
    unknown: u32,
}

/// `application/json`.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match &self {
            Self::NoClientId { .. } => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::WrongMethod { allow, .. } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            _ => {}
        }
        if self.closes() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MetricLimits, NAME_MAX_BYTES, TIMESTAMP_MAX_MS, TIMESTAMP_MIN_MS};
    use serde_json::json;

    #[test]
    fn a_body_names_the_metric_and_the_field() {
        let refusal = Refusal::Invalid { metric: Some(3), field: Some("value".into()), why: "not a number".into() };
        let body: serde_json::Value = serde_json::from_str(&refusal.json()).expect("JSON");
        let error = json!({"code": "invalid_metric", "message": "not a number", "metric": 3, "field": "value"});
        assert_eq!(body, json!({ "error": error }));
    }

    /// One of each.
    fn all() -> Vec<Refusal> {
        let text = String::new;
        vec![
            Refusal::Malformed { metric: None, field: None, why: text() },
            Refusal::Invalid { metric: None, field: None, why: text() },
            Refusal::NoClientId { why: text() },
            Refusal::NoSuchPath,
            Refusal::WrongMethod { method: text(), allow: "POST" },
            Refusal::TooSlow { waited_ms: 1 },
            Refusal::BrokenBody { why: text() },
            Refusal::BodyTooLarge { max_bytes: 1 },
            Refusal::BatchTooLarge { max: 1 },
            Refusal::Encoding { encoding: text() },
            Refusal::RateLimited { metrics_per_s: 1.0, retry_after_s: 1 },
            Refusal::Unavailable { why: text() },
            Refusal::Stopping,
            Refusal::NotAcknowledged(Appended::default()),
        ]
    }

    #[test]
    fn the_description_has_every_status_and_code_and_the_limits_as_they_are() {
        let api: serde_json::Value = serde_json::from_str(crate::OPENAPI).expect("JSON");
        let codes = &api["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"];
        assert_eq!(*codes, json!(all().iter().map(Refusal::code).collect::<Vec<_>>()));
        let of_metrics = all().into_iter().filter(|refusal| *refusal != Refusal::NoSuchPath);
        let mut statuses: Vec<String> = of_metrics.map(|refusal| refusal.status().as_str().to_owned()).collect();
        statuses.push("202".to_owned());
        statuses.sort();
        statuses.dedup();
        let described = api["paths"]["/metrics"]["post"]["responses"].as_object().expect("answers");
        assert_eq!(described.keys().collect::<Vec<_>>(), statuses.iter().collect::<Vec<_>>());
        let (limits, schemas) = (MetricLimits::default(), &api["components"]["schemas"]);
        assert_eq!(schemas["Batch"]["properties"]["metrics"]["maxItems"], limits.batch_max);
        let metric = &schemas["Metric"]["properties"];
        assert_eq!(metric["name"]["maxLength"], NAME_MAX_BYTES);
        assert_eq!(metric["labels"]["maxProperties"], limits.labels_max);
        assert_eq!(metric["labels"]["additionalProperties"]["maxLength"], limits.label_value_max_bytes);
        assert_eq!(metric["timestamp"]["minimum"], TIMESTAMP_MIN_MS);
        assert_eq!(metric["timestamp"]["maximum"], TIMESTAMP_MAX_MS);
    }

    #[test]
    fn the_page_has_a_row_for_every_status_and_code() {
        let page = include_str!("../../../docs/serve.md");
        for refusal in all() {
            let row = format!("| {} | `{}` | ", refusal.status().as_u16(), refusal.code());
            assert!(page.lines().any(|line| line.starts_with(&row)), "docs/serve.md lacks {row}");
        }
    }

    #[test]
    fn whoever_may_come_again_is_told_when() {
        for refusal in all() {
            let (text, may) = (refusal.to_string(), [429, 503].contains(&refusal.status().as_u16()));
            let response = refusal.into_response();
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), may, "{text}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], JSON);
        }
    }

    #[test]
    fn what_was_not_acknowledged_says_what_is_known_of_each() {
        let appended = Appended { acknowledged: 5, not_written: 2, unknown: 1, why: None };
        let refusal = Refusal::NotAcknowledged(appended);
        let body: serde_json::Value = serde_json::from_str(&refusal.json()).expect("JSON");
        assert_eq!(body["error"]["acknowledged"], 5);
        assert_eq!(body["error"]["not_written"], 2);
        assert_eq!(body["error"]["unknown"], 1);
        let message = body["error"]["message"].as_str().expect("text");
        assert!(message.contains("acknowledged 5 of 8 metrics"), "{message}");
        let response = refusal.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
