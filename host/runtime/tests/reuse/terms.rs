//! Whose name and deadline a call has.

use std::sync::Mutex;

use async_trait::async_trait;
use lattice_codec::Path;
use lattice_codec::http::RequestOptions;
use lattice_core::TraceContext;
use lattice_runtime::{ByteStream, ImportTarget, Invoke, InvokeError, StreamingReply};
use tokio::time::{Instant, sleep_until};

use super::*;

/// In whose name a call was made, and by when it has to be over.
type Terms = (Option<Arc<str>>, Option<TraceContext>, Instant);

/// Remembers the terms of calls.
#[derive(Default)]
struct Contexts(Mutex<Vec<Terms>>);

#[async_trait]
impl Invoke for Contexts {
    async fn call(
        &self,
        cx: &CallContext,
        _: ImportTarget<'_>,
        _: Bytes,
    ) -> Result<Bytes, InvokeError> {
        let seen = (cx.source.clone(), cx.trace.clone(), cx.deadline);
        self.0.lock().unwrap().push(seen);
        Ok(text("answer"))
    }

    async fn call_streaming(
        &self,
        _: &CallContext,
        _: ImportTarget<'_>,
        _: Bytes,
        _: Vec<(Path, ByteStream)>,
        _: &[Path],
    ) -> Result<StreamingReply, InvokeError> {
        Err(InvokeError::Deadline)
    }

    async fn send_http(
        &self,
        _: &CallContext,
        _: &str,
        _: http::Request<HttpBody>,
        _: RequestOptions,
    ) -> Result<http::Response<HttpBody>, ErrorCode> {
        Err(ErrorCode::ConnectionRefused)
    }
}

#[tokio::test]
async fn calls_leave_in_the_name_of_the_call_that_made_them() {
    let invoke = Arc::new(Contexts::default());
    let component = support::runtime()
        .prepare(
            wat(REUSED),
            reused(lasting()),
            invoke.clone(),
            Arc::<FakeEnv>::default(),
        )
        .await
        .unwrap();
    let ask = find(&component, "", "ask");
    let mut expected = Vec::new();
    for (caller, seconds) in [("alice", 60), ("bob", 30)] {
        let mut cx = CallContext::within(Duration::from_secs(seconds));
        cx.source = Some(caller.into());
        cx.trace = Some(TraceContext {
            traceparent: format!("trace of {caller}"),
            tracestate: None,
        });
        expected.push((cx.source.clone(), cx.trace.clone(), cx.deadline));
        component.call(&ask, cx, Bytes::new()).await.unwrap();
        assert_eq!(component.kept_instances(), 1);
    }
    assert_eq!(*invoke.0.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_deadline_is_the_one_of_the_call() {
    let component = probe(reused(lasting())).await;
    let spin = find(&component, "test:probe/behave@0.1.0", "spin");
    assert_eq!(calls(&component).await, 1);
    let cx = CallContext::within(Duration::from_millis(200));
    let start = Instant::now();
    let ended = component.call(&spin, cx, "".into()).await;
    assert!(matches!(ended, Err(CallError::Deadline)), "{ended:?}");
    assert!(start.elapsed() < Duration::from_secs(20));
    // An early deadline does not count for later calls of an instance.
    let cx = CallContext::within(Duration::from_millis(100));
    let past = cx.deadline;
    let now = find(&component, "test:probe/behave@0.1.0", "now");
    component.call(&now, cx, "".into()).await.unwrap();
    sleep_until(past).await;
    behave(&component, "burn", number(50)).await.unwrap();
    assert_eq!(component.kept_instances(), 1);
}
