//! Bodies that guests leave without an end.

mod support;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use lattice_codec::Path as StreamPath;
use lattice_codec::http::{ErrorCode, RequestOptions};
use lattice_runtime::{
    ByteStream, CallContext, Component, ComponentOptions, HttpBody, ImportTarget, Invoke,
    InvokeError, ResponseBody, Reuse, StreamingReply,
};
use support::{FakeEnv, FakeInvoke, LONG, guest, prepare, runtime, wat};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A component that writes some bytes of a body under this length, by this function of streams, and
/// leaves it without an end.
fn leaving_its_body(how: &str, length: &str, written: usize) -> Bytes {
    let mut resolve = wit_parser::Resolve::default();
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interfaces/wit");
    for name in [
        "io",
        "clocks",
        "random",
        "filesystem",
        "sockets",
        "cli",
        "http",
    ] {
        let package = packages.join(format!("wasi-{name}-0.2.6"));
        resolve.push_dir(package).expect("the package is there");
    }
    let world = "package test:left; world handler {
        import wasi:http/types@0.2.6; export wasi:http/incoming-handler@0.2.6; }";
    let package = resolve
        .push_str("test.wit", world)
        .expect("the world is valid");
    let world = resolve.select_world(&[package], Some("handler"));
    let world = world.expect("the world is there");
    let digits = format!("{:02x}", length.len());
    let text = include_str!("wat/left_body.wat").replace("DIGITS", &digits);
    let text = text.replace("WRITTEN", &written.to_string());
    let text = text.replace("HOW", how);
    let mut module = wat(&text.replace("LENGTH", length)).to_vec();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false)
        .expect("the module takes its world");
    module.into()
}

async fn leaving(length: &str, written: usize, reuse: Option<Reuse>) -> Component {
    let options = ComponentOptions {
        reuse,
        ..ComponentOptions::default()
    };
    let wasm = leaving_its_body("blocking-write-and-flush", length, written);
    prepare(wasm, options, FakeInvoke::unlinked()).await
}

/// The body of the answer to a request without one, if it is whole.
async fn body(component: &Component, method: Method) -> Option<Bytes> {
    let nothing = Empty::new().map_err(|never| match never {});
    let request = Request::builder()
        .method(method)
        .uri("http://example.com/")
        .body(nothing.boxed_unsync())
        .expect("the request is valid");
    let answer = component.handle_http(CallContext::within(LONG), request);
    match answer.await.ok()?.body {
        ResponseBody::Complete { data, .. } => Some(data),
        ResponseBody::Streaming(body) => Some(body.collect().await.ok()?.to_bytes()),
    }
}

#[tokio::test]
async fn a_body_that_is_left_without_an_end_is_whole_only_with_all_its_bytes() {
    for reuse in [None, Some(Reuse::default())] {
        let whole = leaving("5", 5, reuse).await;
        assert_eq!(body(&whole, Method::GET).await.unwrap(), "hello");
        let broken = leaving("100", 5, reuse).await;
        assert_eq!(body(&broken, Method::GET).await, None, "{reuse:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_its_head_alone_needs_none_of_the_bytes_that_it_tells_of() {
    for reuse in [None, Some(Reuse::default())] {
        let unwritten = leaving("100", 0, reuse).await;
        assert_eq!(body(&unwritten, Method::HEAD).await.unwrap(), "");
        assert_eq!(body(&unwritten, Method::GET).await, None, "{reuse:?}");
    }
}

#[tokio::test]
async fn a_guest_may_write_a_mebibyte_at_once_without_asking_how_much_it_may() {
    let wasm = leaving_its_body("write", "1048576", 1 << 20);
    let component = prepare(wasm, ComponentOptions::default(), FakeInvoke::unlinked()).await;
    let written = body(&component, Method::GET).await.unwrap();
    assert_eq!(written.len(), 1 << 20);
}

/// How a body went on: with a piece, or to its end.
type Piece = Option<Result<Bytes, ErrorCode>>;

/// Reads the bodies of requests, each on its own as a provider does, and answers none.
struct Uploads(mpsc::UnboundedSender<Piece>);

#[async_trait]
impl Invoke for Uploads {
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
        _: Vec<(StreamPath, ByteStream)>,
        _: &[StreamPath],
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
        _: &str,
        request: Request<HttpBody>,
        _: RequestOptions,
    ) -> Result<http::Response<HttpBody>, ErrorCode> {
        let (mut body, pieces) = (request.into_body(), self.0.clone());
        tokio::spawn(async move {
            loop {
                let frame = body.frame().await;
                let data = |frame: Frame<Bytes>| frame.into_data().unwrap_or_default();
                let piece = frame.map(|frame| frame.map(data));
                let is_last = !matches!(piece, Some(Ok(_)));
                if pieces.send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        std::future::pending().await
    }
}

#[tokio::test]
async fn the_body_of_a_request_whose_guest_is_ended_breaks_off() {
    let (pieces, mut uploaded) = mpsc::unbounded_channel();
    let wasm = guest("http-probe");
    let uploads = Arc::new(Uploads(pieces));
    let options = ComponentOptions::default();
    let prepared = runtime().prepare(wasm, options, uploads, Arc::<FakeEnv>::default());
    let component = prepared.await.unwrap();
    // The first half of what is passed on; the second one never comes.
    let half = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"half")))]);
    let half = StreamBody::new(half.chain(futures::stream::pending()));
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://example.com/fetch?http://other.example/")
        .body(half.boxed_unsync())
        .unwrap();
    let handled = component.handle_http(CallContext::within(LONG), request);
    {
        let mut handled = std::pin::pin!(handled);
        let piece = async {
            tokio::select! {
                ended = &mut handled => panic!("{ended:?}"),
                piece = uploaded.recv() => piece,
            }
        };
        let piece = timeout(LONG, piece).await.unwrap();
        assert!(
            matches!(&piece, Some(Some(Ok(data))) if data == "half"),
            "{piece:?}"
        );
    }
    let end = timeout(LONG, uploaded.recv()).await.unwrap();
    assert!(matches!(end, Some(Some(Err(_)))), "{end:?}");
}
