//! What is only so between two processes of one machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use lattice_core::Locality;
use lattice_core::provider::SecretText;
use lattice_core::road::{Road, RoadCounts};
use lattice_core::subject::RpcPrefix;
use lattice_nats_box::taken_in;
use lattice_rpc::{
    CallError, Invocation, Limiter, ListenError, Peer, PeerConfig, ServeHandle, SocketListener,
    Switchboard,
};
use support::{Pair, id, lattice, options, soon, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(5);

/// Calls and tells by which road.
async fn call_by(pair: &Pair, invocation: Invocation) -> (Result<Bytes, CallError>, Option<Road>) {
    let counts = Arc::new(RoadCounts::default());
    let call = invocation.roads(Arc::clone(&counts));
    let answer = pair.caller.call(call, Bytes::from_static(b"x")).await;
    let taken = counts.report();
    let roads = [taken.process, taken.socket, taken.bus];
    let at = roads.iter().position(|calls| *calls > 0);
    (answer, at.map(|at| Road::ALL[at]))
}

async fn road(pair: &Pair, function: &str) -> Option<Road> {
    let (answer, road) = call_by(pair, pair.invocation(function)).await;
    assert_eq!(answer.unwrap(), "x");
    road
}

/// Serves a function that never answers, with room for one call.
async fn serve_stuck(pair: &Pair, room: usize) -> ServeHandle {
    let mut narrow = options();
    narrow.limiter = Arc::new(Limiter::new(1, room, Duration::from_secs(1)));
    pair.serve_with("stuck", narrow, |call| async move {
        let _held = call;
        std::future::pending::<()>().await;
    })
    .await
}

#[tokio::test]
async fn calls_fail_at_once_when_their_line_ends() {
    let pair = Pair::start().await;
    let _serving = serve_stuck(&pair, 1).await;
    let (caller, call) = (pair.caller.clone(), pair.invocation("stuck"));
    let call =
        tokio::spawn(async move { caller.call(call.until(soon(60_000)), Bytes::new()).await });
    until(|| pair.callee.stats().serving == 1).await;
    let began = Instant::now();
    pair.joint.as_ref().unwrap().stop.cancel();
    let failed = timeout(SOON, call).await.unwrap().unwrap();
    assert!(matches!(failed, Err(CallError::Gone { .. })), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(1));
    // The handler, too, ends soon: nobody waits for it.
    pair.settle().await;
}

#[tokio::test]
async fn without_a_line_calls_go_over_nats() {
    let pair = Pair::start().await;
    let joint = pair.joint.as_ref().unwrap();
    let _serving = pair.serve_echo("echo").await;
    assert_eq!(road(&pair, "echo").await, Some(Road::Socket));
    joint.stop.cancel();
    until(|| !joint.near.reaches(&pair.subject("echo"))).await;
    assert_eq!(road(&pair, "echo").await, Some(Road::Bus));
}

#[tokio::test]
async fn a_ticket_that_is_withdrawn_ends_its_lines() {
    let mut pair = Pair::start().await;
    let _serving = pair.serve_echo("echo").await;
    assert_eq!(road(&pair, "echo").await, Some(Road::Socket));
    let subject = pair.subject("echo");
    let joint = pair.joint.as_mut().unwrap();
    joint.expected = None;
    // The process comes again, and is nobody.
    until(|| !joint.near.reaches(&subject)).await;
    assert_eq!(road(&pair, "echo").await, Some(Road::Bus));
}

#[tokio::test]
async fn a_function_that_ends_is_looked_for_elsewhere() {
    let pair = Pair::start().await;
    let joint = pair.joint.as_ref().unwrap();
    let subject = pair.subject("echo");
    let serving = pair.serve_echo("echo").await;
    assert_eq!(road(&pair, "echo").await, Some(Road::Socket));
    serving.drain(soon(1000)).await;
    until(|| !joint.near.reaches(&subject)).await;
    let (answer, _) = call_by(&pair, pair.invocation("echo")).await;
    assert!(
        matches!(answer, Err(CallError::NotServed { .. })),
        "{answer:?}"
    );
    let _again = pair.serve_echo("echo").await;
    assert_eq!(road(&pair, "echo").await, Some(Road::Socket));
}

#[tokio::test]
async fn links_that_spread_leave_the_machine_and_others_may_not() {
    let pair = Pair::start().await;
    let _serving = pair.serve_echo("echo").await;
    let spread = pair.invocation("echo").locality(Locality::Spread);
    let (answer, taken) = call_by(&pair, spread).await;
    assert_eq!(
        (answer.unwrap(), taken),
        (Bytes::from_static(b"x"), Some(Road::Bus))
    );
    let local = |function| pair.invocation(function).locality(Locality::LocalOnly);
    let (answer, taken) = call_by(&pair, local("echo")).await;
    assert_eq!(
        (answer.unwrap(), taken),
        (Bytes::from_static(b"x"), Some(Road::Socket))
    );
    let (answer, taken) = call_by(&pair, local("elsewhere")).await;
    assert!(
        matches!(answer, Err(CallError::NotLocal { .. })),
        "{answer:?}"
    );
    assert_eq!(taken, None);
}

/// A peer elsewhere, which answers with its parameters.
async fn elsewhere(pair: &Pair, function: &str) -> (Peer, ServeHandle) {
    let far = Peer::new(pair.nats.client().await.unwrap(), PeerConfig::default());
    let far = far.await.unwrap();
    let echo = |mut call: lattice_rpc::IncomingCall| async move {
        let all = call.params.all(Duration::from_secs(1)).await.unwrap();
        call.responder.reply(all).await.unwrap();
    };
    let queue = pair.prefix.queue_group();
    let subject = pair.subject(function);
    let served = far.serve(&subject, queue, options(), echo);
    let served = served.await.unwrap();
    far.confirm(SOON).await.unwrap();
    (far, served)
}

#[tokio::test]
async fn what_finds_no_room_over_the_socket_goes_on_over_nats() {
    let pair = Pair::start().await;
    let _serving = serve_stuck(&pair, 1).await;
    let _far = elsewhere(&pair, "stuck").await;
    // One call has its turn and one waits for it; the server is full then.
    let mut held = Vec::new();
    for _ in 0..2 {
        let call = pair.invocation("stuck").locality(Locality::LocalOnly);
        let (caller, call) = (pair.caller.clone(), call.until(soon(60_000)));
        held.push(tokio::spawn(async move {
            caller.call(call, Bytes::new()).await
        }));
    }
    until(|| pair.callee.stats().serving == 2).await;
    // What may not leave the machine waits there for its turn, and there is no place left.
    let local = pair.invocation("stuck").locality(Locality::LocalOnly);
    let (refused, taken) = call_by(&pair, local).await;
    let full = matches!(&refused, Err(CallError::Remote(error)) if error.code == "overloaded");
    assert!(full, "{refused:?}");
    assert_eq!(taken, Some(Road::Socket));
    // NATS gives some of the calls to the full server, others to the one elsewhere.
    let answered = async {
        loop {
            let call = pair.invocation("stuck").until(soon(300));
            let (answer, taken) = call_by(&pair, call).await;
            assert_eq!(taken, Some(Road::Bus));
            if answer.is_ok() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(10), answered).await.unwrap();
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn what_finds_no_room_over_the_socket_waits_there_while_nats_is_away() {
    let mut pair = Pair::start().await;
    let mut narrow = options();
    narrow.limiter = Arc::new(Limiter::new(1, 10, SOON));
    let _serving = pair
        .serve_with("wait", narrow, |call| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            call.responder.reply(Bytes::new()).await.unwrap();
        })
        .await;
    pair.nats.stop();
    until(|| pair.callee.nats().connection_state() != State::Connected).await;
    let calls = (0..6).map(|_| {
        let (caller, call) = (pair.caller.clone(), pair.invocation("wait"));
        tokio::spawn(async move { caller.call(call, Bytes::new()).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn who_says_what_is_no_frame_or_shows_no_ticket_of_ours_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own/host.sock");
    let listener = SocketListener::bind(&path).unwrap();
    let stop = CancellationToken::new();
    let board = Switchboard::default();
    let _expected = board.expect(&SecretText::new("abcd"), "VB");
    let run = tokio::spawn(listener.run(board, stop.clone()));
    for words in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"lattice1\xff\xff\xff\xff",
        b"lattice1\0\0\0\x01\x09",
        // A ticket of nobody.
        b"lattice1\0\0\0\x04\x07abc",
    ] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut said = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut said)).await.unwrap();
        // A reset is as good an end as any.
        assert!(read.is_err() || said == b"lattice1", "{said:?}");
    }
    // One that was given to somebody holds for that line, until it shows another.
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"lattice1\0\0\0\x05\x07abcd")
        .await
        .unwrap();
    let mut greeting = [0; 8];
    timeout(SOON, stream.read_exact(&mut greeting))
        .await
        .unwrap()
        .unwrap();
    let stays = timeout(Duration::from_millis(100), stream.read_u8()).await;
    assert!(stays.is_err(), "{stays:?}");
    stop.cancel();
    timeout(SOON, run).await.unwrap().unwrap();
    assert!(!path.exists(), "the socket stays behind");
}

/// A frame of a kind that carries a message.
fn frame(kind: u8, subject: &str, reply: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, 0];
    body.extend((subject.len() as u16).to_be_bytes());
    body.extend((reply.len() as u16).to_be_bytes());
    body.extend([0; 4]);
    for part in [subject.as_bytes(), reply.as_bytes(), payload] {
        body.extend(part);
    }
    framed(&body)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]
async fn a_process_has_a_say_in_the_calls_of_its_line_only() {
    const MESSAGE: u8 = 6;
    const DECLINED: u8 = 5;
    const WANT: u8 = 1;
    let pair = Pair::start().await;
    // A call over NATS, to somebody who takes it in and says nothing so far.
    let client = pair.nats.client().await.unwrap();
    let function = RpcPrefix::new(&lattice(), &id("elsewhere")).invocation("a:b/c", "f");
    let mut requests = client.subscribe(function.clone()).await.unwrap();
    taken_in(&client).await.unwrap();
    let invocation = Invocation::new(function.clone(), soon(20_000));
    let caller = pair.caller.clone();
    let call = tokio::spawn(async move { caller.call(invocation, Bytes::from_static(b"x")).await });
    let reply = requests.next().await.unwrap().reply.unwrap();
    // A process that knows all of it tells what it likes.
    let mut said = b"lattice1".to_vec();
    said.extend(frame(MESSAGE, &format!("{reply}.results"), "", b"forged"));
    said.extend(frame(DECLINED, &function, &reply, b"forged"));
    let victim = format!("{}.victim", function.rsplit_once('.').unwrap().0);
    said.extend(frame(DECLINED, &victim, &reply, b"forged"));
    said.extend(framed(&[&[WANT], function.as_bytes()].concat()));
    let joint = pair.joint.as_ref().unwrap();
    let mut stream = UnixStream::connect(&joint.path).await.unwrap();
    stream.write_all(&said).await.unwrap();
    // The answer to the last of it comes after all the rest was read.
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains(&function) {
        let read = timeout(SOON, stream.read_buf(&mut told)).await.unwrap();
        assert!(read.unwrap() > 0, "cut off");
    }
    pair.caller.confirm(SOON).await.unwrap();
    taken_in(&client).await.unwrap();
    assert!(requests.next().now_or_never().is_none(), "sent once more");
    assert!(!call.is_finished());
    let answer = client.publish(format!("{reply}.results"), "true".into());
    answer.await.unwrap();
    assert_eq!(call.await.unwrap().unwrap(), "true");
}

#[test]
fn a_folder_that_others_may_write_to_holds_no_socket() {
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = SocketListener::bind(&open.join("host.sock"));
    assert!(
        matches!(refused, Err(ListenError::Folder { .. })),
        "{refused:?}"
    );
}
