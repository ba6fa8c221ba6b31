//! The span of a request.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use lattice_provider_sdk::telemetry::{self, Begun, TARGET};
use lattice_rpc::TraceContext;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::body::ReplyBody;
use crate::connection::Line;
use crate::request;

/// Answers a request, and where traces are exported makes a span of it, which begins a trace
/// unless the client has. It ends with the head of the response.
pub(crate) async fn handle(
    line: Arc<Line>,
    mut request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    if !telemetry::is_on() {
        return request::handle(line, request).await;
    }
    let span = begin(line.scheme.as_str(), &mut request);
    let response = request::handle(line, request)
        .instrument(span.clone())
        .await?;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
    Ok(response)
}

/// Begins the span, and leaves the trace context for the call with the request.
fn begin(scheme: &str, request: &mut Request<Incoming>) -> Span {
    let carried = carried(request.headers());
    // Names as in the semantic conventions for HTTP servers, where the method names the span.
    let Begun { span, onward } = telemetry::begin(carried.as_ref(), || {
        tracing::info_span!(
            target: TARGET,
            "request",
            otel.name = request.method().as_str(),
            otel.kind = "server",
            http.request.method = request.method().as_str(),
            url.scheme = scheme,
            url.path = request.uri().path(),
            http.response.status_code = Empty,
            road = Empty,
            road.why = Empty,
            otel.status_code = Empty,
            error.type = Empty,
        )
    });
    if let Some(trace) = onward {
        request.extensions_mut().insert(trace);
    }
    span
}

/// The trace context that a client has sent.
pub(crate) fn carried(headers: &http::HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    Some(TraceContext {
        traceparent: text("traceparent")?,
        tracestate: text("tracestate"),
    })
}
