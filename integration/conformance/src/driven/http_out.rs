//! Requests that a component sends, to servers that are the driver's.

mod connections;
mod failures;
mod limits;
mod outage;
mod traffic;

use anyhow::{Result, ensure};
use http::{Request, Response};
use lattice_integration::{HANDLE, subject};
use lattice_rpc::http::IncomingBody;
use lattice_rpc::{Invocation, Peer};
use serde_json::Value;
use tokio::time::Instant;

use super::kit::Link;
use super::web::{Answer, Out, STEP, asking};
use super::{Driven, cases};
use crate::ground::{Ground, PROVIDER};

pub(crate) const CASES: &[Driven] = cases![
    even_slow {
        "method, path, headers and status arrive as they were" => traffic::heads,
        "a body streams both ways at once, and trailers follow it" => traffic::streams,
        "a large body arrives whole both ways" => traffic::large,
        "connections are used again, and shared" => connections::pool,
        "HTTP/2 is spoken where the link or the server says so" => connections::http2,
        "authorities are believed that the link names, and no others" => connections::authorities,
        "a client certificate is shown to who wants one" => connections::client_certificate,
        "requests take the proxy of their kind" => connections::proxies,
        "each time limit of the component has its error" => failures::times,
        "time limits of the link hold where they are shorter" => failures::link_times,
        "requests are sent again as the link says, and no others" => failures::retries,
        "a server that is not there, resets or stalls is told by name" => failures::broken,
        "a server that is killed in mid-body breaks the body off" => failures::killed,
        "limits of heads and bodies are told by name" => limits::limits,
    }
    plain {
        "only what the link allows is sent" => limits::allowed,
        "links with the same provider do not mix" => limits::separate,
    }
    killing {
        "a server that is away is told by name, and asked again when it is back" => outage::away,
        "the same by HTTP/2" => outage::away_2,
        "connections that died while nobody used them fail no request" => outage::idle,
        "a link that sends again has requests outlast an outage" => outage::outlasted,
    }
];

/// A component of a case's own with a link that says this. Its id is that of the case.
async fn sender(ground: &Ground, id: &str, config: Value) -> Result<String> {
    let id = format!("out-{id}");
    ground.run_with(&id, "http-probe", &[]).await?;
    ground.lattice.config(&id, config).await?;
    let link = Link {
        source: &id,
        target: PROVIDER,
        name: "default",
        interface: "wasi:http/outgoing-handler",
        source_config: &[],
        target_config: &[&id],
    };
    ground.connect(link).await?;
    Ok(id)
}

/// Has a component send a request on to an address.
async fn pass_on(
    ground: &Ground,
    id: &str,
    url: &str,
    request: Request<Out>,
) -> Result<Response<IncomingBody>> {
    call(ground, id, &format!("/fetch?{url}"), request).await
}

async fn call(
    ground: &Ground,
    id: &str,
    path: &str,
    request: Request<Out>,
) -> Result<Response<IncomingBody>> {
    call_by(&ground.peer, id, path, request).await
}

async fn call_by(
    peer: &Peer,
    id: &str,
    path: &str,
    mut request: Request<Out>,
) -> Result<Response<IncomingBody>> {
    *request.uri_mut() = format!("http://a.example{path}").parse()?;
    let until = Instant::now() + STEP;
    let call = Invocation::new(subject(id, HANDLE), until).source("driver");
    Ok(peer.call_http(call, request).await?)
}

/// The same, and all of the answer.
async fn fetch(
    ground: &Ground,
    id: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    let method = if body.is_empty() { "GET" } else { "PUT" };
    let request = asking(method, "/", headers, body.to_owned());
    Answer::of(pass_on(ground, id, url, request).await?).await
}

/// Expects the component to be told of an error, by its code in `wasi:http`.
async fn refused(
    ground: &Ground,
    id: &str,
    url: &str,
    headers: &[(&str, &str)],
    code: &str,
) -> Result<()> {
    let answer = fetch(ground, id, url, headers, "").await?;
    let text = answer.text();
    ensure!(
        answer.status == 502 && text.contains(code),
        "{url}: {} {text}, wanted {code}",
        answer.status
    );
    Ok(())
}
