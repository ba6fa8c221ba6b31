//! The HTTP client of the exporter.
//!
//! It speaks OTLP over HTTP and over gRPC. An export is one gRPC call with one message each way,
//! for which the client that is here anyway needs a frame and a look at the trailers; a library for
//! gRPC would be larger than all the rest of the export.

mod grpc;
mod tls;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lattice_core::provider::OtelProtocol;
use opentelemetry_http::{HttpClient, HttpError};

use crate::settings::{TraceSettings, TracesError};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);
/// The largest answer that is read: it only names what was refused.
const MAX_ANSWER: usize = 1 << 20;

/// Sends what the exporter has encoded.
#[derive(Debug)]
pub(crate) struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    protocol: OtelProtocol,
}

impl Client {
    pub(crate) fn new(settings: &TraceSettings) -> Result<Self, TracesError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let secured = settings.endpoint.scheme_str() == Some("https");
        let trust = tls::config(secured, &settings.authorities)?;
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_or_http();
        let grpc = settings.protocol == OtelProtocol::Grpc;
        let connector = if grpc {
            builder.enable_http2().wrap_connector(tcp)
        } else {
            builder.enable_http1().wrap_connector(tcp)
        };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_only(grpc)
            .build(connector);
        Ok(Self {
            pool,
            protocol: settings.protocol,
        })
    }
}

/// The deadline is that of the export, which drops this.
#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let grpc = self.protocol == OtelProtocol::Grpc;
        let request = if grpc { grpc::frame(request)? } else { request };
        let response = self.pool.request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        let trailers = body.trailers().cloned();
        let response = Response::from_parts(parts, body.to_bytes());
        Ok(if grpc {
            grpc::unframe(response, trailers.as_ref())
        } else {
            response
        })
    }
}
