//! A collector of traces: the other end of OTLP, over HTTP and over gRPC.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A span as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanSeen {
    /// The `service.name` of the process.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// The span, in hexadecimal digits.
    pub id: String,
    /// The span that it is a part of; empty for the root.
    pub parent: String,
    /// Whether it is marked as failed.
    pub failed: bool,
    /// Attributes that are texts or numbers.
    pub attributes: BTreeMap<String, String>,
}

/// Listens for spans and keeps them.
#[derive(Debug)]
pub struct Collector {
    /// The address as a URL, without a path.
    pub url: String,
    spans: Arc<Mutex<Vec<SpanSeen>>>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// Fails when there is none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let spans = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(listener, Arc::clone(&spans)));
        Ok(Self { url, spans, task })
    }

    /// The arguments of a host that exports its traces here.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let arguments = ["--enable-traces", "--override-observability-endpoint"];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.push(self.url.clone());
        arguments
    }

    /// What has arrived so far.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanSeen> {
        self.spans.lock().clone()
    }

    /// Forgets what has arrived, for those that only need somebody to listen.
    pub fn clear(&self) {
        self.spans.lock().clear();
    }
}

async fn serve(listener: TcpListener, spans: Arc<Mutex<Vec<SpanSeen>>>) {
    // Ends the connections when the collector is dropped.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let spans = Arc::clone(&spans);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let spans = Arc::clone(&spans);
                async move { Ok::<_, Infallible>(answer(request, &spans).await) }
            });
            let builder = Builder::new(TokioExecutor::new());
            // A process that is killed breaks its connection off.
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, spans: &Mutex<Vec<SpanSeen>>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let Ok(body) = request.into_body().collect().await else {
        return status(400);
    };
    let body = body.to_bytes();
    let (message, grpc) = match path.as_str() {
        "/v1/traces" => (body, false),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" if body.len() >= 5 => {
            (body.slice(5..), true)
        }
        _ => return status(404),
    };
    let Ok(exported) = ExportTraceServiceRequest::decode(message) else {
        return status(400);
    };
    let arrived = exported.resource_spans.into_iter().flat_map(read);
    spans.lock().extend(arrived);
    if grpc {
        accepted_by_grpc()
    } else {
        status(200)
    }
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = code.try_into().unwrap_or_default();
    response
}

/// An empty message, and the status of the call behind it.
fn accepted_by_grpc() -> Response<Body> {
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let body = Full::new(Bytes::from_static(&[0; 5]));
    let body = body.with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}

fn read(of_process: ResourceSpans) -> Vec<SpanSeen> {
    let resource = of_process.resource.unwrap_or_default();
    let service = texts(resource.attributes).remove("service.name");
    let spans = of_process
        .scope_spans
        .into_iter()
        .flat_map(|scope| scope.spans);
    spans
        .map(|span| SpanSeen {
            service: service.clone().unwrap_or_default(),
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            failed: span.status.is_some_and(|status| status.code == 2),
            attributes: texts(span.attributes),
        })
        .collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    attributes
        .into_iter()
        .filter_map(|one| Some((one.key, text(one.value?.value?)?)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spans as the lines of a failed assertion.
impl std::fmt::Display for SpanSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (service, name, trace) = (&self.service, &self.name, &self.trace);
        write!(
            f,
            "{trace} {} in {}: {service} {name}",
            self.id, self.parent
        )
    }
}

impl Collector {
    /// Waits until a trace has `count` spans of which one, its first, satisfies `chosen`.
    ///
    /// # Errors
    ///
    /// Fails with all that has arrived when there is none in time.
    pub async fn trace(
        &self,
        count: usize,
        chosen: impl Fn(&SpanSeen) -> bool,
    ) -> Result<Vec<SpanSeen>> {
        crate::until(async || {
            let all = self.spans();
            let first = all.iter().find(|span| chosen(span));
            let trace = first.map(|first| {
                let same = all.iter().filter(|span| span.trace == first.trace);
                same.cloned().collect::<Vec<_>>()
            });
            trace
                .filter(|trace| trace.len() >= count)
                .with_context(|| lines(&all))
        })
        .await
    }
}

fn lines(spans: &[SpanSeen]) -> String {
    let lines: Vec<_> = spans.iter().map(SpanSeen::to_string).collect();
    format!("no such trace among:\n{}", lines.join("\n"))
}
