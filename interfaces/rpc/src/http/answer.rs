//! Taking a request and answering it.

use std::fmt::Display;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use http_body::Body;
use lattice_codec::http::{
    ErrorCode, Part, RequestHead, RequestOptions, ResponseHead, decode_request, encode_error,
    encode_response,
};

use crate::direct::HttpAnswer;
use crate::error::{CallError, RemoteError};
use crate::http::body::{IncomingBody, OutgoingBody, SendError};
use crate::http::{body_path, trailers_path};
use crate::params::Params;
use crate::respond::{Responder, ResultStreams};

/// Reads the request of a call of `wrpc:http/incoming-handler`.
///
/// # Errors
///
/// [`CallError::Decode`] for bytes that are no request, [`CallError::Protocol`] for an address
/// that is none, [`CallError::NotSent`] when the request does not become complete in time.
pub async fn take_request(params: &mut Params) -> Result<http::Request<IncomingBody>, CallError> {
    if let Some(request) = given(params)? {
        return Ok(request);
    }
    let decoded = params.decode(decode_request).await?;
    assemble(params, decoded).await
}

/// Reads the request of a call of `wrpc:http/outgoing-handler`, and its options.
///
/// # Errors
///
/// As [`take_request`].
pub async fn take_outgoing_request(
    params: &mut Params,
) -> Result<(http::Request<IncomingBody>, RequestOptions), CallError> {
    if let Some(mut request) = given(params)? {
        let options = request.extensions_mut().remove::<RequestOptions>();
        return Ok((request, options.unwrap_or_default()));
    }
    let (decoded, options) = params
        .decode(|r| {
            let request = decode_request(r)?;
            let options = r.option(RequestOptions::decode)?;
            Ok((request, options))
        })
        .await?;
    let request = assemble(params, decoded).await?;
    Ok((request, options.unwrap_or_default()))
}

/// The request of a caller in this process, as it is.
fn given(params: &mut Params) -> Result<Option<http::Request<IncomingBody>>, CallError> {
    let Some(request) = params.take() else {
        return Ok(None);
    };
    let request = request.downcast::<http::Request<IncomingBody>>();
    let text = "a call of HTTP with something else than a request";
    let mismatch = |_| CallError::Protocol(text.to_owned());
    request.map(|request| Some(*request)).map_err(mismatch)
}

type Decoded = (RequestHead, Part<Bytes>, Part<Option<HeaderMap>>);

/// Puts a request together from what was decoded and the streams for what was not.
async fn assemble(
    params: &Params,
    (head, body, trailers): Decoded,
) -> Result<http::Request<IncomingBody>, CallError> {
    let mut body_stream = None;
    if body == Part::Pending && !params.has_ended(&body_path()) {
        body_stream = Some(params.reader(body_path(), None).await?);
    }
    let mut trailer_stream = None;
    if trailers == Part::Pending && !params.has_ended(&trailers_path()) {
        trailer_stream = Some(params.reader(trailers_path(), None).await?);
    }
    let body = IncomingBody::new(body, body_stream, trailers, trailer_stream);
    let mut request = http::Request::new(body);
    *request.uri_mut() = uri(&head)?;
    *request.method_mut() = head.method;
    *request.headers_mut() = head.headers;
    Ok(request)
}

fn uri(head: &RequestHead) -> Result<Uri, CallError> {
    let bad = |e: &dyn Display| CallError::Protocol(format!("the request's address: {e}"));
    let mut parts = http::uri::Parts::default();
    let path = head.path_with_query.as_deref().unwrap_or("/");
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|e| bad(&e))?);
    if let Some(authority) = &head.authority {
        parts.authority = Some(authority.parse().map_err(|e| bad(&e))?);
        let scheme = head.scheme.as_deref().unwrap_or("http");
        parts.scheme = Some(scheme.parse().map_err(|e| bad(&e))?);
    }
    Uri::from_parts(parts).map_err(|e| bad(&e))
}

/// Answers a call of `wrpc:http/incoming-handler`, and sends the body to its end.
///
/// A small body that is complete goes with the answer, if the caller [takes](Responder::takes_items) it there. When a streaming body fails, a caller of
/// our kind is told; a 1.9 caller sees the body end. A caller in this process gets the response as
/// it is, and reads a body that streams by itself.
///
/// # Errors
///
/// [`CallError::Send`] when NATS does not take a message, [`CallError::Cancelled`] when the
/// caller gave up while the body was sent.
pub async fn answer<B>(
    responder: Responder,
    response: Result<http::Response<B>, ErrorCode>,
) -> Result<(), CallError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    let mut out = BytesMut::new();
    let (parts, body) = match response {
        Ok(response) => response.into_parts(),
        Err(code) if responder.is_direct() => {
            responder.give(Box::new(HttpAnswer::Err(code)));
            return Ok(());
        }
        Err(code) => {
            encode_error(&mut out, &code);
            return responder.reply(out.freeze()).await;
        }
    };
    let mut body = match OutgoingBody::take(body).await {
        Ok(body) => body,
        Err(why) => {
            return responder
                .fail(RemoteError::new(RemoteError::FAILED, why))
                .await;
        }
    };
    if responder.is_direct() {
        let broken = |why| CallError::Remote(RemoteError::new(RemoteError::FAILED, why));
        let response = http::Response::from_parts(parts, body.hand_over(broken));
        responder.give(Box::new(HttpAnswer::Ok(response)));
        return Ok(());
    }
    let head = ResponseHead {
        status: parts.status,
        headers: parts.headers,
    };
    if !responder.takes_items() {
        body.follow();
    }
    encode_response(&mut out, &head, &body.body_part(), &body.trailer_part());
    let empty = body.whole && body.data.is_empty();
    let ended: &[_] = if empty { &[body_path()] } else { &[] };
    let streams = responder
        .reply_streaming(out.freeze(), ended, !body.whole)
        .await?;
    if body.whole {
        Ok(())
    } else {
        Box::pin(send_body(streams, body)).await
    }
}

async fn send_body<B>(streams: ResultStreams, body: OutgoingBody<B>) -> Result<(), CallError>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Display,
{
    let data = streams.writer(body_path()).await?;
    let trailers = streams.writer(trailers_path()).await?;
    match body.send(data, trailers).await {
        Ok(()) => Ok(()),
        Err(SendError::Call(error)) => Err(error),
        Err(SendError::Source(why)) => {
            streams
                .abort(RemoteError::new(RemoteError::FAILED, why))
                .await
        }
    }
}
