//! Sending a request.

use std::any::TypeId;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use lattice_codec::Reader;
use lattice_codec::http::{
    ErrorCode, Part, RequestHead, RequestOptions, decode_response, encode_request,
};
use lattice_codec::write;

use crate::call::{Call, Invocation, ResultMessage};
use crate::direct::{Here, RequestHere};
use crate::error::CallError;
use crate::http::body::{IncomingBody, OutgoingBody, Pump, SendError};
use crate::http::{body_path, trailers_path};
use crate::peer::Peer;

/// How long the body of a response may pause that comes from a 1.9 peer, before its sender counts
/// as gone: as long as a component of such a peer may run (protocol page, 4.7). Peers of our kind
/// are asked whether they are there.
const IDLE: Duration = Duration::from_secs(600);

/// What a handler of requests takes as it is from callers in its process.
pub const REQUEST: TypeId = TypeId::of::<http::Request<IncomingBody>>();

/// Why an HTTP request over the lattice got no response.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The handler answered with an HTTP error instead of a response.
    #[error("the handler answered with `{0}`")]
    Handler(ErrorCode),
    /// The body of the request failed before it was sent.
    #[error("could not read the body of the request: {0}")]
    RequestBody(String),
}

impl Peer {
    /// Sends a request to whoever serves `wrpc:http/incoming-handler` at the invocation's subject.
    ///
    /// The deadline covers the response up to its head; its body then may take its time, as long
    /// as the other end is there; that of a 1.9 peer, which cannot be asked, must not pause for a
    /// minute. Dropping the response, or this future, cancels the call.
    ///
    /// # Errors
    ///
    /// [`HttpError`], never later than the deadline.
    pub fn call_http<B>(
        &self,
        invocation: Invocation,
        request: http::Request<B>,
    ) -> impl Future<Output = Result<http::Response<IncomingBody>, HttpError>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        self.send_http(invocation, request, None)
    }

    /// As [`Peer::call_http`], for `wrpc:http/outgoing-handler` with its request options.
    ///
    /// # Errors
    ///
    /// As [`Peer::call_http`].
    pub fn call_http_out<B>(
        &self,
        invocation: Invocation,
        request: http::Request<B>,
        options: Option<RequestOptions>,
    ) -> impl Future<Output = Result<http::Response<IncomingBody>, HttpError>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        self.send_http(invocation, request, Some(options))
    }

    async fn send_http<B>(
        &self,
        invocation: Invocation,
        request: http::Request<B>,
        options: Option<Option<RequestOptions>>,
    ) -> Result<http::Response<IncomingBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        let (mut parts, body) = request.into_parts();
        let body = OutgoingBody::take(body)
            .await
            .map_err(HttpError::RequestBody)?;
        if let Some(function) = self.taker_here(&invocation, REQUEST) {
            if let Some(options) = options.flatten() {
                parts.extensions.insert(options);
            }
            let here = self
                .request_here(function, &invocation, parts, body)
                .await?;
            return match here {
                Here::Done(response) => Ok(response),
                Here::Elsewhere(request, place) => {
                    let invocation = invocation.sent_to(place);
                    Box::pin(self.send_elsewhere(invocation, *request, options)).await
                }
            };
        }
        // Boxed, since requests that stay here would carry its room along.
        Box::pin(self.send_away(invocation, parts, body, options)).await
    }

    /// Sends a request by messages that found no turn in this process.
    async fn send_elsewhere(
        &self,
        invocation: Invocation,
        request: RequestHere,
        options: Option<Option<RequestOptions>>,
    ) -> Result<http::Response<IncomingBody>, HttpError> {
        let (parts, body) = request.into_parts();
        let body = OutgoingBody::take(body).await;
        let body = body.map_err(HttpError::RequestBody)?;
        self.send_away(invocation, parts, body, options).await
    }

    /// Sends a request by messages.
    async fn send_away<B>(
        &self,
        invocation: Invocation,
        mut parts: http::request::Parts,
        mut body: OutgoingBody<B>,
        options: Option<Option<RequestOptions>>,
    ) -> Result<http::Response<IncomingBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        // Handlers of incoming requests are hosts, all of which take a body in the message. Who sends
        // them out may be a provider in Go, which does not.
        if options.is_some()
            && !self.is_answered_by_us(&invocation)
            && let Some(size) = body.follow()
        {
            // Else it could not be told beforehand how long the request is.
            let size = HeaderValue::from(size);
            parts.headers.entry(CONTENT_LENGTH).or_insert(size);
        }
        let mut params = BytesMut::with_capacity(256 + body.data.len());
        encode_request(
            &mut params,
            &head(parts),
            &body.body_part(),
            &body.trailer_part(),
        );
        if let Some(options) = options {
            write::option(&mut params, options, |out, options| options.encode(out));
        }
        let empty = body.whole && body.data.is_empty();
        let ended: &[_] = if empty { &[body_path()] } else { &[] };
        let mut call = self.start(invocation, params.freeze(), ended).await?;
        let pump = (!body.whole).then(|| self.pump(&call, body));
        let result = call.result().await?;
        response(&call, result, pump)
    }

    /// Whether calls of this function were lately answered by peers of our kind only.
    fn is_answered_by_us(&self, invocation: &Invocation) -> bool {
        self.inner.slots.trusts(invocation.subject())
    }

    /// Sends the rest of a request body while the response is awaited.
    fn pump<B>(&self, call: &Call, body: OutgoingBody<B>) -> Pump
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        let data = call.writer(body_path());
        let trailers = call.writer(trailers_path());
        let exchange = Arc::clone(&call.guard().exchange);
        let task = self.inner.tasks.spawn(async move {
            match body.send(data, trailers).await {
                Ok(()) => {}
                // The handler must not take what it has for the whole body.
                Err(SendError::Source(why)) => exchange.fail(CallError::Aborted(why)),
                Err(SendError::Call(error)) => {
                    tracing::debug!(%error, "the body of a request was not sent to its end");
                }
            }
        });
        Pump(task.abort_handle())
    }
}

fn head(parts: http::request::Parts) -> RequestHead {
    RequestHead {
        method: parts.method,
        path_with_query: parts
            .uri
            .path_and_query()
            .map(|path| path.as_str().to_owned()),
        scheme: parts.uri.scheme_str().map(str::to_owned),
        authority: parts
            .uri
            .authority()
            .map(|authority| authority.as_str().to_owned()),
        headers: parts.headers,
    }
}

fn response(
    call: &Call,
    result: ResultMessage,
    pump: Option<Pump>,
) -> Result<http::Response<IncomingBody>, HttpError> {
    let ResultMessage { bytes, ended } = result;
    let mut reader = Reader::new(bytes);
    let decoded = decode_response(&mut reader)
        .and_then(|decoded| reader.finish().map(|()| decoded))
        .map_err(CallError::from);
    let decoded = call.told(decoded)?;
    let (head, body, trailers) = decoded.map_err(HttpError::Handler)?;
    let stream = |pending, path| {
        let open = pending && !ended.contains(&path);
        open.then(|| call.reader(path, None).idle_limit(IDLE))
    };
    let body_stream = stream(body == Part::Pending, body_path());
    let trailer_stream = stream(trailers == Part::Pending, trailers_path());
    let body = IncomingBody::new(body, body_stream, trailers, trailer_stream).holding(pump);
    let mut response = http::Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}
