//! What messages that are resources have besides a body, and requests with other than one answer.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::handler::now_ms;
use crate::kit::{Kit, PATIENCE_MS};
use crate::package::types::Message;
use crate::{Case, ensure, wire};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("metadata arrives and comes back", kept),
    ("the content type arrives and comes back", content_type),
    ("a message without metadata arrives without", none),
    (
        "metadata that no header can be is refused by name or comes back",
        odd,
    ),
    ("a request that expects no answers is sent", no_answers),
    ("a request gets as many answers as it expects", answers),
    (
        "a request that expects too many answers gets those that came",
        too_many,
    ),
];

/// Who is asked: it answers with what the message has, as often as this metadata says.
const ECHO: &str = "suite.ask.echo";
const TIMES: &str = "suite-answers";

/// The answers of the handler.
pub(crate) fn answers_of(message: &Message, body: &[u8]) -> Vec<Message> {
    let metadata = message.metadata().unwrap_or_default();
    let said = |name: &str| {
        let mut pairs = metadata.iter();
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    };
    let times: u32 = said(TIMES).and_then(|text| text.parse().ok()).unwrap_or(1);
    let answer = |number: u32| {
        let body = match times {
            1 => body.to_vec(),
            _ => [body, number.to_string().as_bytes()].concat(),
        };
        let answer = Message::new(&body);
        if !metadata.is_empty() {
            answer.set_metadata(&metadata);
        }
        if let Some(content_type) = message.content_type() {
            answer.set_content_type(&content_type);
        }
        answer
    };
    (0..times).map(answer).collect()
}

fn with(metadata: &[(&str, &str)]) -> Message {
    let message = Message::new(b"hello");
    for (name, value) in metadata {
        message.add_metadata(name, value);
    }
    message
}

fn ask(message: &Message, timeout_ms: u32, expected: u32) -> Result<Vec<Message>, Failure> {
    let answers = wire::ask(ECHO, message, timeout_ms, expected);
    answers.map_err(|error| Failure::Failed(format!("could not ask: {error}")))
}

fn one(message: &Message) -> Result<Message, Failure> {
    let mut answers = ask(message, PATIENCE_MS, 1)?;
    match (answers.pop(), answers.pop()) {
        (Some(only), None) => Ok(only),
        _ => Err(Failure::Failed("there is not one answer".to_owned())),
    }
}

/// Pairs in the order of their names; those of one name keep theirs.
fn sorted(metadata: Option<Vec<(String, String)>>) -> Vec<(String, String)> {
    let mut metadata = metadata.unwrap_or_default();
    metadata.sort_by(|(one, _), (other, _)| one.cmp(other));
    metadata
}

fn kept(_kit: &Kit) -> Result<(), Failure> {
    let sent = with(&[
        ("key", "value"),
        ("several", "1"),
        ("several", "2"),
        ("Case-Of-Letters", "größer als ∞, with blanks: and signs"),
        ("empty", ""),
    ]);
    let answer = one(&sent)?;
    let (came, wanted) = (sorted(answer.metadata()), sorted(sent.metadata()));
    ensure!(came == wanted, "{came:?} came for {wanted:?}");
    ensure!(answer.data() == b"hello", "the body is another one");
    Ok(())
}

fn content_type(_kit: &Kit) -> Result<(), Failure> {
    let sent = Message::new(b"{}");
    sent.set_content_type("application/json; charset=utf-8");
    let answer = one(&sent)?;
    let (came, wanted) = (answer.content_type(), sent.content_type());
    ensure!(came == wanted, "{came:?} came for {wanted:?}");
    let metadata = answer.metadata();
    ensure!(
        metadata.is_none(),
        "the content type is metadata too: {metadata:?}"
    );
    Ok(())
}

fn none(_kit: &Kit) -> Result<(), Failure> {
    let answer = one(&Message::new(b"plain"))?;
    let (content_type, metadata) = (answer.content_type(), answer.metadata());
    ensure!(content_type.is_none(), "{content_type:?} came from nowhere");
    ensure!(metadata.is_none(), "{metadata:?} came from nowhere");
    Ok(())
}

fn odd(_kit: &Kit) -> Result<(), Failure> {
    for (name, value) in [
        ("two words", "x"),
        ("lines", "a\nb"),
        ("blank", " x "),
        ("", "x"),
    ] {
        let sent = with(&[(name, value)]);
        match wire::ask(ECHO, &sent, PATIENCE_MS, 1) {
            Ok(answers) => {
                let came = answers.first().and_then(Message::metadata);
                ensure!(
                    came == sent.metadata(),
                    "{came:?} came for {name:?}: {value:?}"
                );
            }
            Err(words) => ensure!(words.contains(&format!("`{name}`")), "{words}"),
        }
    }
    Ok(())
}

fn no_answers(_kit: &Kit) -> Result<(), Failure> {
    let mark = format!("none-{}", now_ms());
    let message = Message::new(format!("{mark}\nnobody waits").as_bytes());
    let answers = wire::ask("suite.kept.note", &message, PATIENCE_MS, 0);
    let answers = answers.map_err(|error| Failure::Failed(format!("could not ask: {error}")))?;
    ensure!(answers.is_empty(), "{} answers came", answers.len());
    let told = wire::relayed(mark).map_err(Failure::Failed)?;
    ensure!(told == "suite.kept.note:nobody waits", "{told:?} was told");
    Ok(())
}

/// Whatever order they come in.
fn bodies(answers: &[Message]) -> Vec<String> {
    let body = |answer: &Message| String::from_utf8_lossy(&answer.data()).into_owned();
    let mut bodies: Vec<_> = answers.iter().map(body).collect();
    bodies.sort();
    bodies
}

fn answers(_kit: &Kit) -> Result<(), Failure> {
    let came = bodies(&ask(&with(&[(TIMES, "3")]), PATIENCE_MS, 3)?);
    ensure!(came == ["hello0", "hello1", "hello2"], "{came:?} came");
    let came = bodies(&ask(&with(&[(TIMES, "3")]), PATIENCE_MS, 2)?);
    ensure!(came.len() == 2, "{came:?} came");
    Ok(())
}

fn too_many(kit: &Kit) -> Result<(), Failure> {
    // Whatever has to be made for the first request is made.
    kit.ask(ECHO, b"")?;
    let came = bodies(&ask(&with(&[(TIMES, "2")]), 3000, 5)?);
    ensure!(came == ["hello0", "hello1"], "{came:?} came");
    Ok(())
}
