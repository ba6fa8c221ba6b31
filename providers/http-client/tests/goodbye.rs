//! Servers that speak HTTP/2: they leave requests to another connection, or to another time, and send answers
//! ahead of those that read them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use lattice_codec::http::ErrorCode;
use support::server::Server;
use support::{Lattice, PATIENCE, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Status 200 without a body, by the static table of HPACK.
fn answer(stream: u32) -> Vec<u8> {
    frame(HEADERS, 0x5, stream, &[0x88])
}

/// Says goodbye to all requests after the one on the stream `last`.
fn goodbye(last: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

fn refusal(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes())
}

/// The kind of the next frame, its stream and what it carries; none when the client has gone.
async fn next(stream: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], number, payload))
}

/// The stream of the next request; none when the client has gone.
async fn asked(stream: &mut TcpStream) -> Option<u32> {
    loop {
        let (kind, number, _) = next(stream).await?;
        if kind == HEADERS {
            return Some(number);
        }
    }
}

/// How much a client takes ahead on one stream, and on all of a connection.
async fn windows(stream: &mut TcpStream) -> (u32, u32) {
    const USUAL: u32 = 65_535;
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let (mut one, mut all) = (USUAL, USUAL);
    while one == USUAL || all == USUAL {
        match next(stream).await.unwrap() {
            (SETTINGS, _, payload) => {
                let mut settings = payload.chunks_exact(6);
                let window = settings.find(|setting| setting[..2] == [0, 4]);
                one = window.map_or(one, |setting| number(&setting[2..]));
            }
            (WINDOW_UPDATE, 0, payload) => all += number(&payload),
            _ => {}
        }
    }
    (one, all)
}

/// Answers requests as `reply` says by their number on their connection and their stream.
async fn server(reply: fn(usize, u32) -> Vec<u8>) -> Server {
    Server::raw(move |mut stream| async move {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        let settings = frame(SETTINGS, 0, 0, &[]);
        stream.write_all(&settings).await.unwrap();
        let mut number = 0;
        while let Some(asked) = asked(&mut stream).await {
            // The client may be gone by now.
            let _ = stream.write_all(&reply(number, asked)).await;
            number += 1;
        }
    })
    .await
}

const OVER_HTTP2: (&str, &str) = ("http2", "prior-knowledge");

#[tokio::test]
async fn safe_requests_go_by_another_connection_when_a_server_says_goodbye() {
    let lattice = Lattice::linked(&[OVER_HTTP2]).await;
    let server = server(|number, stream| match number {
        0 => answer(stream),
        _ => goodbye(stream - 2),
    })
    .await;
    for connections in 1..4 {
        assert_eq!(lattice.text(&server.url("/")).await.unwrap(), "");
        assert_eq!(server.connections(), connections);
    }
    // Without `retries` only safe ones are sent again.
    let put = lattice.fetch(request("PUT", &server.url("/"), "")).await;
    assert_eq!(put.map(|_| ()), Err(ErrorCode::ConnectionTerminated));
    assert_eq!(server.connections(), 3);
}

/// The server has too much to do: it is not asked again without a pause.
#[tokio::test]
async fn refused_requests_are_not_sent_again_at_once() {
    let server = server(|number, stream| match number {
        1 => refusal(stream),
        _ => answer(stream),
    })
    .await;
    let url = server.url("/");
    let lattice = Lattice::linked(&[OVER_HTTP2]).await;
    assert_eq!(lattice.text(&url).await, Ok(String::new()));
    let refused = lattice.text(&url).await;
    assert_eq!(refused, Err(ErrorCode::ConnectionTerminated));
    drop(lattice);
    let values = [OVER_HTTP2, ("retries", "1"), ("retry_backoff_ms", "10")];
    let lattice = Lattice::linked(&values).await;
    for _ in 0..2 {
        assert_eq!(lattice.text(&url).await, Ok(String::new()));
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn requests_that_are_refused_or_turned_away_are_sent_again_as_the_link_says() {
    let replies: [fn(usize, u32) -> Vec<u8>; 2] = [
        |number, stream| match number {
            0 => refusal(stream),
            _ => answer(stream),
        },
        |_, stream| goodbye(stream.saturating_sub(2)),
    ];
    for (reply, is_answered) in replies.into_iter().zip([true, false]) {
        let server = server(reply).await;
        let url = server.url("/");
        let lattice = Lattice::linked(&[OVER_HTTP2]).await;
        let failed = lattice.text(&url).await;
        assert_eq!(failed, Err(ErrorCode::ConnectionTerminated));
        drop(lattice);
        let values = [OVER_HTTP2, ("retries", "2"), ("retry_backoff_ms", "10")];
        let lattice = Lattice::linked(&values).await;
        let told = lattice.text(&url).await;
        match is_answered {
            true => assert_eq!(told, Ok(String::new())),
            false => assert_eq!(told, Err(ErrorCode::ConnectionTerminated)),
        }
        // Who goes away is asked by another connection each time, who refuses by the same one.
        assert_eq!(server.connections(), if is_answered { 2 } else { 4 });
    }
}

#[tokio::test]
async fn guests_that_pause_leave_room_for_the_answers_to_others() {
    let (told, mut seen) = tokio::sync::mpsc::channel(1);
    let server = Server::raw(move |mut stream| {
        let told = told.clone();
        async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            let settings = frame(SETTINGS, 0, 0, &[]);
            stream.write_all(&settings).await.unwrap();
            told.send(windows(&mut stream).await).await.unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let lattice = Lattice::linked(&[OVER_HTTP2]).await;
    let url = server.url("/");
    let seen = tokio::time::timeout(PATIENCE, seen.recv());
    tokio::select! {
        answer = lattice.text(&url) => panic!("{answer:?}"),
        seen = seen => {
            let (one, all) = seen.unwrap().unwrap();
            assert_eq!((one, all), (1024 * 1024, 16 * one));
        }
    }
}
