//! A provider in this process, a stand-in for its host, a caller, and servers to be called.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code, of which each file uses its own part"
)]

pub(crate) mod server;
pub(crate) mod tls;

use std::time::Duration;

use async_nats::{Client, Subscriber};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use http_client::HttpClient;
use lattice_codec::http::{
    ErrorCode, Part, RequestHead, RequestOptions, decode_response, encode_request,
};
use lattice_codec::{Path, Reader, write};
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::{ProviderSubjects, RpcPrefix};
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::run_inside;
use lattice_rpc::http::{HANDLE, HttpError, IncomingBody, OUTGOING_HANDLER};
use lattice_rpc::{Invocation, Peer, PeerConfig, Switchboard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const PROVIDER: &str = "client";
const GUEST: &str = "guest";

/// By which road calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    Nats,
    Process,
}

/// A provider and the lattice around it.
pub(crate) struct Lattice {
    nats_box: NatsBox,
    nats: Client,
    peer: Peer,
    subjects: ProviderSubjects,
    reports: Subscriber,
    running: AbortOnDropHandle<()>,
}

fn map(values: &[(&str, &str)]) -> StringMap {
    let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    values.iter().map(pair).collect()
}

/// The link of the guest to the provider.
pub(crate) fn link(values: &[(&str, &str)]) -> ResolvedLink {
    ResolvedLink {
        source_id: GUEST.into(),
        target: PROVIDER.into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "http".into(),
        interfaces: vec!["outgoing-handler".into()],
        source_config: StringMap::new(),
        target_config: map(values),
        source_secrets: None,
        target_secrets: None,
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        ruled: false,
    }
}

impl Lattice {
    /// A lattice with a link that is ready.
    pub(crate) async fn linked(values: &[(&str, &str)]) -> Self {
        Self::linked_by(Road::Nats, values).await
    }

    pub(crate) async fn linked_by(road: Road, values: &[(&str, &str)]) -> Self {
        let mut lattice = Self::start(road).await;
        lattice.put_ready(values).await;
        lattice
    }

    /// A strict lattice, with a link for which no calls have been made yet.
    pub(crate) async fn strict(values: &[(&str, &str)]) -> Self {
        let data = HostData {
            lattice_strict: true,
            ..HostData::default()
        };
        let mut lattice = Self::start_with(Road::Nats, data).await;
        lattice.put_ready(values).await;
        lattice
    }

    pub(crate) async fn start(road: Road) -> Self {
        Self::start_with(road, HostData::default()).await
    }

    async fn start_with(road: Road, data: HostData) -> Self {
        let nats_box = NatsBox::start().await.unwrap();
        let nats = nats_box.client().await.unwrap();
        let board = Switchboard::default();
        let config = PeerConfig {
            local: (road == Road::Process).then(|| board.clone()),
            ..PeerConfig::default()
        };
        let peer = Peer::new(nats.clone(), config).await.unwrap();
        let id = ComponentId::new(PROVIDER).unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &id);
        let reports = nats.subscribe(subjects.link_status()).await.unwrap();
        lattice_nats_box::taken_in(&nats).await.unwrap();
        let data = HostData {
            lattice_rpc_prefix: "default".into(),
            lattice_rpc_url: nats_box.url.clone().into(),
            provider_key: PROVIDER.into(),
            ..data
        };
        let own = nats_box.client().await.unwrap();
        let running = tokio::spawn(async move {
            let stop = CancellationToken::new();
            run_inside::<HttpClient>(own, None, board, data, stop)
                .await
                .unwrap();
        });
        let lattice = Self {
            nats_box,
            nats,
            peer,
            subjects,
            reports,
            running: AbortOnDropHandle::new(running),
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

    pub(crate) async fn put(&mut self, values: &[(&str, &str)]) -> LinkReport {
        self.put_link(&link(values)).await
    }

    pub(crate) async fn put_link(&mut self, link: &ResolvedLink) -> LinkReport {
        let payload = serde_json::to_vec(link).unwrap();
        let subject = self.subjects.link_put();
        self.nats.publish(subject, payload.into()).await.unwrap();
        self.report().await
    }

    pub(crate) async fn put_ready(&mut self, values: &[(&str, &str)]) {
        let report = self.put(values).await;
        assert_eq!(report.state, LinkState::Ready, "{report:?}");
    }

    /// Adds the same link of another guest.
    pub(crate) async fn put_ready_for(&mut self, guest: &str, values: &[(&str, &str)]) {
        let link = ResolvedLink {
            source_id: guest.into(),
            ..link(values)
        };
        let report = self.put_link(&link).await;
        assert_eq!(report.state, LinkState::Ready, "{report:?}");
    }

    pub(crate) async fn report(&mut self) -> LinkReport {
        let report = tokio::time::timeout(PATIENCE, self.reports.next()).await;
        serde_json::from_slice(&report.unwrap().unwrap().payload).unwrap()
    }

    fn call(&self, guest: &str, limit: Duration) -> Invocation {
        let id = ComponentId::new(PROVIDER).unwrap();
        let prefix = RpcPrefix::new(&LatticeName::default(), &id);
        let subject = prefix.invocation(OUTGOING_HANDLER, HANDLE);
        Invocation::new(subject, Instant::now() + limit)
            .source(guest)
            .target(PROVIDER)
            .link_name("default")
    }

    /// Sends a request as a guest does.
    pub(crate) async fn send<B>(
        &self,
        request: Request<B>,
        options: RequestOptions,
    ) -> Result<Response<IncomingBody>, ErrorCode>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        self.send_from(GUEST, request, options).await
    }

    /// Sends a request as this guest does.
    pub(crate) async fn send_from<B>(
        &self,
        guest: &str,
        request: Request<B>,
        options: RequestOptions,
    ) -> Result<Response<IncomingBody>, ErrorCode>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let call = self.call(guest, PATIENCE);
        match self.peer.call_http_out(call, request, Some(options)).await {
            Ok(response) => Ok(response),
            Err(HttpError::Handler(code)) => Err(code),
            Err(other) => Err(ErrorCode::InternalError(Some(format!("the call: {other}")))),
        }
    }

    /// Sends a request with a body that nobody can read.
    pub(crate) async fn send_garbled(&self, head: &RequestHead) -> Result<(), ErrorCode> {
        let mut params = BytesMut::new();
        encode_request(&mut params, head, &Part::Pending, &Part::Pending);
        let options = Some(RequestOptions::default());
        write::option(&mut params, options, |out, options| options.encode(out));
        let call = self.call(GUEST, PATIENCE);
        let mut call = self.peer.start(call, params.freeze(), &[]).await.unwrap();
        let mut body = call.writer(Path::new([0, 0]));
        // How long its first piece is, which is longer than any.
        let count = Bytes::from_static(&[0xff; 6]);
        let (sent, answer) = tokio::join!(body.write(count), call.result());
        sent.unwrap();
        let mut answer = Reader::new(answer.unwrap().bytes);
        decode_response(&mut answer).unwrap().map(drop)
    }

    /// Sends a request and reads all of the response.
    pub(crate) async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<()>, Bytes), ErrorCode> {
        let response = self.send(request, RequestOptions::default()).await?;
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await;
        let body = body.unwrap().unwrap().to_bytes();
        Ok((Response::from_parts(head, ()), body))
    }

    /// The text at an address.
    pub(crate) async fn text(&self, uri: &str) -> Result<String, ErrorCode> {
        let (_, body) = self.fetch(get(uri)).await?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }
}

pub(crate) fn get(uri: &str) -> Request<Full<Bytes>> {
    request("GET", uri, "")
}

pub(crate) fn request(method: &str, uri: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let builder = Request::builder().method(method).uri(uri);
    builder.body(Full::new(body.into())).unwrap()
}

/// Time limits in milliseconds: to connect, to the first byte, between bytes.
pub(crate) fn limits(connect: u64, first_byte: u64, between_bytes: u64) -> RequestOptions {
    let nanos = |millis: u64| Some(millis * 1_000_000);
    RequestOptions {
        connect_timeout: nanos(connect),
        first_byte_timeout: nanos(first_byte),
        between_bytes_timeout: nanos(between_bytes),
    }
}
