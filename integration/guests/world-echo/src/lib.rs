//! Fixture with the imports and exports of the 1.x example for messages: answers with what came, and writes a line about
//! it.

wit_bindgen::generate!({
    world: "test:world-echo/world-echo",
    path: [
        "../../../interfaces/wit/wasi-logging-0.1.0-draft",
        "../../../interfaces/wit/wasmcloud-messaging-0.2.0",
        "wit",
    ],
    generate_all,
});

use exports::wasmcloud::messaging::handler::Guest;
use wasi::logging::logging::{Level, log};
use wasmcloud::messaging::consumer;
use wasmcloud::messaging::types::BrokerMessage;

struct Echo;

impl Guest for Echo {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let subject = message.reply_to.ok_or("nobody wants an answer")?;
        log(Level::Info, "world-echo", &format!("answers {subject}"));
        consumer::publish(&BrokerMessage {
            subject,
            body: message.body,
            reply_to: None,
        })
    }
}

export!(Echo);
