//! Stand-ins for the host in unit tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use indexmap::IndexMap;
use lattice_codec::Path;
use lattice_codec::http::{ErrorCode, RequestOptions};

use crate::limits::Meter;
use crate::outbound::Outbound;
use crate::ticker::Ticker;
use crate::{
    ByteStream, CallContext, HostEnv, HttpBody, ImportTarget, Invoke, InvokeError, LogRecord,
    SecretError, SecretText, StreamingReply,
};

/// An environment that remembers what was logged.
#[derive(Default)]
pub(crate) struct FakeEnv {
    config: Arc<IndexMap<String, String>>,
    logged: Mutex<Vec<String>>,
}

impl FakeEnv {
    /// One whose component has this config.
    pub(crate) fn with(config: &[(&str, &str)]) -> Self {
        let pair = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
        Self {
            config: Arc::new(config.iter().map(pair).collect()),
            ..Self::default()
        }
    }

    pub(crate) fn logged(&self) -> Vec<String> {
        self.logged.lock().unwrap().clone()
    }
}

impl HostEnv for FakeEnv {
    fn component_id(&self) -> &str {
        "test"
    }

    fn config(&self) -> Arc<IndexMap<String, String>> {
        Arc::clone(&self.config)
    }

    fn secret(&self, _: &str) -> Result<SecretText, SecretError> {
        Err(SecretError::NotFound)
    }

    fn has_link(&self, _: &str, _: &str) -> bool {
        false
    }

    fn link_version(&self, _: &str, _: &str) -> Option<u64> {
        None
    }

    fn log(&self, record: LogRecord<'_>) {
        self.logged.lock().unwrap().push(record.message.to_owned());
    }
}

/// Knows no function; an HTTP request is answered with what it was, one to `/never` not at all.
pub(crate) struct EchoHttp;

#[async_trait]
impl Invoke for EchoHttp {
    async fn call(
        &self,
        _: &CallContext,
        target: ImportTarget<'_>,
        _: Bytes,
    ) -> Result<Bytes, InvokeError> {
        let (target, function) = (target.lookup.to_owned(), target.function.to_owned());
        Err(InvokeError::NotServed { target, function })
    }

    async fn call_streaming(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
        _: Vec<(Path, ByteStream)>,
        _: &[Path],
    ) -> Result<StreamingReply, InvokeError> {
        let results = self.call(cx, target, params).await?;
        Ok(StreamingReply {
            results,
            streams: Vec::new(),
        })
    }

    async fn send_http(
        &self,
        _: &CallContext,
        link_name: &str,
        request: http::Request<HttpBody>,
        options: RequestOptions,
    ) -> Result<http::Response<HttpBody>, ErrorCode> {
        if request.uri().path() == "/never" {
            std::future::pending::<()>().await;
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let timeout = options.first_byte_timeout;
        let text = format!(
            "{} {} over {link_name} {timeout:?} {body:?}",
            head.method, head.uri
        );
        let body = http_body_util::Full::from(text).map_err(|never| match never {});
        Ok(http::Response::new(body.boxed_unsync()))
    }
}

/// Serves nothing, and remembers in which forms it was asked, and which of them were further ones.
#[derive(Default)]
pub(crate) struct Unserved {
    asked: Mutex<Vec<(String, bool)>>,
}

impl Unserved {
    /// One, and the way out to it.
    pub(crate) fn reached() -> (Arc<Self>, Outbound) {
        let this = Arc::new(Self::default());
        let cx = CallContext::within(Duration::from_secs(60));
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_millis(5)).unwrap();
        let meter = Arc::new(Meter::new(ticker.enter(), None));
        let outbound = Outbound::new(Arc::<Self>::clone(&this), cx, &meter);
        (this, outbound)
    }

    pub(crate) fn asked(&self) -> Vec<(String, bool)> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Invoke for Unserved {
    async fn call(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
    ) -> Result<Bytes, InvokeError> {
        let asked = (target.instance.to_owned(), target.again);
        self.asked.lock().unwrap().push(asked);
        EchoHttp.call(cx, target, params).await
    }

    async fn call_streaming(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
        _: Vec<(Path, ByteStream)>,
        _: &[Path],
    ) -> Result<StreamingReply, InvokeError> {
        let results = self.call(cx, target, params).await?;
        Ok(StreamingReply {
            results,
            streams: Vec::new(),
        })
    }

    async fn send_http(
        &self,
        cx: &CallContext,
        link_name: &str,
        request: http::Request<HttpBody>,
        options: RequestOptions,
    ) -> Result<http::Response<HttpBody>, ErrorCode> {
        EchoHttp.send_http(cx, link_name, request, options).await
    }
}
