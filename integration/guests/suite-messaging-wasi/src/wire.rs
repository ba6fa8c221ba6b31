//! How these guests speak with a broker: messages are resources, of which the guest does not see
//! where an answer goes. What a handler at the end of a relay tells, the witness keeps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::bindings::lattice::conformance::witness;
use crate::incoming_handler::Guest;
use crate::kit::PATIENCE_MS;
use crate::package::producer;
use crate::package::request_reply::{self, RequestOptions};
use crate::package::types::{Client, Error, Message};
use crate::{Case, Suite, handler, metadata};

/// Cases about what only messages of this shape have.
pub(crate) const CASES: &[Case] = metadata::CASES;

/// What a handler sees of the place for an answer.
pub(crate) const REPLY_TO_OF_REQUESTS: &str = "unseen";
/// The pause between two looks at what the witness was told.
const LOOK: Duration = Duration::from_millis(50);

/// A message that the component is told of.
pub(crate) struct Arrived(Message);

impl Arrived {
    pub(crate) fn subject(&self) -> String {
        self.0.topic().unwrap_or_default()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.0.data()
    }

    /// What a handler sees of the place for an answer.
    pub(crate) fn reply_to(&self) -> String {
        REPLY_TO_OF_REQUESTS.to_owned()
    }

    /// Answers the one who asked, as its metadata says.
    pub(crate) fn answer(&self, body: &[u8]) -> Result<(), String> {
        for answer in metadata::answers_of(&self.0, body) {
            let answered = request_reply::reply(&self.0, answer);
            answered.map_err(|error| words(error, "the answer"))?;
        }
        Ok(())
    }

    /// Sends to another topic, with a mark by which the one who asked finds what is told there.
    pub(crate) fn relay(&self, to: &str, rest: &[u8]) -> Result<(), String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mark = since.unwrap_or_default().as_nanos().to_string();
        publish(to, &[mark.as_bytes(), b"\n", rest].concat())?;
        self.answer(mark.as_bytes())
    }
}

impl Guest for Suite {
    fn handle(message: Message) -> Result<(), Error> {
        handler::handle(&Arrived(message)).map_err(Error::Other)
    }
}

fn client() -> Result<Client, String> {
    Client::connect("").map_err(|error| words(error, "the client"))
}

/// Sends a message.
pub(crate) fn publish(topic: &str, body: &[u8]) -> Result<(), String> {
    let sent = producer::send(&client()?, topic, Message::new(body));
    sent.map_err(|error| words(error, topic))
}

/// Asks for so many answers.
pub(crate) fn ask(
    topic: &str,
    message: &Message,
    timeout_ms: u32,
    expected: u32,
) -> Result<Vec<Message>, String> {
    let options = RequestOptions::new();
    options.set_timeout_ms(timeout_ms);
    options.set_expected_replies(expected);
    let answers = request_reply::request(&client()?, topic, message, Some(options));
    answers.map_err(|error| words(error, topic))
}

/// Asks for one answer.
pub(crate) fn request(topic: &str, body: &[u8], timeout_ms: u32) -> Result<Answer, String> {
    let answers = ask(topic, &Message::new(body), timeout_ms, 1)?;
    match &answers[..] {
        [answer] => Ok(Answer {
            subject: answer.topic().unwrap_or_default(),
            body: answer.data(),
        }),
        all => Err(format!("there are {} answers of `{topic}`", all.len())),
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) subject: String,
    pub(crate) body: Vec<u8>,
}

fn words(error: Error, what: &str) -> String {
    match error {
        // The case has no words: who asked knows for what.
        Error::Timeout => format!("{what}: timeout"),
        Error::Connection(words) | Error::PermissionDenied(words) | Error::Other(words) => words,
    }
}

/// Tells the witness, by the mark of the one who asked for a relay.
pub(crate) fn pass_on(mark: &str, told: &[u8]) -> Result<(), String> {
    handler::witnessed(&[mark.as_bytes(), b"\n", told].concat())
}

/// What the handler at the end of a relay told: the answer is the mark of it.
pub(crate) fn relayed(mark: String) -> Result<String, String> {
    let until = Instant::now() + Duration::from_millis(PATIENCE_MS.into());
    let wanted = format!("{mark}\n");
    loop {
        let told = witness::told();
        let mut told = told.iter().filter_map(|what| what.strip_prefix(&wanted));
        if let Some(found) = told.next() {
            return Ok(found.to_owned());
        }
        if Instant::now() > until {
            return Err("no handler told of what was sent".to_owned());
        }
        std::thread::sleep(LOOK);
    }
}
