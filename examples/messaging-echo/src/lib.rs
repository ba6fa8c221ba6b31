//! Answers each message that wants an answer with itself.

wit_bindgen::generate!({
    world: "example:messaging-echo/echo",
    path: ["../../interfaces/wit/wasmcloud-messaging-0.2.0", "wit"],
    generate_all,
});

use exports::wasmcloud::messaging::handler::Guest;
use wasmcloud::messaging::consumer;
use wasmcloud::messaging::types::BrokerMessage;

struct Echo;

impl Guest for Echo {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let Some(subject) = message.reply_to else {
            return Ok(());
        };
        consumer::publish(&BrokerMessage {
            subject,
            body: message.body,
            reply_to: None,
        })
    }
}

export!(Echo);
