//! Requests that come in from clients, which are the driver's.

mod failures;
mod limits;
mod outage;
mod places;
mod traffic;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use lattice_integration::free_port;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::kit::Link;
use super::web::STEP;
use super::{Driven, cases};
use crate::ground::{COMPONENT, Ground, PROVIDER};

pub(crate) const CASES: &[Driven] = cases![
    even_slow {
        "method, address, headers and status arrive as they were" => traffic::heads,
        "HTTP/2 is spoken without TLS, many requests at once" => traffic::http2,
        "a body streams both ways at once, and trailers follow it" => traffic::streams,
        "a large body arrives whole both ways" => traffic::large,
        "TLS is spoken in both versions, and a renewed certificate shown" => places::tls,
        "paths, templates and hosts tell components apart" => places::routes,
        "a head that is too large or too slow is refused by name" => limits::head_limits,
        "a body that is too large or too slow is refused by name" => limits::body_limits,
        "methods are let through that the link names" => limits::methods,
        "a component that takes too long is told by name" => limits::too_long,
        "an answer that has begun goes on past the component's time" => limits::slow_answer,
        "events that come seldom outlast every time limit" => traffic::events,
        "a WebSocket goes both ways, past the component's time" => traffic::websocket,
        "each failure of a component has its status and code" => failures::failures,
        "a body that breaks off is never taken for a whole one" => failures::broken_bodies,
        "a client that leaves ends nothing but its own request" => failures::leaving,
    }
    plain {
        "a link that is deleted gives its address back" => places::deletion,
        "a component that runs nowhere is told by name, until it runs" => places::nowhere,
    }
    killing {
        "a server that is killed answers again at its address" => outage::again,
        "an answer that ends with its server is never taken for a whole one" => outage::cut,
        "links that change while the server is away hold when it is back" => outage::changed,
    }
];

/// Has the provider listen for a component at a link of a case's own; gives where clients ask.
async fn serve(ground: &Ground, name: &str, component: &str, config: Value) -> Result<String> {
    let address = listen(ground, name, component, config).await?;
    road_to(ground, &address).await
}

/// The same for who gets at the provider's address itself.
async fn listen(ground: &Ground, name: &str, component: &str, config: Value) -> Result<String> {
    let address = format!("127.0.0.1:{}", free_port()?);
    serve_at(ground, &address, name, component, config).await?;
    ground.lattice.until_listening(&address).await?;
    Ok(address)
}

async fn serve_at(
    ground: &Ground,
    address: &str,
    name: &str,
    component: &str,
    mut config: Value,
) -> Result<()> {
    config["address"] = address.into();
    let stored = format!("in-{name}");
    ground.lattice.config(&stored, config).await?;
    let link = Link {
        source: PROVIDER,
        target: component,
        name,
        interface: "wasi:http/incoming-handler",
        source_config: &[&stored],
        target_config: &[],
    };
    ground.connect(link).await
}

/// The same for the component of the suite.
async fn probe(ground: &Ground, name: &str, config: Value) -> Result<String> {
    serve(ground, name, COMPONENT, config).await
}

/// Where clients of an address ask: at the beginning of a slow road to it, in a slow run.
async fn road_to(ground: &Ground, address: &str) -> Result<String> {
    let address: SocketAddr = address.parse()?;
    let port = ground.slow_road(address.port()).await?;
    Ok(SocketAddr::new(address.ip(), port).to_string())
}

/// Sends bytes as they are and reads to the end of the connection.
async fn raw(address: &str, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    let read = timeout(STEP, stream.read_to_end(&mut answer)).await;
    // A server that refuses what it does not read may end the connection the hard way.
    drop(read.context("the connection stays open")?);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
