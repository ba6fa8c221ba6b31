//! One request, from its head to the head of its response.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use lattice_rpc::http::IncomingBody;

use crate::body::{ReplyBody, RequestBody};
use crate::complaints::Described;
use crate::cors::{Cors, Mark};
use crate::failure::Failure;
use crate::listener::Shared;
use crate::route::Route;

/// Answers a request. It never fails: what goes wrong is an answer too.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    scheme: Scheme,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Infallible> {
    let route = match shared.route(request.uri(), request.headers()) {
        Ok(route) => route,
        Err(failure) => {
            tracing::debug!(uri = %request.uri(), code = %failure.code, "refused a request");
            return Ok(failure.response());
        }
    };
    let mark = route.cors.mark(request.headers());
    let mut response = if Cors::is_preflight(request.method(), request.headers()) {
        return Ok(preflight(&route, mark));
    } else if let Some(failure) = refusal(&route, request.method()) {
        failure.response()
    } else {
        let is_get = *request.method() == Method::GET;
        let mut response = pass_on(&shared, &route, scheme, request).await;
        if is_get && response.status().is_success() {
            add_caching(&route, &mut response);
        }
        response
    };
    route.cors.write(mark, response.headers_mut());
    Ok(response)
}

fn preflight(route: &Route, mark: Mark) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Own(None));
    route.cors.write_preflight(mark, response.headers_mut());
    response
}

fn refusal(route: &Route, method: &Method) -> Option<Failure> {
    if *method == Method::CONNECT {
        return Some(Failure::NO_TUNNEL);
    }
    let allowed = !route.read_only || matches!(*method, Method::GET | Method::HEAD);
    (!allowed).then_some(Failure::READ_ONLY)
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
    shared: &Shared,
    route: &Route,
    scheme: Scheme,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let call = route.call(&request);
    let (mut parts, body) = request.into_parts();
    parts.uri = match full_address(shared, scheme, &parts) {
        Some(uri) => uri,
        None => return Failure::BAD_ADDRESS.response(),
    };
    let described = Described {
        method: parts.method.clone(),
        path: parts.uri.path_and_query().cloned(),
    };
    let body = RequestBody::take(body).await;
    let request = Request::from_parts(parts, body);
    match shared.peer().call_http(call, request).await {
        Ok(response) => from_component(response),
        Err(error) => {
            let failure = Failure::of(&error, route.has_limit);
            route.complaints.tell(&described, route, &failure, &error);
            failure.response()
        }
    }
}

fn from_component(response: Response<IncomingBody>) -> Response<ReplyBody> {
    let mut response = response.map(ReplyBody::Component);
    // How the body is framed is between this server and its client.
    response.headers_mut().remove(TRANSFER_ENCODING);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // There is no connection to hand over, so a client must not be told that there is.
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    response
}

/// The address with scheme and authority, which a request line usually leaves out.
fn full_address(shared: &Shared, scheme: Scheme, parts: &http::request::Parts) -> Option<Uri> {
    if parts.uri.authority().is_some() && parts.uri.scheme().is_some() {
        return Some(parts.uri.clone());
    }
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
