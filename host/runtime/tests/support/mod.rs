//! A host for tests: it records what components do and answers as a test wants.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use indexmap::IndexMap;
use lattice_codec::http::{ErrorCode, RequestOptions};
use lattice_codec::{Path as StreamPath, Reader, write};
use lattice_runtime::{
    ByteStream, CallContext, CallError, Component, ComponentOptions, Export, HostEnv, HttpBody,
    ImportTarget, Invoke, InvokeError, LogRecord, LogSource, Runtime, RuntimeConfig, SecretError,
    SecretText, StreamingReply,
};

/// Time that no test needs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// One runtime for all tests of a file: its address space is reserved once.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let config = RuntimeConfig {
            max_instances: 64,
            max_memory_bytes: 64 << 20,
            max_compilations: 2,
            ..RuntimeConfig::default()
        };
        Runtime::new(config).expect("the runtime starts")
    })
}

/// The bytes of a component that `cargo xtask guests` builds.
pub(crate) fn guest(name: &str) -> Bytes {
    let components = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components");
    let path = components.join(name).with_extension("wasm");
    match std::fs::read(&path) {
        Ok(wasm) => wasm.into(),
        Err(error) => panic!("{}: {error}; run `cargo xtask guests`", path.display()),
    }
}

/// A component written as text.
pub(crate) fn wat(text: &str) -> Bytes {
    wat::parse_str(text)
        .expect("the text is WebAssembly")
        .into()
}

/// A call that a component made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) lookup: String,
    pub(crate) link_name: String,
    pub(crate) instance: String,
    pub(crate) function: String,
    pub(crate) params: Bytes,
}

pub(crate) type Answer = BoxFuture<'static, Result<Bytes, InvokeError>>;

/// Answers calls and remembers them.
pub(crate) struct FakeInvoke {
    answer: Box<dyn Fn(Called) -> Answer + Send + Sync>,
    /// What follows an answer on its paths.
    streamed: Vec<(Vec<u32>, &'static [u8])>,
    calls: Mutex<Vec<Called>>,
}

impl FakeInvoke {
    /// Answers each call as `answer` says.
    pub(crate) fn new(
        answer: impl Fn(Called) -> Result<Bytes, InvokeError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::with(move |called| {
            let answered = answer(called);
            Box::pin(async move { answered })
        })
    }

    /// Answers each call in its own time.
    pub(crate) fn with(answer: impl Fn(Called) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            streamed: Vec::new(),
            calls: Mutex::default(),
        })
    }

    /// Answers each call as `answer` says, with what follows on the paths of the answer.
    pub(crate) fn streaming(
        streamed: Vec<(Vec<u32>, &'static [u8])>,
        answer: impl Fn(Called) -> Result<Bytes, InvokeError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(move |called| {
                let answered = answer(called);
                Box::pin(async move { answered })
            }),
            streamed,
            calls: Mutex::default(),
        })
    }

    /// Has no links at all.
    pub(crate) fn unlinked() -> Arc<Self> {
        Self::new(|called| Err(no_link(&called)))
    }

    /// Passes every call on to another component.
    pub(crate) fn to(component: Component) -> Arc<Self> {
        Self::with(move |called| {
            let component = component.clone();
            Box::pin(async move {
                let export = find(&component, &called.instance, &called.function);
                let cx = CallContext::within(LONG);
                let answered = component.call(&export, cx, called.params).await;
                answered.map_err(|error| InvokeError::Failed {
                    target: "other".to_owned(),
                    message: error.to_string(),
                })
            })
        })
    }

    pub(crate) fn calls(&self) -> Vec<Called> {
        self.calls.lock().unwrap().clone()
    }
}

/// What the host says when there is no link.
pub(crate) fn no_link(called: &Called) -> InvokeError {
    InvokeError::NoLink {
        link_name: called.link_name.clone(),
        instance: called.lookup.clone(),
    }
}

#[async_trait]
impl Invoke for FakeInvoke {
    async fn call(
        &self,
        _: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
    ) -> Result<Bytes, InvokeError> {
        let called = Called {
            lookup: target.lookup.to_owned(),
            link_name: target.link_name.to_owned(),
            instance: target.instance.to_owned(),
            function: target.function.to_owned(),
            params,
        };
        self.calls.lock().unwrap().push(called.clone());
        (self.answer)(called).await
    }

    async fn call_streaming(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
        streams: Vec<(StreamPath, ByteStream)>,
        _: &[StreamPath],
    ) -> Result<StreamingReply, InvokeError> {
        // What is streamed follows the parameters, so that the answer can look at it.
        let mut all = BytesMut::from(&params[..]);
        for (_, mut stream) in streams {
            while let Some(part) = futures::StreamExt::next(&mut stream).await {
                all.extend_from_slice(&part?);
            }
        }
        let results = self.call(cx, target, all.freeze()).await?;
        let streams = self.streamed.iter().map(|(path, bytes)| {
            let bytes = futures::stream::iter([Ok(Bytes::from_static(bytes))]);
            let stream: ByteStream = Box::pin(bytes);
            (StreamPath::new(path.clone()), stream)
        });
        Ok(StreamingReply {
            results,
            streams: streams.collect(),
        })
    }

    async fn send_http(
        &self,
        _: &CallContext,
        link_name: &str,
        request: http::Request<HttpBody>,
        _: RequestOptions,
    ) -> Result<http::Response<HttpBody>, ErrorCode> {
        let called = Called {
            lookup: "wasi:http/outgoing-handler".to_owned(),
            link_name: link_name.to_owned(),
            instance: request.uri().to_string(),
            function: request.method().to_string(),
            params: Bytes::new(),
        };
        let answered = (self.answer)(called).await;
        let body = answered.map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
        let body = http_body_util::Full::new(body).map_err(|never| match never {});
        Ok(http::Response::new(body.boxed_unsync()))
    }
}

/// The surroundings of a component.
#[derive(Default)]
pub(crate) struct FakeEnv {
    pub(crate) config: IndexMap<String, String>,
    pub(crate) links: Vec<(String, String)>,
    /// Of all the links.
    pub(crate) version: AtomicU64,
    pub(crate) secrets: HashMap<String, SecretText>,
    logged: Mutex<Vec<(LogSource, String)>>,
}

impl FakeEnv {
    pub(crate) fn logged(&self) -> Vec<(LogSource, String)> {
        self.logged.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self, source: LogSource) -> Vec<String> {
        let logged = self.logged();
        logged
            .into_iter()
            .filter(|(from, _)| *from == source)
            .map(|(_, line)| line)
            .collect()
    }
}

impl HostEnv for FakeEnv {
    fn component_id(&self) -> &str {
        "test"
    }

    fn config(&self) -> Arc<IndexMap<String, String>> {
        Arc::new(self.config.clone())
    }

    fn secret(&self, key: &str) -> Result<SecretText, SecretError> {
        self.secrets.get(key).cloned().ok_or(SecretError::NotFound)
    }

    fn has_link(&self, link_name: &str, lookup: &str) -> bool {
        self.links
            .iter()
            .any(|(name, interface)| name == link_name && interface == lookup)
    }

    fn link_version(&self, link_name: &str, lookup: &str) -> Option<u64> {
        let version = self.version.load(Ordering::Relaxed);
        self.has_link(link_name, lookup).then_some(version)
    }

    fn log(&self, record: LogRecord<'_>) {
        let line = format!("{:?} {} {}", record.level, record.context, record.message);
        self.logged.lock().unwrap().push((record.source, line));
    }
}

/// Prepares a component in the shared runtime.
pub(crate) async fn prepare(
    wasm: Bytes,
    options: ComponentOptions,
    invoke: Arc<FakeInvoke>,
) -> Component {
    prepare_in(wasm, options, invoke, Arc::default()).await
}

/// Prepares a component with surroundings of its own.
pub(crate) async fn prepare_in(
    wasm: Bytes,
    options: ComponentOptions,
    invoke: Arc<FakeInvoke>,
    env: Arc<FakeEnv>,
) -> Component {
    match runtime().prepare(wasm, options, invoke, env).await {
        Ok(component) => component,
        Err(error) => panic!("{}", chain(&error)),
    }
}

/// The probe without links.
pub(crate) async fn probe(options: ComponentOptions) -> Component {
    prepare(guest("probe"), options, FakeInvoke::unlinked()).await
}

/// An export by its names on the wire.
pub(crate) fn find(component: &Component, instance: &str, function: &str) -> Export {
    let found = component.exports().iter().find(|export| {
        export.instance().unwrap_or_default() == instance && export.function() == function
    });
    found
        .unwrap_or_else(|| panic!("no export {instance}.{function}"))
        .clone()
}

/// Calls a function of `test:probe/behave`.
pub(crate) async fn behave(
    component: &Component,
    function: &str,
    params: Bytes,
) -> Result<Bytes, CallError> {
    call(component, "test:probe/behave@0.1.0", function, params).await
}

/// Calls any function.
pub(crate) async fn call(
    component: &Component,
    instance: &str,
    function: &str,
    params: Bytes,
) -> Result<Bytes, CallError> {
    let export = find(component, instance, function);
    component
        .call(&export, CallContext::within(LONG), params)
        .await
}

/// Encodes parameters.
pub(crate) fn encoded(f: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    f(&mut out);
    out.freeze()
}

/// One text parameter.
pub(crate) fn text(value: &str) -> Bytes {
    encoded(|out| write::string(out, value))
}

/// One number parameter.
pub(crate) fn number(value: u64) -> Bytes {
    encoded(|out| write::uleb(out, value))
}

/// Reads a number.
pub(crate) fn as_number(bytes: Bytes) -> u64 {
    Reader::new(bytes).u64().expect("a number")
}

/// Reads a text.
pub(crate) fn as_text(bytes: Bytes) -> String {
    Reader::new(bytes).string().expect("a text")
}

/// Reads a `result<_, string>` and returns the error.
pub(crate) fn as_refusal(bytes: Bytes) -> String {
    let mut reader = Reader::new(bytes);
    assert!(reader.result_is_err().expect("a result"), "it succeeded");
    reader.string().expect("a text")
}

/// The text of an error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
