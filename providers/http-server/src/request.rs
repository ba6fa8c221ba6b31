//! One request, from its head to the head of its response.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use lattice_codec::http::join_cookies;
use lattice_provider_sdk::telemetry;
use lattice_rpc::http::{HttpError, IncomingBody};
use lattice_rpc::{CallError, Context, Invocation};
use tokio::time::Instant;

use crate::body::{ReplyBody, RequestBody};
use crate::complaints::Described;
use crate::connection::Line;
use crate::cors::{Cors, Mark};
use crate::failure::Failure;
use crate::host;
use crate::listener::Shared;
use crate::place::{PathParams, is_param};
use crate::route::{Found, Route};
use crate::upload::Upload;
use crate::websocket::{self, Answered, Offer};

/// Answers a request. It never fails: what goes wrong is an answer too.
pub(crate) async fn handle(
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let is_head = *request.method() == Method::HEAD;
    // With HTTP/1.1 hyper leaves out what must not be sent, with HTTP/2 it does not.
    let is_ours = request.version() == Version::HTTP_2;
    let response = respond(&line, request).await;
    let has_none = is_head || is_bodiless(response.status());
    Ok(match is_ours && has_none {
        true => head_alone(response),
        false => response,
    })
}

async fn respond(line: &Line, mut request: Request<Incoming>) -> Response<ReplyBody> {
    let route = match find(line, &request) {
        Ok(Found { route, params }) => {
            if route.has_path() {
                set_params(request.headers_mut(), params);
            }
            route
        }
        Err(failure) => {
            tracing::debug!(uri = %request.uri(), code = %failure.code, "refused a request");
            return failure.response();
        }
    };
    let mark = route.cors.mark(request.headers());
    let mut response = if Cors::is_preflight(request.method(), request.headers()) {
        return preflight(&route, mark);
    } else if let Some(response) = refusal(&route, &request) {
        response
    } else {
        let is_get = *request.method() == Method::GET;
        let mut response = pass_on(line, &route, request).await;
        if is_get && response.status().is_success() {
            add_caching(&route, &mut response);
        }
        response
    };
    route.cors.write(mark, response.headers_mut());
    response
}

/// Whether an answer with this status has no body, whatever was asked for.
fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// An answer without the body that must not follow its head: over HTTP/2 a client would break off.
fn head_alone(response: Response<ReplyBody>) -> Response<ReplyBody> {
    let (mut head, body) = response.into_parts();
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
    } else if !is_bodiless(head.status)
        && !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
    {
        let announced = head.headers.entry(CONTENT_LENGTH);
        announced.or_insert_with(|| HeaderValue::from(length));
    }
    Response::from_parts(head, ReplyBody::Own(None))
}

/// The link that a request belongs to. Two programs that take different hosts from one request would
/// not agree on that, so a request has to name one. What belongs to a link for HTTPS is not served without,
/// however the connection has come about.
fn find(line: &Line, request: &Request<Incoming>) -> Result<Found, Failure> {
    if !host::is_sound(request) {
        return Err(Failure::BAD_HOST);
    }
    let found = line.shared.route(request.uri(), request.headers())?;
    if found.route.identity().is_some() && line.scheme != Scheme::HTTPS {
        return Err(Failure::TLS_ONLY);
    }
    Ok(found)
}

/// Tells the component what stands in place of the parameters of its path, if that has any. What a
/// client says of parameters itself is not passed on, neither where the path has none: a component
/// cannot know by which of its paths it was found.
fn set_params(headers: &mut HeaderMap, params: Option<PathParams>) {
    let forged: Vec<_> = headers
        .keys()
        .filter(|name| is_param(name))
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
    headers.extend(params.into_iter().flatten());
}

fn preflight(route: &Route, mark: Mark) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Own(None));
    route.cors.write_preflight(mark, response.headers_mut());
    response
}

/// The answer to a request that the component does not get.
fn refusal(route: &Route, request: &Request<Incoming>) -> Option<Response<ReplyBody>> {
    let method = request.method();
    if *method == Method::CONNECT {
        return Some(Failure::NO_TUNNEL.response());
    }
    if route.read_only && !matches!(*method, Method::GET | Method::HEAD) {
        return Some(Failure::READ_ONLY.response());
    }
    if let Some(methods) = &route.methods
        && !lists(methods, method)
    {
        let mut response = Failure::METHOD.response();
        response.headers_mut().insert(ALLOW, methods.clone());
        return Some(response);
    }
    let size = request.body().size_hint().lower();
    (size > route.body.bytes).then(|| Failure::BODY_SIZE.response())
}

/// Whether a list has a method in it, or any.
fn lists(methods: &HeaderValue, method: &Method) -> bool {
    let mut listed = methods.as_bytes().split(|byte| *byte == b',');
    listed.any(|name| name == b"*" || name == method.as_str().as_bytes())
}

fn add_caching(route: &Route, response: &mut Response<ReplyBody>) {
    if let Some(value) = &route.cache_control {
        let headers = response.headers_mut();
        headers
            .entry(CACHE_CONTROL)
            .or_insert_with(|| value.clone());
    }
}

/// Calls the component. A client that goes away drops this, which cancels the call.
async fn pass_on(
    line: &Line,
    route: &Route,
    mut request: Request<Incoming>,
) -> Response<ReplyBody> {
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    let call = route.call(&request);
    let asks = route.websocket && websocket::is_asked_for(&request);
    let offer = asks.then(|| Offer::new(&mut request));
    let (mut parts, body) = request.into_parts();
    parts.uri = match full_address(&line.shared, line.scheme.clone(), &parts) {
        Some(uri) => uri,
        None => return Failure::BAD_ADDRESS.response(),
    };
    let described = Described::of(&parts);
    let is_head = parts.method == Method::HEAD;
    let (offer, body) = match offer {
        Some((offer, from_client)) => (Some(offer), RequestBody::Tunnel(from_client)),
        None => (None, RequestBody::take(body, &route.body).await),
    };
    let upload = body.upload();
    let request = Request::from_parts(parts, body);
    let answer = ask(line, route, call, request, upload.as_deref()).await;
    // Whatever the component has made of a body that was not sent to its end.
    if let Some(failure) = blame(upload.as_deref(), &answer) {
        described.tell_of_client(route, &failure);
        return failure.response();
    }
    match answer.and_then(|response| sound(response, is_head)) {
        Ok(response) => match offer {
            Some(offer) => taken(line, offer.answered(response)),
            None => from_component(response),
        },
        Err(error) => {
            let failure = Failure::of(&error, route.has_limit);
            route.complaints.tell(&described, route, &failure, &error);
            failure.response()
        }
    }
}

/// What the client is to blame for, if anything, as long as it has no answer.
fn blame<T>(upload: Option<&Upload>, answer: &Result<T, HttpError>) -> Option<Failure> {
    let known = upload.and_then(Upload::blame).cloned();
    let is_unsent = matches!(answer, Err(HttpError::RequestBody(_)));
    known.or_else(|| is_unsent.then_some(Failure::REQUEST_BODY))
}

/// Waits for the head of the answer. Where the link sets no limit, a body that still comes does not
/// use up the time of the component.
async fn ask(
    line: &Line,
    route: &Route,
    call: Invocation,
    request: Request<RequestBody>,
    upload: Option<&Upload>,
) -> Result<Response<IncomingBody>, HttpError> {
    let begun = Instant::now();
    let upload = upload.filter(|_| !route.has_limit);
    let call = match upload {
        Some(_) => call.until(begun + Context::OPEN_END),
        None => call,
    };
    let (call, _road) = telemetry::road_told(call);
    let peer = line.shared.peer();
    // Boxed, since few requests come to need it.
    let kept = upload.map(|_| Box::new(call.clone()));
    tokio::select! {
        biased;
        answer = peer.call_http(call, request) => return answer,
        () = stalls(upload, route) => {}
    }
    let error = CallError::Deadline {
        subject: route.subject().to_owned(),
        after: begun.elapsed(),
        sent: true,
    };
    // What the client is to blame for is no failure of the call.
    let is_ours = upload.is_some_and(|upload| upload.blame().is_none());
    if let Some(call) = kept.filter(|_| is_ours) {
        peer.gave_up(&call, &error);
    }
    Err(error.into())
}

async fn stalls(upload: Option<&Upload>, route: &Route) {
    match upload {
        // Boxed, since most requests have no such thing and would carry its room along.
        Some(upload) => Box::pin(upload.stalls(route.timeout, route.body.pause)).await,
        None => std::future::pending().await,
    }
}

/// What the client gets whose connection a component may have.
fn taken(line: &Line, answered: Answered) -> Response<ReplyBody> {
    match answered {
        Answered::Taken(head, tunnel) => {
            line.hand_over(tunnel);
            Response::from_parts(head, ReplyBody::Own(None))
        }
        Answered::Other(response) => from_component(response),
    }
}

/// Refuses an answer that is none yet, and one that does not announce its body as long as it is: what is
/// over, or what follows, a client would take for the next answer. Of a body that still comes HTTP/1.1
/// sends what was announced, and with HTTP/2 its client finds the difference.
fn sound(
    response: Response<IncomingBody>,
    is_head: bool,
) -> Result<Response<IncomingBody>, HttpError> {
    let status = response.status();
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        let why = format!("the answer has the status {status}, which another one follows");
        return Err(CallError::Protocol(why).into());
    }
    let mut announced = response.headers().get_all(CONTENT_LENGTH).iter();
    let Some(first) = announced.next() else {
        return Ok(response);
    };
    let length = number(first).filter(|_| announced.next().is_none());
    // Such an answer announces what another one would have.
    let has_none = is_head || status.is_informational() || is_bodiless(status);
    let known = response.body().size_hint().exact().filter(|_| !has_none);
    match length {
        Some(length) if known.is_none_or(|known| known == length) => Ok(response),
        _ => {
            let body = match known {
                Some(known) => format!("has {known} bytes"),
                None => "has one length".to_owned(),
            };
            let why = format!("the answer announces {first:?} where its body {body}");
            Err(CallError::Protocol(why).into())
        }
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

fn from_component(response: Response<IncomingBody>) -> Response<ReplyBody> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // There is no connection to hand over, so a client must not be told that there is.
        return Failure::NO_UPGRADE.response();
    }
    let mut response = response.map(ReplyBody::Component);
    // How the body is framed is between this server and its client.
    response.headers_mut().remove(TRANSFER_ENCODING);
    response
}

/// The address with scheme and authority, which a request line usually leaves out. The scheme is that of
/// the connection, whatever the client says.
fn full_address(shared: &Shared, scheme: Scheme, parts: &http::request::Parts) -> Option<Uri> {
    let authority = match (parts.uri.authority(), parts.headers.get(HOST)) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).ok()?,
        (None, None) => shared.authority().clone(),
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority);
    uri.path_and_query = Some(match parts.uri.path_and_query() {
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    });
    Uri::from_parts(uri).ok()
}
