//! A provider in this process, a stand-in for its host, and components made of closures.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code, of which each file uses its own part"
)]

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use http_server::HttpServer;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::{ProviderSubjects, RpcPrefix};
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{RunError, run};
use lattice_rpc::http::{HANDLE, INCOMING_HANDLER, IncomingBody, answer, take_request};
use lattice_rpc::{
    Context, IncomingCall, Limiter, Peer, PeerConfig, RemoteError, ServeHandle, ServeOptions,
};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const PROVIDER: &str = "http";
const HOST_ID: &str = "NHOST";

/// A provider and the lattice around it.
pub(crate) struct Lattice {
    pub(crate) nats_box: NatsBox,
    pub(crate) nats: Client,
    pub(crate) peer: Peer,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), RunError>>,
    subjects: ProviderSubjects,
    reports: Subscriber,
}

fn map(values: &[(&str, &str)]) -> StringMap {
    let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    values.iter().map(pair).collect()
}

/// A link of the provider to a component.
pub(crate) fn link(target: &str, values: &[(&str, &str)]) -> ResolvedLink {
    ResolvedLink {
        source_id: PROVIDER.into(),
        target: target.into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "http".into(),
        interfaces: vec!["incoming-handler".into()],
        source_config: map(values),
        target_config: StringMap::new(),
        source_secrets: None,
        target_secrets: None,
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        ruled: false,
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

impl Lattice {
    pub(crate) async fn start(config: &[(&str, &str)]) -> Self {
        Self::start_with(config, None).await
    }

    /// One whose host has another time for calls without a deadline.
    pub(crate) async fn start_with(config: &[(&str, &str)], call_timeout: Option<u64>) -> Self {
        let nats_box = NatsBox::start().await.unwrap();
        let nats = nats_box.client().await.unwrap();
        // A busy machine must not make a call look slow, which costs it a message.
        let patient = PeerConfig {
            accept_after: Duration::from_millis(500),
            ..PeerConfig::default()
        };
        let peer = Peer::new(nats.clone(), patient).await.unwrap();
        let id = ComponentId::new(PROVIDER).unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &id);
        let reports = nats.subscribe(subjects.link_status()).await.unwrap();
        lattice_nats_box::taken_in(&nats).await.unwrap();
        let data = HostData {
            host_id: HOST_ID.into(),
            lattice_rpc_prefix: "default".into(),
            lattice_rpc_url: nats_box.url.clone().into(),
            provider_key: PROVIDER.into(),
            config: map(config),
            lattice_call_timeout_ms: call_timeout,
            ..HostData::default()
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run::<HttpServer>(data, stop.clone()));
        let lattice = Self {
            nats_box,
            nats,
            peer,
            stop,
            running,
            subjects,
            reports,
        };
        lattice.until_healthy().await;
        lattice
    }

    async fn until_healthy(&self) {
        let ask = async {
            let ask = || self.nats.request(self.subjects.health(), "".into());
            while ask().await.is_err() {}
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap();
    }

    pub(crate) async fn put(&self, link: &ResolvedLink) {
        self.send(self.subjects.link_put(), link).await;
    }

    pub(crate) async fn delete(&self, link: &ResolvedLink) {
        self.send(self.subjects.link_delete(), link).await;
    }

    pub(crate) async fn put_config(&self, config: &[(&str, &str)]) {
        self.send(self.subjects.config_update(), &map(config)).await;
    }

    async fn send<T: serde::Serialize>(&self, subject: String, message: &T) {
        let payload = serde_json::to_vec(message).unwrap();
        self.nats.publish(subject, payload.into()).await.unwrap();
    }

    /// Puts a link and waits until it is ready.
    pub(crate) async fn put_ready(&mut self, link: &ResolvedLink) {
        self.put(link).await;
        let report = self.report().await;
        assert_eq!(report.state, LinkState::Ready, "{report:?}");
    }

    pub(crate) async fn report(&mut self) -> LinkReport {
        let report = tokio::time::timeout(PATIENCE, self.reports.next()).await;
        serde_json::from_slice(&report.unwrap().unwrap().payload).unwrap()
    }

    /// A component, as a function from requests to responses.
    pub(crate) async fn component<H, F>(&self, id: &str, handler: H) -> ServeHandle
    where
        H: Fn(Context, Request<IncomingBody>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        self.serve(id, 1000, move |call| {
            let handler = handler.clone();
            async move {
                let IncomingCall {
                    context,
                    mut params,
                    responder,
                    ..
                } = call;
                let request = take_request(&mut params).await.unwrap();
                let response = handler(context, request).await;
                // The caller may be gone by now.
                let _ = answer(responder, Ok(response)).await;
            }
        })
        .await
    }

    /// A component that says its name.
    pub(crate) async fn named(&self, id: &'static str) -> ServeHandle {
        self.component(id, move |_, _| async move { text(id) })
            .await
    }

    /// A component that fails in its own way.
    pub(crate) async fn failing(&self, id: &str, code: &'static str) -> ServeHandle {
        self.serve(id, 1000, move |call| async move {
            let error = RemoteError::new(code, "on purpose");
            call.responder.fail(error).await.unwrap();
        })
        .await
    }

    /// A component that answers calls by hand, `size` at once and none waiting.
    pub(crate) async fn serve<H, F>(&self, id: &str, size: usize, handler: H) -> ServeHandle
    where
        H: Fn(IncomingCall) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let id = ComponentId::new(id).unwrap();
        let prefix = RpcPrefix::new(&LatticeName::default(), &id);
        let options = ServeOptions {
            limiter: std::sync::Arc::new(Limiter::new(size, 0, Duration::ZERO)),
            default_deadline: PATIENCE,
            longest_deadline: PATIENCE,
            relief: lattice_rpc::Relief::default(),
            takes: None,
        };
        let subject = prefix.invocation(INCOMING_HANDLER, HANDLE);
        let queue = prefix.queue_group();
        let handle = self.peer.serve(&subject, queue, options, handler).await;
        self.peer.confirm(PATIENCE).await.unwrap();
        handle.unwrap()
    }
}

pub(crate) fn text(text: &str) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())))
}

/// One connection to the provider.
pub(crate) struct Browser {
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Browser {
    pub(crate) async fn connect(address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, connection }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request);
        tokio::time::timeout(PATIENCE, response)
            .await
            .unwrap()
            .unwrap()
    }

    /// Sends a request and does not wait.
    pub(crate) fn begin(&mut self, request: Request<Full<Bytes>>) {
        let response = self.sender.send_request(request);
        tokio::spawn(async move {
            let _ = response.await;
        });
    }

    /// Goes away.
    pub(crate) async fn leave(self) {
        self.connection.abort();
        let _ = self.connection.await;
    }

    /// Waits until the server has ended the connection.
    pub(crate) async fn until_ended(self) {
        let ended = tokio::time::timeout(PATIENCE, self.connection).await;
        ended.expect("the connection ends").unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.send(get(path)).await
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, "")
}

pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "test.example:8000")
        .body(Full::new(body.into()))
        .unwrap()
}

/// One request on a connection of its own: the response and its body.
pub(crate) async fn fetch(address: &str, request: Request<Full<Bytes>>) -> (Response<()>, Bytes) {
    let mut browser = Browser::connect(address).await;
    whole(browser.send(request).await).await
}

pub(crate) async fn whole(response: Response<Incoming>) -> (Response<()>, Bytes) {
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await;
    let body = body.unwrap().unwrap().to_bytes();
    (Response::from_parts(parts, ()), body)
}

/// The body as text, which is what most tests look at.
pub(crate) async fn body_at(address: &str, path: &str) -> String {
    let (_, body) = fetch(address, get(path)).await;
    String::from_utf8(body.to_vec()).unwrap()
}

pub(crate) type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A connection of HTTP/2, and whether it ends well.
pub(crate) async fn http2(address: &str) -> (Http2, JoinHandle<bool>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    let ended = tokio::spawn(async move { connection.await.is_ok() });
    (sender, ended)
}

pub(crate) fn over_http2(address: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://{address}/"))
        .body(Full::default())
        .unwrap()
}

/// Waits until nobody listens at an address.
pub(crate) async fn until_closed(address: &str) {
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed)
        .await
        .expect("the address is closed");
}
