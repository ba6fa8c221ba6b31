//! Requests to SQS.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderName};
use lattice_backend_http::aws::AwsClient;
use lattice_backend_http::{HttpBackend, Retry, TlsError};
use serde_json::Value;

use crate::error::SqsError;
use crate::settings::SqsSettings;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// The kind of JSON that SQS speaks.
const JSON: &str = "application/x-amz-json-1.0";
/// What is left of the time for an answer when SQS is asked to wait.
const ON_THE_WAY: Duration = Duration::from_secs(2);

/// Whether a request may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It does the same.
    Safe,
    /// Only when SQS has not done it.
    Undone,
}

/// One service, as one user.
#[derive(Debug)]
pub(crate) struct Sqs {
    client: AwsClient,
    url: String,
    /// Host and port, for errors.
    at: String,
    retry: Retry,
    answer_limit: Duration,
}

impl Sqs {
    pub(crate) fn new(settings: SqsSettings) -> Result<Self, TlsError> {
        let answer_limit = settings.http.answer_limit;
        let http = HttpBackend::new(settings.http)?;
        let aws = settings.aws;
        let of_aws = || format!("https://sqs.{}.amazonaws.com", aws.region);
        let url = aws.endpoint.clone().unwrap_or_else(of_aws);
        let at = url.split_once("://").map_or(url.as_str(), |(_, at)| at);
        Ok(Self {
            at: at.to_owned(),
            url: format!("{url}/"),
            client: AwsClient::new(http, aws.origin, "sqs", aws.region),
            retry: Retry {
                attempts: settings.attempts,
                ..Retry::default()
            },
            answer_limit,
        })
    }

    /// How long SQS may be asked to wait before it answers.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.answer_limit.saturating_sub(ON_THE_WAY)
    }

    /// Has SQS do something, and again when that may help.
    pub(crate) async fn ask(
        &self,
        action: &'static str,
        params: &Value,
        again: Again,
    ) -> Result<Value, SqsError> {
        let body = Bytes::from(params.to_string());
        let may = |error: &SqsError| {
            error.never_sent() || error.is_throttled() || (again == Again::Safe && error.may_pass())
        };
        let attempt = || self.ask_once(action, body.clone());
        self.retry.run(attempt, may).await
    }

    /// Has SQS do something, with one attempt.
    pub(crate) async fn ask_once(
        &self,
        action: &'static str,
        body: Bytes,
    ) -> Result<Value, SqsError> {
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, JSON)
            .header(TARGET, format!("AmazonSQS.{action}"))
            .body(body)
            .map_err(|source| SqsError::Request { action, source })?;
        let answer = self.client.ask(request).await?;
        if !answer.status().is_success() {
            return Err(SqsError::refused(&self.at, action, &answer));
        }
        if answer.body().is_empty() {
            return Ok(Value::Null);
        }
        let answer = serde_json::from_slice(answer.body());
        answer.map_err(|_| SqsError::Answer {
            at: self.at.clone(),
            action,
        })
    }
}
