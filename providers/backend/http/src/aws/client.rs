//! Signed requests.

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use time::OffsetDateTime;

use super::keys::KeysError;
use super::sign::{Scope, hash, sign};
use super::source::{KeySource, Origin};
use crate::{Answer, HttpBackend, HttpError};

const BODY_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Signs requests to one service and sends them, each once.
#[derive(Debug)]
pub struct AwsClient {
    http: HttpBackend,
    keys: KeySource,
    service: &'static str,
    region: String,
}

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// There are no keys to sign with.
    #[error("there are no keys to sign requests with")]
    Keys(#[from] KeysError),
    /// It was not reached, or is silent.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl AwsError {
    /// Whether the request surely never reached the service.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        match self {
            // Who lends them was asked already.
            Self::Keys(_) => false,
            Self::Http(error) => error.never_sent(),
        }
    }

    /// Whether the connection broke, so that a request which may be made twice is worth it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Http(HttpError::Reach { .. }))
    }
}

impl AwsClient {
    /// A client of `service` that sends through this pool.
    #[must_use]
    pub fn new(http: HttpBackend, origin: Origin, service: &'static str, region: String) -> Self {
        let keys = KeySource::new(origin, http.clone());
        Self {
            http,
            keys,
            service,
            region,
        }
    }

    /// The region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Sends a request and waits for all of the answer.
    ///
    /// # Errors
    ///
    /// [`AwsError`].
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, AwsError> {
        let request = self.signed(request).await?;
        Ok(self.http.ask(request).await?)
    }

    /// Sends a request and gives the answer as soon as its head is there.
    ///
    /// # Errors
    ///
    /// [`AwsError`].
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Answer>, AwsError> {
        let request = self.signed(request).await?;
        Ok(self.http.send(request.map(Full::new)).await?)
    }

    async fn signed(&self, request: Request<Bytes>) -> Result<Request<Bytes>, KeysError> {
        let keys = self.keys.keys().await?;
        let (mut parts, body) = request.into_parts();
        let body_hash = hash(&body);
        if let Ok(value) = HeaderValue::from_str(&body_hash) {
            parts.headers.insert(BODY_HASH, value);
        }
        let scope = Scope {
            service: self.service,
            region: &self.region,
            at: OffsetDateTime::now_utc(),
        };
        sign(&mut parts, &keys, scope, &body_hash);
        Ok(Request::from_parts(parts, body))
    }
}
