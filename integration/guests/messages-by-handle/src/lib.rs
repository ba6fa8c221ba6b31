//! Guest: messages that are resources, by both names of that package.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:messages-by-handle/messages-by-handle",
        path: [
            "../../../interfaces/wit/wasi-messaging-0.2.0-draft",
            "../../../interfaces/wit/wasmcloud-messaging-0.3.0-wasmcloud1",
            "../../../interfaces/wit/wasmcloud-bus-1.0.0",
            "wit",
        ],
        generate_all,
    });
}

use bindings::Guest;
use bindings::exports::wasi::messaging::incoming_handler;
use bindings::wasi::messaging::producer;
use bindings::wasi::messaging::request_reply::{self, RequestOptions};
use bindings::wasi::messaging::types::{Client, Error, Message};
use bindings::wasmcloud::bus::lattice::{self, CallTargetInterface};
use bindings::wasmcloud::messaging as old;

struct Messages;

impl Guest for Messages {
    fn run(what: String) -> String {
        match what.as_str() {
            "send" => send("", &Message::new(b"hi")),
            "send through `other`" => send("other", &Message::new(b"hi")),
            "send metadata" => {
                let message = Message::new(b"hi");
                message.add_metadata("key", "value");
                send("", &message)
            }
            "send all" => {
                let message = Message::new(b"hi");
                message.set_content_type("text/plain");
                message.add_metadata("key", "value");
                message.add_metadata("key", "more");
                send("", &message)
            }
            "send by the chosen link" => {
                let target = CallTargetInterface::new("wasi", "messaging", "producer");
                lattice::set_link_name("chosen", vec![target]);
                send("", &Message::new(b"hi"))
            }
            "send by the old name" => {
                let client = old::types::Client::connect("").expect("a client");
                let message = old::types::Message::new(b"old");
                let sent = old::producer::send(&client, "topic", message);
                format!("{sent:?}")
            }
            "ask" => ask(None),
            "ask one" => ask(Some(1)),
            "ask two" => ask(Some(2)),
            "ask none" => ask(Some(0)),
            "ask all" => {
                let message = Message::new(b"?");
                message.set_content_type("text/plain");
                message.add_metadata("key", "value");
                ask_with(&message, Some(1), 5000)
            }
            "fields" => fields(),
            other => format!("unknown: {other}"),
        }
    }
}

fn send(name: &str, message: &Message) -> String {
    let client = Client::connect(name).expect("a client");
    // A copy: what is sent is given away.
    let copy = Message::new(&message.data());
    if let Some(metadata) = message.metadata() {
        copy.set_metadata(&metadata);
    }
    if let Some(content_type) = message.content_type() {
        copy.set_content_type(&content_type);
    }
    let sent = producer::send(&client, "topic", copy);
    client.disconnect().expect("no error");
    format!("{sent:?}")
}

fn ask(replies: Option<u32>) -> String {
    ask_with(&Message::new(b"?"), replies, 250)
}

fn ask_with(message: &Message, replies: Option<u32>, timeout_ms: u32) -> String {
    let client = Client::connect("").expect("a client");
    let options = RequestOptions::new();
    options.set_timeout_ms(timeout_ms);
    if let Some(replies) = replies {
        options.set_expected_replies(replies);
    }
    let options = replies.map(|_| options);
    match request_reply::request(&client, "topic", message, options) {
        Ok(answers) => {
            let answers = answers.iter().map(|answer| {
                let topic = answer.topic().unwrap_or_default();
                let body = String::from_utf8_lossy(&answer.data()).into_owned();
                let (content_type, metadata) = (answer.content_type(), answer.metadata());
                match (content_type, metadata) {
                    (None, None) => format!("{topic}={body}"),
                    all => format!("{topic}={body} with {all:?}"),
                }
            });
            answers.collect::<Vec<_>>().join(",")
        }
        Err(error) => format!("{error:?}"),
    }
}

fn fields() -> String {
    let message = Message::new(b"one");
    message.set_data(b"two");
    message.set_content_type("text/plain");
    message.add_metadata("a", "1");
    message.add_metadata("b", "2");
    message.remove_metadata("a");
    format!(
        "{} {:?} {:?} {:?}",
        String::from_utf8_lossy(&message.data()),
        message.topic(),
        message.content_type(),
        message.metadata()
    )
}

impl incoming_handler::Guest for Messages {
    fn handle(message: Message) -> Result<(), Error> {
        if message.topic().as_deref() == Some("refused") {
            return Err(Error::PermissionDenied("not for me".to_owned()));
        }
        let answer = Message::new(&message.data());
        if let Some(metadata) = message.metadata() {
            answer.set_metadata(&metadata);
        }
        if let Some(content_type) = message.content_type() {
            answer.set_content_type(&content_type);
        }
        request_reply::reply(&message, answer)
    }
}

bindings::export!(Messages with_types_in bindings);
