//! HTTP through a guest.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use lattice_codec::http::ErrorCode;
use lattice_runtime::{
    CallContext, CallError, Component, ComponentOptions, ExportKind, HttpBody, HttpCallError,
    HttpResponse, ResponseBody,
};
use support::{Called, FakeInvoke, LONG, find, guest, prepare, probe};
use tokio::sync::mpsc;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

async fn http_probe(options: ComponentOptions) -> Component {
    prepare(guest("http-probe"), options, FakeInvoke::unlinked()).await
}

fn empty() -> HttpBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn request(path: &str, body: HttpBody) -> Request<HttpBody> {
    Request::builder()
        .uri(format!("http://example.com{path}"))
        .body(body)
        .expect("the request is valid")
}

async fn get(component: &Component, path: &str) -> Result<HttpResponse, HttpCallError> {
    component
        .handle_http(CallContext::within(LONG), request(path, empty()))
        .await
}

fn complete(response: HttpResponse) -> (StatusCode, Bytes) {
    match response.body {
        ResponseBody::Complete { data, .. } => (response.head.status, data),
        ResponseBody::Streaming(_) => panic!("the body is not complete"),
    }
}

async fn collect(response: HttpResponse) -> Result<Bytes, ErrorCode> {
    match response.body {
        ResponseBody::Complete { data, .. } => Ok(data),
        ResponseBody::Streaming(body) => Ok(body.collect().await?.to_bytes()),
    }
}

#[tokio::test]
async fn a_small_response_is_complete_at_once() {
    let component = http_probe(ComponentOptions::default()).await;
    assert_eq!(
        complete(get(&component, "/").await.unwrap()),
        (StatusCode::OK, "ok\n".into())
    );
    let missing = complete(get(&component, "/nothing").await.unwrap());
    assert_eq!(missing.0, StatusCode::NOT_FOUND);
    assert_eq!(
        complete(get(&component, "/status/204").await.unwrap()).1,
        ""
    );
}

#[tokio::test]
async fn an_answer_is_found_also_by_a_task_that_never_waits() {
    let component = http_probe(ComponentOptions::default()).await;
    // More than tokio lets a task do before it has it wait, whatever is ready.
    for _ in 0..300 {
        assert!(get(&component, "/").await.is_ok());
    }
}

#[tokio::test]
async fn the_export_has_the_name_of_the_wire() {
    let component = http_probe(ComponentOptions::default()).await;
    let export = find(&component, "wrpc:http/incoming-handler@0.1.0", "handle");
    assert_eq!(export.kind(), ExportKind::Http);
    let ended = component
        .call(&export, CallContext::within(LONG), Bytes::new())
        .await;
    assert!(matches!(ended, Err(CallError::WrongExport { .. })));
    let other = probe(ComponentOptions::default()).await;
    assert!(matches!(
        get(&other, "/").await,
        Err(HttpCallError::NotAHandler)
    ));
}

#[tokio::test]
async fn the_guest_sees_the_request_as_it_was_sent() {
    let component = http_probe(ComponentOptions::default()).await;
    let request = Request::builder()
        .method("POST")
        .uri("https://shop.example:8443/request/x?y=1")
        .header("x-one", "1")
        .body(empty())
        .unwrap();
    let response = component
        .handle_http(CallContext::within(LONG), request)
        .await
        .unwrap();
    let text = String::from_utf8(complete(response).1.to_vec()).unwrap();
    assert_eq!(
        text,
        "method POST\nscheme https\nauthority shop.example:8443\npath /request/x?y=1\nheader x-one: 1\n"
    );
}

#[tokio::test]
async fn a_request_without_host_is_taken() {
    let component = http_probe(ComponentOptions::default()).await;
    let request = Request::builder().uri("/request").body(empty()).unwrap();
    let response = component
        .handle_http(CallContext::within(LONG), request)
        .await
        .unwrap();
    let text = complete(response).1;
    assert!(text.starts_with(b"method GET\nscheme http\nauthority localhost\npath /request\n"));
}

#[tokio::test]
async fn a_large_body_is_streamed_whole() {
    let component = http_probe(ComponentOptions::default()).await;
    let length = 3 << 20;
    let response = get(&component, &format!("/stream/{length}")).await.unwrap();
    assert!(matches!(response.body, ResponseBody::Streaming(_)));
    let body = collect(response).await.unwrap();
    assert_eq!(body.len(), length);
    assert!(
        body.iter()
            .enumerate()
            .all(|(i, byte)| *byte == (i % 251) as u8)
    );
}

#[tokio::test]
async fn a_slow_body_arrives_piece_by_piece() {
    let component = http_probe(ComponentOptions::default()).await;
    let response = get(&component, "/slow/3/50").await.unwrap();
    let ResponseBody::Streaming(mut body) = response.body else {
        panic!("{:?}", response.body)
    };
    for piece in 1..=3 {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("piece {piece}\n"));
    }
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_body_is_echoed_while_it_arrives_and_keeps_its_trailers() {
    let component = http_probe(ComponentOptions::default()).await;
    let (send, receive) = mpsc::channel::<Result<Frame<Bytes>, ErrorCode>>(1);
    let stream = futures::stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|frame| (frame, receive))
    });
    let request = request("/echo", StreamBody::new(stream).boxed_unsync());
    let response = component
        .handle_http(CallContext::within(LONG), request)
        .await
        .unwrap();
    let ResponseBody::Streaming(mut body) = response.body else {
        panic!("{:?}", response.body)
    };
    for part in ["one", "two"] {
        send.send(Ok(Frame::data(part.into()))).await.unwrap();
        let echoed = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(echoed, part);
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-end", "now".parse().unwrap());
    send.send(Ok(Frame::trailers(trailers.clone())))
        .await
        .unwrap();
    drop(send);
    assert_eq!(
        body.frame()
            .await
            .unwrap()
            .unwrap()
            .into_trailers()
            .unwrap(),
        trailers
    );
}

#[tokio::test]
async fn trailers_come_with_a_complete_body() {
    let component = http_probe(ComponentOptions::default()).await;
    let response = get(&component, "/trailers").await.unwrap();
    let ResponseBody::Complete { data, trailers } = response.body else {
        panic!("{:?}", response.body)
    };
    assert_eq!(data, "body\n");
    assert_eq!(trailers.unwrap()["x-end"], "done");
}

#[tokio::test]
async fn failures_before_the_answer_are_told_apart() {
    let component = http_probe(ComponentOptions::default()).await;
    let trap = get(&component, "/trap").await;
    assert!(
        matches!(trap, Err(HttpCallError::Call(CallError::Trap { .. }))),
        "{trap:?}"
    );
    let silent = get(&component, "/silent").await;
    assert!(
        matches!(silent, Err(HttpCallError::NoResponse)),
        "{silent:?}"
    );
    let error = get(&component, "/error").await;
    let Err(HttpCallError::Guest(code)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        code,
        ErrorCode::InternalError(Some("error, as asked".to_owned()))
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_never_complete() {
    let component = http_probe(ComponentOptions::default()).await;
    for path in [
        "/trap-after/10",
        "/trap-after/2000000",
        "/unfinished/10",
        "/unfinished/2000000",
    ] {
        let failed = match get(&component, path).await {
            Ok(response) => collect(response).await.is_err(),
            Err(_) => true,
        };
        assert!(failed, "{path}");
    }
    let trap = get(&component, "/trap-after/10").await;
    assert!(
        matches!(trap, Err(HttpCallError::Call(CallError::Trap { .. }))),
        "{trap:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_guest_ends_at_the_deadline_or_its_budget() {
    let component = http_probe(ComponentOptions::default()).await;
    let cx = CallContext::within(Duration::from_millis(200));
    let ended = component.handle_http(cx, request("/spin", empty())).await;
    assert!(
        matches!(ended, Err(HttpCallError::Call(CallError::Deadline))),
        "{ended:?}"
    );
    let options = ComponentOptions {
        cpu_budget: Some(Duration::from_millis(100)),
        ..ComponentOptions::default()
    };
    let ended = get(&http_probe(options).await, "/spin").await;
    assert!(
        matches!(ended, Err(HttpCallError::Call(CallError::CpuBudget { .. }))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_streamed_body_ends_at_the_deadline() {
    let component = http_probe(ComponentOptions::default()).await;
    let cx = CallContext::within(Duration::from_millis(300));
    let response = component
        .handle_http(cx, request("/slow/1000/50", empty()))
        .await
        .unwrap();
    assert!(
        timeout(Duration::from_secs(20), collect(response))
            .await
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn dropping_the_body_ends_the_guest() {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let component = http_probe(ComponentOptions::default()).await;
    let released = Arc::new(AtomicBool::new(false));
    let cx = CallContext::within(LONG).holding(Guard(released.clone()));
    let response = component
        .handle_http(cx, request("/slow/1000/50", empty()))
        .await
        .unwrap();
    assert!(!released.load(Ordering::SeqCst));
    drop(response);
    let ended = async {
        while !released.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, ended).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_answers_with_an_error_goes_on_to_its_end() {
    let component = http_probe(ComponentOptions::default()).await;
    let (held, mut ended) = tokio::sync::oneshot::channel::<()>();
    let cx = CallContext::within(LONG).holding(held);
    let answer = component.handle_http(cx, request("/error/500", empty()));
    assert!(matches!(answer.await, Err(HttpCallError::Guest(_))));
    assert_eq!(ended.try_recv(), Err(TryRecvError::Empty), "it was cut off");
    timeout(LONG, ended).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_guest_whose_body_nobody_reads_ends_by_its_deadline() {
    let component = http_probe(ComponentOptions::default()).await;
    let (held, ended) = tokio::sync::oneshot::channel::<()>();
    let cx = CallContext::within(Duration::from_millis(300)).holding(held);
    let endless = request("/slow/1000000/1", empty());
    let response = component.handle_http(cx, endless).await.unwrap();
    assert!(matches!(response.body, ResponseBody::Streaming(_)));
    // The guest is gone, and what it held with it, although its reader is still there.
    timeout(LONG, ended).await.unwrap().unwrap_err();
    let broken = collect(response).await.unwrap_err();
    assert!(format!("{broken:?}").contains("deadline"), "{broken:?}");
}

#[tokio::test]
async fn a_body_that_fails_on_the_way_reaches_the_guest_as_an_error() {
    let component = http_probe(ComponentOptions::default()).await;
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"abc"))),
        Err(ErrorCode::ConnectionTerminated),
    ];
    let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
    let outcome = component
        .handle_http(CallContext::within(LONG), request("/length", body))
        .await;
    // The guest returns without an answer when reading fails.
    assert!(outcome.is_err(), "{outcome:?}");
}

#[tokio::test]
async fn a_request_body_of_known_length_is_read() {
    let component = http_probe(ComponentOptions::default()).await;
    let body = Full::new(Bytes::from(vec![1; 300_000])).map_err(|never| match never {});
    let request = request("/length", body.boxed_unsync());
    let response = component
        .handle_http(CallContext::within(LONG), request)
        .await
        .unwrap();
    assert_eq!(collect(response).await.unwrap(), "300000\n");
}

#[tokio::test]
async fn a_handler_calls_its_keyvalue_link() {
    let invoke = FakeInvoke::new(|called: Called| {
        assert_eq!(called.instance, "wrpc:keyvalue/atomics@0.2.0-draft");
        Ok(Bytes::from_static(b"\x00\x05"))
    });
    let component = prepare(
        guest("http-keyvalue-counter"),
        ComponentOptions::default(),
        invoke,
    )
    .await;
    let (status, body) = complete(get(&component, "/some/path").await.unwrap());
    assert_eq!(status, StatusCode::OK);
    assert!(body.windows(1).any(|text| text == b"5"), "{body:?}");
}
