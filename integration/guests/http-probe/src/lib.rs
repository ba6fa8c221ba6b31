//! Test guest that speaks HTTP in every shape: the first part of the path says what to do.
//!
//! | path | what happens |
//! | --- | --- |
//! | `/` | 200, `ok` |
//! | `/status/CODE` | that status, no body |
//! | `/request` | method, scheme, authority, path and headers of the request, a line each |
//! | `/echo` | the body of the request while it arrives, its content type, its trailers |
//! | `/fetch?ADDRESS` | sends the request on to the address; with its answer, or 502 and the error |
//! | `/relay?ADDRESS` | the same, with both bodies on their way at once |
//! | `/socket` | takes the connection over and sends back what comes |
//! | `/length` | reads the body, answers with its length |
//! | `/ignore` | answers without reading the body |
//! | `/stream/BYTES` | a body of so many bytes, counting up from 0 modulo 251 |
//! | `/slow/PIECES/MS` | a body of lines `piece N`, each after a pause |
//! | `/events/NUMBER/MS` | server-sent events: one at once, and so many more, each after a pause |
//! | `/wait/MS` | answers `waited` after a pause |
//! | `/after/MS` | answers `ok`, and returns after a pause |
//! | `/calls` | how many of these requests this instance has had: 1 when every one has its own |
//! | `/headers/NUMBER/BYTES` | so many headers `x-filler-N` of so many bytes |
//! | `/cookies` | the same header twice |
//! | `/trailers` | a body and a trailer |
//! | `/trap` | traps before it answers |
//! | `/trap-after/BYTES` | traps after so many bytes of the body |
//! | `/unfinished/BYTES` | drops the body after so many bytes without finishing it |
//! | `/silent` | returns without an answer |
//! | `/error` | answers with the error `internal-error` |
//! | `/error/MS` | the same, and returns after a pause |
//! | `/spin` | loops without an end |
//!
//! Everything else is answered with 404.

mod fetch;
mod reply;
mod request;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "test:http-probe/http-probe",
        path: [
            "../../../interfaces/wit/wasi-io-0.2.6",
            "../../../interfaces/wit/wasi-clocks-0.2.6",
            "../../../interfaces/wit/wasi-random-0.2.6",
            "../../../interfaces/wit/wasi-filesystem-0.2.6",
            "../../../interfaces/wit/wasi-sockets-0.2.6",
            "../../../interfaces/wit/wasi-cli-0.2.6",
            "../../../interfaces/wit/wasi-http-0.2.6",
            "wit",
        ],
        generate_all,
    });
}

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{ErrorCode, IncomingRequest, ResponseOutparam};
use reply::Reply;

/// Lives as long as the instance.
static CALLS: AtomicU64 = AtomicU64::new(0);

struct HttpProbe;

impl Guest for HttpProbe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        // A failed write means that the caller has gone away: nothing is left to do.
        let _ = match parts.as_slice() {
            ["fetch"] => fetch::answer(request, out),
            ["relay"] => fetch::relay(request, out),
            ["request" | "echo" | "length" | "ignore" | "socket", ..] => {
                request::answer(parts[0], request, out)
            }
            ["error", pause] => {
                let failed = misbehave("error", out);
                wait(number(pause));
                failed
            }
            ["trap" | "silent" | "error" | "spin", ..] => misbehave(parts[0], out),
            _ => answer(&parts, out),
        };
    }
}

/// Answers that do not depend on the request's body.
fn answer(parts: &[&str], out: ResponseOutparam) -> reply::Sent {
    match *parts {
        [""] => Reply::new(200).send(out).text("ok\n"),
        ["status", code] => Reply::new(number(code) as u16).send(out).text(""),
        ["stream", bytes] => Reply::new(200).send(out).counting(number(bytes)),
        ["slow", pieces, pause] => slow(number(pieces), number(pause), out),
        ["events", count, pause] => events(number(count), number(pause), out),
        ["wait", pause] => {
            wait(number(pause));
            Reply::new(200).send(out).text("waited\n")
        }
        ["after", pause] => {
            let sent = Reply::new(200).send(out).text("ok\n");
            wait(number(pause));
            sent
        }
        ["calls"] => {
            let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
            Reply::new(200).send(out).text(&calls.to_string())
        }
        ["headers", count, bytes] => {
            let value = "v".repeat(number(bytes) as usize);
            let fill = |reply: Reply, index| reply.header(&format!("x-filler-{index}"), &value);
            (0..number(count))
                .fold(Reply::new(200), fill)
                .send(out)
                .text("")
        }
        ["cookies"] => {
            let reply = Reply::new(200)
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2");
            reply.send(out).text("")
        }
        ["trailers"] => Reply::new(200)
            .header("trailer", "x-end")
            .send(out)
            .text_with_trailer("body\n", ("x-end", "done")),
        ["trap-after", bytes] => {
            let mut body = Reply::new(200).send(out);
            body.write_counting(number(bytes))?;
            panic!("trap after {bytes} bytes, as asked");
        }
        ["unfinished", bytes] => {
            let mut body = Reply::new(200).send(out);
            body.write_counting(number(bytes))
        }
        _ => Reply::new(404).send(out).text("no such test\n"),
    }
}

fn misbehave(kind: &str, out: ResponseOutparam) -> reply::Sent {
    match kind {
        "trap" => panic!("trap, as asked"),
        "error" => {
            let error = ErrorCode::InternalError(Some("error, as asked".to_owned()));
            ResponseOutparam::set(out, Err(error));
            Ok(())
        }
        "silent" => Ok(()),
        _ => {
            let mut round = 0_u64;
            loop {
                round = black_box(round.wrapping_add(1));
            }
        }
    }
}

fn slow(pieces: u64, pause: u64, out: ResponseOutparam) -> reply::Sent {
    let mut body = Reply::new(200).send(out);
    for piece in 1..=pieces {
        wait(pause);
        body.write(format!("piece {piece}\n").as_bytes())?;
    }
    body.finish(None)
}

fn events(count: u64, pause: u64, out: ResponseOutparam) -> reply::Sent {
    let reply = Reply::new(200).header("content-type", "text/event-stream");
    let mut body = reply.send(out);
    body.write(b"data: 0\n\n")?;
    for number in 1..=count {
        wait(pause);
        body.write(format!("data: {number}\n\n").as_bytes())?;
    }
    body.finish(None)
}

fn wait(milliseconds: u64) {
    monotonic_clock::subscribe_duration(milliseconds * 1_000_000).block();
}

/// A number in the path; a test that writes another thing there is wrong.
fn number(text: &str) -> u64 {
    text.parse().expect("a number in the path")
}

bindings::export!(HttpProbe with_types_in bindings);
