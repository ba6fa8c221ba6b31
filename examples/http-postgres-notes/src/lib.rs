//! Keeps notes in PostgreSQL: `POST /` adds the body as one, `GET /` lists them.

wit_bindgen::generate!({
    world: "example:http-postgres-notes/notes",
    path: [
        "../../interfaces/wit/wasi-io-0.2.6",
        "../../interfaces/wit/wasi-clocks-0.2.6",
        "../../interfaces/wit/wasi-random-0.2.6",
        "../../interfaces/wit/wasi-filesystem-0.2.6",
        "../../interfaces/wit/wasi-sockets-0.2.6",
        "../../interfaces/wit/wasi-cli-0.2.6",
        "../../interfaces/wit/wasi-http-0.2.6",
        "../../interfaces/wit/wasmcloud-postgres-0.1.1-draft",
        "wit",
    ],
    generate_all,
});

use exports::wasi::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasi::io::streams::StreamError;
use wasmcloud::postgres::query::{PgValue, query, query_batch};

/// The longest note.
const LONGEST: usize = 64 * 1024;

struct Notes;

impl Guest for Notes {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let answer = match request.method() {
            Method::Post => read(&request).and_then(|note| add(&note)),
            Method::Get => list(),
            _ => Ok((405, "POST or GET\n".to_owned())),
        };
        match answer {
            Ok((status, text)) => respond(out, status, &text),
            Err(error) => respond(out, 500, &format!("{error}\n")),
        }
    }
}

type Answer = Result<(u16, String), String>;

fn add(note: &str) -> Answer {
    table()?;
    // Whatever stands in a note, it is a value and no part of the statement.
    let value = PgValue::Text(note.to_owned());
    query("INSERT INTO notes (text) VALUES ($1)", &[value]).map_err(|e| format!("{e:?}"))?;
    Ok((201, "noted\n".to_owned()))
}

fn list() -> Answer {
    table()?;
    let rows = query("SELECT text FROM notes ORDER BY id", &[]).map_err(|e| format!("{e:?}"))?;
    let mut text = String::new();
    for column in rows.iter().flatten() {
        if let PgValue::Text(note) = &column.value {
            text.push_str(note);
            text.push('\n');
        }
    }
    Ok((200, text))
}

fn table() -> Result<(), String> {
    let statement =
        "CREATE TABLE IF NOT EXISTS notes (id BIGSERIAL PRIMARY KEY, text TEXT NOT NULL)";
    query_batch(statement).map_err(|error| format!("{error:?}"))
}

fn read(request: &IncomingRequest) -> Result<String, String> {
    let body = request.consume().map_err(|()| "the request has no body")?;
    let stream = body.stream().map_err(|()| "the body has no stream")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(16 * 1024) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(error.to_string()),
        }
        if bytes.len() > LONGEST {
            return Err(format!("a note has at most {LONGEST} bytes"));
        }
    }
    String::from_utf8(bytes).map_err(|_| "a note is text".to_owned())
}

fn respond(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response
        .set_status_code(status)
        .expect("the status is a valid one");
    let body = response.body().expect("a new response has its body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a new body has its stream");
    // A caller that has gone away is no reason to trap.
    let sent = text
        .as_bytes()
        .chunks(4096)
        .try_for_each(|part| stream.blocking_write_and_flush(part));
    drop(stream);
    if sent.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

export!(Notes);
