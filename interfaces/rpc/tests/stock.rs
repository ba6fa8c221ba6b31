//! The unmodified transports of the 1.9 lattice and of the last release with NATS, against ours.

#![allow(unreachable_pub, reason = "a macro makes the modules")]
#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use lattice_rpc::CallError;
use lattice_rpc::wrpc::{CallContext, Client, Server};
use support::{Pair, id, lattice, options};

const INSTANCE: &str = "test:pkg/iface@0.1.0";

fn ours_server(pair: &Pair) -> Server {
    Server::new(pair.callee.clone(), &lattice(), &id("target"), options())
}

fn ours_client(pair: &Pair) -> Client {
    let timeout = Duration::from_secs(5);
    Client::new(
        pair.caller.clone(),
        &lattice(),
        id("tester"),
        id("target"),
        timeout,
    )
}

type Piped = (
    std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    std::pin::Pin<Box<dyn Future<Output = u32> + Send>>,
);

fn piped(chunks: Vec<&'static [u8]>, number: u32) -> Piped {
    // Each chunk comes after a pause, so that none is sent inline.
    let chunks = stream::iter(chunks).then(|chunk| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Bytes::from_static(chunk)
    });
    let number = async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        number
    };
    (Box::pin(chunks), Box::pin(number))
}

async fn joined(mut chunks: impl Stream<Item = Bytes> + Unpin) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next().await {
        all.extend_from_slice(&chunk);
    }
    all
}

/// The same conversation with the traits of one version of `wrpc-transport`: a unary function, one
/// without results, one that carries a stream and a future both ways, a resource handle.
macro_rules! conversation {
    ($name:ident, $transport:ident) => {
        mod $name {
            use super::*;
            use $transport::{Invoke, InvokeExt as _, ResourceOwn, Serve, ServeExt as _};

            pub async fn serve<S: Serve + Clone + Send + 'static>(
                server: S,
            ) -> tokio::task::JoinSet<()> {
                let mut tasks = tokio::task::JoinSet::new();
                let none: Arc<[Box<[Option<usize>]>]> = Arc::from([]);
                let paths: Arc<[Box<[Option<usize>]>]> =
                    Arc::from([Box::from([Some(0)]), Box::from([Some(1)])]);
                let echo = server
                    .serve_values::<(String,), (String,)>(INSTANCE, "echo", Arc::clone(&none))
                    .await
                    .unwrap();
                tasks.spawn(async move {
                    let mut calls = Box::pin(echo);
                    while let Some(call) = calls.next().await {
                        let (_, (text,), _, answer) = call.unwrap();
                        answer((text,)).await.unwrap();
                    }
                });
                let unit = server
                    .serve_values::<(), ()>(INSTANCE, "unit", Arc::clone(&none))
                    .await
                    .unwrap();
                tasks.spawn(async move {
                    let mut calls = Box::pin(unit);
                    while let Some(call) = calls.next().await {
                        let (_, (), _, answer) = call.unwrap();
                        answer(()).await.unwrap();
                    }
                });
                let handle = server
                    .serve_values::<(ResourceOwn<Thing>,), (ResourceOwn<Thing>,)>(
                        INSTANCE, "handle", none,
                    )
                    .await
                    .unwrap();
                tasks.spawn(async move {
                    let mut calls = Box::pin(handle);
                    while let Some(call) = calls.next().await {
                        let (_, (thing,), _, answer) = call.unwrap();
                        answer((thing,)).await.unwrap();
                    }
                });
                let pipe = server
                    .serve_values::<Piped, Piped>(INSTANCE, "pipe", paths)
                    .await
                    .unwrap();
                tasks.spawn(async move {
                    let mut calls = Box::pin(pipe);
                    while let Some(call) = calls.next().await {
                        let (_, (chunks, number), receive, answer) = call.unwrap();
                        tokio::spawn(async move {
                            let receive = async {
                                if let Some(receive) = receive {
                                    receive.await.unwrap();
                                }
                            };
                            let (_, sent) = tokio::join!(receive, answer((chunks, number)));
                            sent.unwrap();
                        });
                    }
                });
                tasks
            }

            pub async fn call<C: Invoke>(client: &C, context: impl Fn() -> C::Context) {
                let none: [[Option<usize>; 0]; 0] = [];
                for text in ["hi", "", &"x".repeat(3_000_000)] {
                    let ((back,), rest) = client
                        .invoke_values::<_, (String,), (String,)>(
                            context(),
                            INSTANCE,
                            "echo",
                            (text.to_owned(),),
                            none,
                        )
                        .await
                        .unwrap();
                    assert!(rest.is_none() && back == text);
                }
                let ((), _) = client
                    .invoke_values::<_, (), ()>(context(), INSTANCE, "unit", (), none)
                    .await
                    .unwrap();
                let thing = ResourceOwn::<Thing>::from(Bytes::from_static(b"\x01\x02\x00handle"));
                let ((back,), _) = client
                    .invoke_values::<_, (ResourceOwn<Thing>,), (ResourceOwn<Thing>,)>(
                        context(),
                        INSTANCE,
                        "handle",
                        (thing,),
                        none,
                    )
                    .await
                    .unwrap();
                assert_eq!(AsRef::<[u8]>::as_ref(&back), b"\x01\x02\x00handle");
                let ((chunks, number), rest) = client
                    .invoke_values::<_, Piped, Piped>(
                        context(),
                        INSTANCE,
                        "pipe",
                        piped(vec![b"abc", b"defg"], 300),
                        [[Some(0)], [Some(1)]],
                    )
                    .await
                    .unwrap();
                let rest = async {
                    if let Some(rest) = rest {
                        rest.await.unwrap();
                    }
                };
                let (all, number, ()) = tokio::join!(joined(chunks), number, rest);
                assert_eq!((all.as_slice(), number), (&b"abcdefg"[..], 300));
            }

            pub struct Thing;
        }
    };
}

conversation!(current, wrpc_transport);
conversation!(old, wrpc_transport_028);

/// Waits until NATS has taken in what a stock client subscribed: a message of its own that comes
/// back on the same connection comes after that.
macro_rules! confirmed {
    ($nats:expr) => {{
        let mut echo = $nats.subscribe("confirmed").await.unwrap();
        $nats.publish("confirmed", Bytes::new()).await.unwrap();
        echo.next().await.unwrap();
    }};
}

#[tokio::test]
async fn ours_to_ours() {
    let pair = Pair::start().await;
    let _serving = current::serve(ours_server(&pair)).await;
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
    current::call(&ours_client(&pair), CallContext::default).await;
    pair.settle().await;
}

#[tokio::test]
async fn a_stock_031_client_to_ours() {
    let pair = Pair::start().await;
    let _serving = current::serve(ours_server(&pair)).await;
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
    let nats = async_nats_049::connect(&pair.nats.url).await.unwrap();
    let prefix = pair.prefix.as_str().to_owned();
    let client = wrpc_transport_nats_031::Client::new(nats, prefix, None)
        .await
        .unwrap();
    current::call(&client, || None).await;
    pair.settle().await;
}

#[tokio::test]
async fn a_stock_029_client_to_ours() {
    let pair = Pair::start().await;
    let _serving = current::serve(ours_server(&pair)).await;
    pair.callee.confirm(Duration::from_secs(5)).await.unwrap();
    let nats = async_nats_039::connect(&pair.nats.url).await.unwrap();
    let prefix = pair.prefix.as_str().to_owned();
    let client = wrpc_transport_nats_029::Client::new(nats, prefix, None)
        .await
        .unwrap();
    old::call(&client, || None).await;
    pair.settle().await;
}

#[tokio::test]
async fn our_client_to_stock_031() {
    let pair = Pair::start().await;
    let nats = async_nats_049::connect(&pair.nats.url).await.unwrap();
    let prefix = pair.prefix.as_str();
    let server =
        wrpc_transport_nats_031::Client::new(nats.clone(), prefix, Some(prefix.into())).await;
    let _serving = current::serve(server.unwrap()).await;
    confirmed!(nats);
    current::call(&ours_client(&pair), CallContext::default).await;
    pair.settle().await;
}

#[tokio::test]
async fn our_client_to_stock_029() {
    let pair = Pair::start().await;
    let nats = async_nats_039::connect(&pair.nats.url).await.unwrap();
    let prefix = pair.prefix.as_str();
    let server =
        wrpc_transport_nats_029::Client::new(nats.clone(), prefix, Some(prefix.into())).await;
    let _serving = old::serve(server.unwrap()).await;
    confirmed!(nats);
    current::call(&ours_client(&pair), CallContext::default).await;
    pair.settle().await;
}

/// A callee of ours with room for one call and none in its queue, and a call that has taken it.
async fn full(pair: &Pair) -> (lattice_rpc::ServeHandle, tokio::task::JoinHandle<()>) {
    let narrow = lattice_rpc::ServeOptions {
        limiter: Arc::new(lattice_rpc::Limiter::new(1, 0, Duration::ZERO)),
        ..options()
    };
    let serving = pair.serve_with("echo", narrow, |call| async move {
        std::future::pending::<()>().await;
        drop(call);
    });
    let serving = serving.await;
    let (caller, invocation) = (pair.caller.clone(), pair.invocation("echo"));
    let held = tokio::spawn(async move { drop(caller.call(invocation, Bytes::new()).await) });
    support::until(|| pair.callee.stats().serving == 1).await;
    (serving, held)
}

/// Calls a full callee in the way of one generation; the error has to be there at once.
macro_rules! refused_at_once {
    ($pair:expr, $nats:ident, $client:ident, $transport:ident) => {{
        use $transport::InvokeExt as _;
        let nats = $nats::connect(&$pair.nats.url).await.unwrap();
        let prefix = $pair.prefix.as_str().to_owned();
        let client = $client::Client::new(nats, prefix, None).await.unwrap();
        let none: [[Option<usize>; 0]; 0] = [];
        let asked = tokio::time::Instant::now();
        let text = ("hi".to_owned(),);
        let call =
            client.invoke_values::<_, (String,), (String,)>(None, INSTANCE, "echo", text, none);
        let answer = tokio::time::timeout(Duration::from_secs(4), call).await;
        let Err(error) = answer.expect("the caller hangs") else {
            panic!("an answer of a full callee");
        };
        assert!(asked.elapsed() < Duration::from_secs(1), "{error:#}");
    }};
}

#[tokio::test]
async fn a_full_callee_is_an_error_at_once_for_stock_031_and_029() {
    let pair = Pair::start().await;
    let (_serving, held) = full(&pair).await;
    refused_at_once!(
        pair,
        async_nats_049,
        wrpc_transport_nats_031,
        wrpc_transport
    );
    refused_at_once!(
        pair,
        async_nats_039,
        wrpc_transport_nats_029,
        wrpc_transport_028
    );
    held.abort();
    pair.settle().await;
}

#[tokio::test]
async fn a_full_callee_ends_the_results_of_one_who_reads_them_without_an_accept() {
    let pair = Pair::start().await;
    let (_serving, held) = full(&pair).await;
    // As a client in Go, which does not take the missing place for parameters for an error.
    let client = pair.nats.client().await.unwrap();
    let inbox = client.new_inbox();
    let results = client.subscribe(format!("{inbox}.results")).await;
    let params = Bytes::from_static(&[2, b'h', b'i']);
    let sent = client.publish_with_reply(pair.subject("echo"), inbox, params);
    sent.await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(4), results.unwrap().next()).await;
    let end = end.expect("the caller hangs").unwrap();
    assert!(end.payload.is_empty() && end.headers.is_none());
    held.abort();
    pair.settle().await;
}

/// A stock server of what the tests call.
async fn stock_029(pair: &Pair) -> (async_nats_039::Client, wrpc_transport_nats_029::Client) {
    let nats = async_nats_039::connect(&pair.nats.url).await;
    let nats = nats.expect("no connection to NATS");
    let (prefix, group) = (pair.prefix.as_str(), pair.prefix.as_str().into());
    let server = wrpc_transport_nats_029::Client::new(nats.clone(), prefix, Some(group)).await;
    (nats, server.expect("no stock server"))
}

#[tokio::test]
async fn a_stock_function_goes_on_after_a_caller_who_left_before_the_accept() {
    use wrpc_transport_028::ServeExt as _;
    // Whether it still knows of the call when that is accepted, or not.
    for linger in [Duration::from_secs(15), Duration::ZERO] {
        let config = lattice_rpc::PeerConfig {
            linger,
            ..lattice_rpc::PeerConfig::default()
        };
        let pair = Pair::with_config(config).await;
        let (nats, server) = stock_029(&pair).await;
        let none: Arc<[Box<[Option<usize>]>]> = Arc::from([]);
        let calls = server.serve_values::<(String,), (String,)>(INSTANCE, "echo", none);
        let calls = calls.await.unwrap();
        confirmed!(nats);
        let mut long = bytes::BytesMut::new();
        lattice_codec::write::string(&mut long, &"x".repeat(3_000_000));
        let invocation = lattice_rpc::Invocation::new(pair.subject("echo"), support::soon(1000));
        let left = pair.caller.call(invocation, long.freeze()).await;
        let is_late = matches!(left, Err(CallError::Deadline { sent: true, .. }));
        assert!(is_late, "{left:?}");
        if linger.is_zero() {
            support::until(|| pair.caller.stats().open_calls == 0).await;
        }
        let serving = tokio::spawn(async move {
            let mut calls = Box::pin(calls);
            while let Some(call) = calls.next().await {
                // That of the one who has left is an error.
                if let Ok((_, (text,), _, answer)) = call {
                    answer((text,)).await.unwrap();
                }
            }
        });
        let short = Bytes::from_static(&[2, b'h', b'i']);
        let answer = pair.caller.call(pair.invocation("echo"), short.clone());
        assert_eq!(answer.await.unwrap(), short);
        serving.abort();
        pair.settle().await;
    }
}

#[tokio::test]
async fn a_stock_function_goes_on_after_a_caller_who_left_after_the_accept() {
    use wrpc_transport_028::ServeExt as _;
    let pair = Pair::start().await;
    let (nats, server) = stock_029(&pair).await;
    let none: Arc<[Box<[Option<usize>]>]> = Arc::from([]);
    let calls = server.serve_values::<(), ()>(INSTANCE, "unit", none);
    let calls = calls.await.unwrap();
    confirmed!(nats);
    let serving = tokio::spawn(async move {
        let mut calls = Box::pin(calls);
        while let Some(call) = calls.next().await {
            let (_, (), _, answer) = call.unwrap();
            answer(()).await.unwrap();
        }
    });
    let mut watch = pair.watch().await;
    let invocation = pair.invocation("unit");
    let left = pair.caller.start(invocation, Bytes::new(), &[]).await;
    let until = support::soon(5000);
    let is_accept = |sent: &async_nats::Message| sent.headers.is_none() && sent.reply.is_some();
    while !watch.messages().await.iter().any(is_accept) {
        assert!(tokio::time::Instant::now() < until, "not accepted");
    }
    pair.caller.confirm(Duration::from_secs(5)).await.unwrap();
    drop(left.unwrap());
    let answer = pair.caller.call(pair.invocation("unit"), Bytes::new());
    assert_eq!(answer.await.unwrap(), Bytes::new());
    serving.abort();
    pair.settle().await;
}

#[tokio::test]
async fn a_stock_callee_that_has_answered_already_is_told_where_a_stream_ends() {
    let pair = Pair::start().await;
    let callee = pair.nats.client().await.unwrap();
    let mut calls = callee.subscribe(pair.subject("pipe")).await.unwrap();
    let place = callee.new_inbox();
    let params = callee.subscribe(format!("{place}.params.>")).await;
    lattice_nats_box::taken_in(&callee).await.unwrap();
    let (pending, ended) = (Bytes::from_static(&[0]), [lattice_codec::Path::new([0])]);
    let invocation = pair.invocation("pipe");
    let call = pair.caller.start(invocation, pending.clone(), &ended).await;
    let caller = calls.next().await.unwrap().reply.unwrap();
    let results = format!("{caller}.results");
    let accepted = callee.publish_with_reply(caller, place.clone(), Bytes::new());
    accepted.await.unwrap();
    for part in [pending.clone(), Bytes::new()] {
        callee.publish(results.clone(), part).await.unwrap();
    }
    lattice_nats_box::taken_in(&callee).await.unwrap();
    // All of it is here before anybody waits for it.
    pair.caller.confirm(Duration::from_secs(5)).await.unwrap();
    let mut call = call.unwrap();
    assert_eq!(call.result().await.unwrap().bytes, pending);
    let end = tokio::time::timeout(Duration::from_secs(5), params.unwrap().next()).await;
    let end = end.expect("the callee is not told").unwrap();
    let told = (end.subject.to_string(), end.payload);
    assert_eq!(told, (format!("{place}.params.0"), pending));
    drop(call);
}

#[tokio::test]
async fn a_call_between_ours_and_stock_is_four_messages() {
    let pair = Pair::start().await;
    let _serving = pair.serve_echo("echo").await;
    let nats = async_nats_039::connect(&pair.nats.url).await.unwrap();
    let prefix = pair.prefix.as_str().to_owned();
    let client = wrpc_transport_nats_029::Client::new(nats, prefix, None)
        .await
        .unwrap();
    let mut watch = pair.watch().await;
    use wrpc_transport_028::InvokeExt as _;
    let none: [[Option<usize>; 0]; 0] = [];
    let ((back,), _) = client
        .invoke_values::<_, (String,), (String,)>(None, INSTANCE, "echo", ("hi".into(),), none)
        .await
        .unwrap();
    assert_eq!(back, "hi");
    pair.settle().await;
    // The caller's end of parameters is sent by a task of its own, which may come a little later.
    let mut count = 0;
    let until = support::soon(3000);
    while count < 4 && tokio::time::Instant::now() < until {
        count += watch.messages().await.len();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    count += watch.messages().await.len();
    assert_eq!(count, 4);
}
