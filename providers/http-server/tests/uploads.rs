//! Bodies that take their time, in both directions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use lattice_rpc::http::{answer, take_request};
use support::{Lattice, PATIENCE, body_at, free_address, link};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// What a component has for its answer when nobody says otherwise.
const DEFAULT: Duration = lattice_provider_sdk::DEFAULT_DEADLINE;

const PIECE: usize = 16 * 1024;

/// A component that takes all it is sent, and answers with its length.
async fn counting(lattice: &Lattice) -> lattice_rpc::ServeHandle {
    lattice
        .serve("count", 100, |call| async move {
            let mut params = call.params;
            let request = take_request(&mut params).await.unwrap();
            let Ok(body) = request.into_body().collect().await else {
                return;
            };
            let length = body.to_bytes().len().to_string();
            let response = Response::new(Full::new(Bytes::from(length)));
            let _ = answer(call.responder, Ok(response)).await;
        })
        .await
}

/// Sends the beginning of a body of so many pieces, with a pause before each, and returns what comes
/// back and how long that took from the last piece on.
async fn upload(address: &str, all: usize, sent: usize, pause: Duration) -> (String, Duration) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = all * PIECE;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..sent {
        sleep(pause).await;
        stream.write_all(&[b'x'; PIECE]).await.unwrap();
    }
    let all_sent = Instant::now();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the server closes the connection");
    (String::from_utf8(answer).unwrap(), all_sent.elapsed())
}

async fn linked(lattice: &mut Lattice, component: &str, values: &[(&str, &str)]) -> String {
    let address = free_address();
    let address_value = ("address", address.as_str());
    let values: Vec<_> = values.iter().copied().chain([address_value]).collect();
    lattice.put_ready(&link(component, &values)).await;
    address
}

#[tokio::test]
async fn an_upload_that_moves_is_not_cut_off_by_the_time_of_the_answer() {
    let mut lattice = Lattice::start(&[]).await;
    let address = linked(&mut lattice, "count", &[]).await;
    let _component = counting(&lattice).await;
    let begun = Instant::now();
    let (answer, _) = upload(&address, 12, 12, Duration::from_millis(500)).await;
    assert!(begun.elapsed() > DEFAULT);
    let told = format!("\r\n\r\n{}", 12 * PIECE);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&told),
        "{answer}"
    );
}

#[tokio::test]
async fn a_component_that_does_not_answer_has_its_time_from_the_end_of_the_upload_on() {
    let mut lattice = Lattice::start(&[]).await;
    let address = linked(&mut lattice, "mute", &[]).await;
    let (ended, mut ends) = mpsc::channel::<()>(1);
    let _component = lattice
        .serve("mute", 10, move |call| {
            let ended = ended.clone();
            async move {
                let (mut params, _responder) = (call.params, call.responder);
                let request = take_request(&mut params).await.unwrap();
                request.into_body().collect().await.unwrap();
                // Dropped when the call is cancelled.
                let _told = told_when_dropped(ended);
                std::future::pending::<()>().await;
            }
        })
        .await;
    let (answer, took) = upload(&address, 8, 8, Duration::from_millis(250)).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("deadline-exceeded"), "{answer}");
    let slack = Duration::from_millis(1900);
    assert!(
        took > DEFAULT - Duration::from_millis(100) && took < DEFAULT + slack,
        "{took:?} after the end of the upload"
    );
    let cancelled = tokio::time::timeout(PATIENCE, ends.recv()).await;
    assert_eq!(cancelled.unwrap(), Some(()));
}

/// More than goes to a component that takes nothing of it.
const TOO_MUCH: usize = 640;

/// The answer to a request whose component takes nothing of its body, which the client sends as fast as
/// it can, and how long that took.
async fn untaken(values: &[(&str, &str)]) -> (String, Duration) {
    let mut lattice = Lattice::start(&[]).await;
    let address = linked(&mut lattice, "mute", values).await;
    let _component = lattice
        .serve("mute", 10, |call| async move {
            let _held = call;
            std::future::pending::<()>().await;
        })
        .await;
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        let length = TOO_MUCH * PIECE;
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        writer.write_all(head.as_bytes()).await?;
        for _ in 0..TOO_MUCH {
            writer.write_all(&[b'x'; PIECE]).await?;
        }
        std::io::Result::Ok(writer)
    });
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(2 * PATIENCE, reader.read(&mut answer)).await;
    let length = read.expect("the server answers").unwrap();
    sending.abort();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    (answer, begun.elapsed())
}

#[tokio::test]
async fn a_component_that_takes_nothing_of_a_long_body_has_its_usual_time() {
    let (answer, took) = untaken(&[]).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("deadline-exceeded"), "{answer}");
    let slack = Duration::from_millis(1900);
    assert!(took < DEFAULT + slack, "{took:?}");
    assert!(took > DEFAULT - Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn a_limit_that_the_link_sets_holds_where_nothing_of_a_body_is_taken() {
    let (answer, took) = untaken(&[("timeout_ms", "700")]).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_component_that_takes_a_long_body_slowly_is_let_go_on() {
    let mut lattice = Lattice::start(&[]).await;
    let address = linked(&mut lattice, "slow", &[]).await;
    let _component = lattice
        .serve("slow", 10, |call| async move {
            let mut params = call.params;
            let request = take_request(&mut params).await.unwrap();
            let mut body = request.into_body();
            let (begun, mut length) = (Instant::now(), 0_u32);
            while let Some(frame) = body.frame().await {
                let taken = frame.unwrap().data_ref().map_or(0, Bytes::len);
                length += u32::try_from(taken).unwrap();
                // Half a window in more than the time of the answer.
                let slowly = length.min(640 * 1024);
                sleep_until(begun + Duration::from_secs(1) * slowly / (80 * 1024)).await;
            }
            let response = Response::new(Full::new(Bytes::from(length.to_string())));
            let _ = answer(call.responder, Ok(response)).await;
        })
        .await;
    let (answer, _) = upload(&address, 160, 160, Duration::ZERO).await;
    let told = format!("\r\n\r\n{}", 160 * PIECE);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&told),
        "{answer}"
    );
}

/// Tells when it is dropped.
fn told_when_dropped(ended: mpsc::Sender<()>) -> impl Drop {
    struct Guard(mpsc::Sender<()>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.try_send(());
        }
    }
    Guard(ended)
}

#[tokio::test]
async fn an_upload_that_stalls_ends_by_the_pause_that_its_link_allows() {
    let mut lattice = Lattice::start(&[]).await;
    let values = [("body_timeout_ms", "300")];
    let address = linked(&mut lattice, "count", &values).await;
    let _component = counting(&lattice).await;
    let (answer, took) = upload(&address, 12, 6, Duration::from_millis(20)).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body-timeout"), "{answer}");
    assert!(
        took > Duration::from_millis(250) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

/// Sends pieces of a body in chunks, with a pause before each, and returns what comes back.
async fn in_chunks(address: &str, pieces: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in pieces {
        sleep(Duration::from_millis(50)).await;
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the server closes the connection");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_that_is_sent_wrongly_is_the_fault_of_its_client() {
    let mut lattice = Lattice::start(&[]).await;
    let gives_up = linked(&mut lattice, "count", &[]).await;
    let goes_on = linked(&mut lattice, "deaf", &[]).await;
    let _components = (
        counting(&lattice).await,
        lattice
            .component("deaf", |_, request| async move {
                // As a component that makes something of what it got.
                let _ = request.into_body().collect().await;
                support::text("fine")
            })
            .await,
    );
    let trailers: Vec<_> = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let too_many = format!("0\r\n{}\r\n", trailers.concat());
    for address in [&gives_up, &goes_on] {
        for pieces in [
            &["zz\r\n"][..],
            &["4\r\nabcd\r\n", "zz\r\n"],
            &["4\r\nabcd\r\n", &too_many],
        ] {
            let answer = in_chunks(address, pieces).await;
            assert!(
                answer.starts_with("HTTP/1.1 400") && answer.contains("request-body"),
                "{pieces:?}: {answer}"
            );
        }
        let answer = in_chunks(address, &["4\r\nabcd\r\n", "0\r\n\r\n"]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn a_limit_that_the_link_sets_holds_for_uploads_too() {
    let mut lattice = Lattice::start(&[]).await;
    let address = linked(&mut lattice, "count", &[("timeout_ms", "500")]).await;
    let _component = counting(&lattice).await;
    let (answer, took) = upload(&address, 12, 6, Duration::from_millis(50)).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("deadline-exceeded"), "{answer}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn the_body_of_an_answer_may_take_longer_than_its_head() {
    let mut lattice = Lattice::start(&[]).await;
    let address = linked(&mut lattice, "slow", &[("timeout_ms", "300")]).await;
    let _component = lattice
        .serve("slow", 10, |call| async move {
            let pieces = futures::stream::unfold(0, |number| async move {
                sleep(Duration::from_millis(100)).await;
                let piece = Frame::data(Bytes::from(number.to_string()));
                (number < 8).then(|| (Ok::<_, Infallible>(piece), number + 1))
            });
            let response = Response::new(StreamBody::new(pieces));
            answer(call.responder, Ok(response)).await.unwrap();
        })
        .await;
    assert_eq!(body_at(&address, "/").await, "01234567");
}
