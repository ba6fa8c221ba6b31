//! Settling what another copy of the provider has received.
//!
//! Where a backend's leases belong to the process that received a message, a receipt begins with the
//! name of that process, its home. Each copy serves one function under its home, to which the others
//! pass calls on.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lattice_codec::{DecodeError, Reader, write};
use lattice_rpc::{CallError, Context, IncomingCall, Reached, RemoteError};
use tokio::time::Instant;

use super::backend::{DeliveryAction, Outcome, QueueError, Queues};
use super::serve::Links;
use crate::Backoff;
use crate::backends::NoLink;
use crate::error::{ServeError, chain};
use crate::session::Session;

/// The function, and how the name of its interface begins.
const FUNCTION: &str = "lease";
const INTERFACE: &str = "lattice:queue/home";

/// How long the rest of parameters may take to arrive.
const QUIET: Duration = Duration::from_secs(2);

/// The pauses before a copy is asked again that has no room, or stops and may end soon.
const FIRST_AGAIN: Duration = Duration::from_millis(50);
const LONGEST_AGAIN: Duration = Duration::from_secs(1);
/// How long nobody has to be there for a copy to have ended.
const MISSED_FOR: Duration = Duration::from_millis(500);

/// How many letters the name of a process has.
const NAME: usize = 20;

/// The code of a copy that has not the link that is asked about.
const NO_LINK: &str = "no-link";

/// What came of asking the copy that received a message.
#[derive(Debug)]
pub(crate) enum Told {
    /// It has answered.
    Answer(Result<(), QueueError>),
    /// It has ended: nobody serves its home.
    Ended,
    /// It runs, and has no such link.
    Unlinked(String),
    /// It has not said what it did.
    Silent(String),
}

/// The home of what `session` receives.
pub(crate) fn home(session: &Session) -> String {
    static PROCESS: OnceLock<String> = OnceLock::new();
    let process = PROCESS.get_or_init(|| {
        let mut name = nkeys::XKey::new().public_key().to_ascii_lowercase();
        name.truncate(NAME);
        name
    });
    // A process may have several sessions, each with one peer.
    let peer = std::ptr::from_ref(session.peer()).addr();
    format!("{process}{peer:x}")
}

/// A receipt that says where it can be settled.
pub(crate) fn marked(home: &str, receipt: &str) -> String {
    format!("{home}.{receipt}")
}

/// The home of a receipt and what was marked; `None` for a text that is neither.
pub(crate) fn split(receipt: &str) -> Option<(&str, &str)> {
    let (home, receipt) = receipt.split_once('.')?;
    let is_home = (NAME..=NAME + 16).contains(&home.len())
        && home.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_home.then_some((home, receipt))
}

/// Answers the other copies.
pub(crate) async fn serve<B: Queues>(
    session: &Session,
    home: &str,
    links: Links<B>,
) -> Result<(), ServeError> {
    let instance = format!("{INTERFACE}-{home}");
    let handler = move |call: IncomingCall| answer(links.clone(), call);
    session.serve(&instance, FUNCTION, handler).await
}

async fn answer<B: Queues>(links: Links<B>, mut call: IncomingCall) {
    let read = match call.params.all(QUIET).await {
        Ok(params) => read(params),
        Err(error) => {
            call.responder.fail(error.refusal()).await.ok();
            return;
        }
    };
    let done = match read {
        Ok((queue, receipt, about)) => {
            let cx = &call.context;
            links.about_here(cx, &queue, &receipt, about).await
        }
        Err(error) => Err(RemoteError::new(
            RemoteError::BAD_REQUEST,
            error.to_string(),
        )),
    };
    // A caller that is gone needs no answer.
    match done {
        Ok(done) => call.responder.reply(answered(&done)).await.ok(),
        Err(refusal) => call.responder.fail(refusal).await.ok(),
    };
}

/// What a copy says that has not the link it is asked about.
pub(crate) fn no_link(error: &NoLink) -> RemoteError {
    RemoteError::new(NO_LINK, error.to_string())
}

/// Passes a call on to the copy that can answer it, until then. One that has no room or stops is asked
/// again, as it has not begun.
pub(crate) async fn ask(
    session: &Session,
    home: &str,
    cx: &Context,
    (queue, receipt, about): (&str, &str, &DeliveryAction),
    until: Instant,
) -> Told {
    let instance = format!("{INTERFACE}-{home}");
    let link = &*cx.link_name;
    let call = session.invocation(session.id(), link, &instance, FUNCTION, until);
    let call = call.source(cx.source_id.as_deref().unwrap_or_default());
    let params = params(queue, receipt, about);
    let mut backoff = Backoff::new(FIRST_AGAIN, LONGEST_AGAIN);
    let mut was_missed = false;
    loop {
        let error = match session.peer().call(call.clone(), params.clone()).await {
            Ok(answer) => {
                let heard = heard(answer);
                return Told::Answer(
                    heard.unwrap_or_else(|error| Err(QueueError::other(error.to_string()))),
                );
            }
            Err(error) => error,
        };
        match &error {
            error if error.is_nowhere() && was_missed => return Told::Ended,
            // It may be connecting to NATS anew just now.
            error if error.is_nowhere() => {
                was_missed = true;
                let again = Instant::now() + MISSED_FOR;
                if again >= until {
                    return Told::Silent(chain(error));
                }
                tokio::time::sleep_until(again).await;
                continue;
            }
            CallError::Remote(error) if error.code == NO_LINK => {
                return Told::Unlinked(error.message.clone());
            }
            _ => {}
        }
        let next = Instant::now() + backoff.delay().max(asked(&error));
        if error.reached() != Reached::Never || next >= until {
            return Told::Silent(chain(&error));
        }
        tokio::time::sleep_until(next).await;
    }
}

/// After which time the other side asks to be called again.
fn asked(error: &CallError) -> Duration {
    match error {
        CallError::Remote(error) => Duration::from_millis(error.retry_after_ms.unwrap_or(0)),
        _ => Duration::ZERO,
    }
}

fn params(queue: &str, receipt: &str, about: &DeliveryAction) -> Bytes {
    let mut out = BytesMut::new();
    write::string(&mut out, queue);
    write::string(&mut out, receipt);
    match about {
        DeliveryAction::Settle(Outcome::Ack) => write::uleb(&mut out, 0),
        DeliveryAction::Settle(Outcome::Retry(delay)) => {
            write::uleb(&mut out, 1);
            write::option(&mut out, *delay, |out, delay| {
                write::uleb(out, delay.into())
            });
        }
        DeliveryAction::Settle(Outcome::Reject(why)) => {
            write::uleb(&mut out, 2);
            write::string(&mut out, why);
        }
        DeliveryAction::Extend(lease) => {
            write::uleb(&mut out, 3);
            write::uleb(&mut out, (*lease).into());
        }
    }
    out.freeze()
}

fn read(params: Bytes) -> Result<(String, String, DeliveryAction), DecodeError> {
    let mut reader = Reader::new(params);
    let (queue, receipt) = (reader.string()?, reader.string()?);
    let about = match reader.case("about", 4)? {
        0 => DeliveryAction::Settle(Outcome::Ack),
        1 => DeliveryAction::Settle(Outcome::Retry(reader.option(Reader::u32)?)),
        2 => DeliveryAction::Settle(Outcome::Reject(reader.string()?)),
        _ => DeliveryAction::Extend(reader.u32()?),
    };
    reader.finish()?;
    Ok((queue, receipt, about))
}

fn answered(done: &Result<(), QueueError>) -> Bytes {
    let mut out = BytesMut::new();
    let mut told = |case: u64, text: &str| {
        write::uleb(&mut out, case);
        write::string(&mut out, text);
    };
    match done {
        Ok(()) => told(0, ""),
        Err(QueueError::NoSuchQueue) => told(1, ""),
        Err(QueueError::TooLarge(most)) => told(2, &most.to_string()),
        Err(QueueError::ReceiptExpired) => told(3, ""),
        Err(QueueError::AccessDenied) => told(4, ""),
        Err(QueueError::Full(text)) => told(5, text),
        Err(QueueError::Invalid(text)) => told(6, text),
        Err(QueueError::Unavailable(text)) => told(7, text),
        Err(QueueError::Unsupported(text)) => told(8, text),
        Err(QueueError::Other(text)) => told(9, text),
    }
    out.freeze()
}

fn heard(answer: Bytes) -> Result<Result<(), QueueError>, DecodeError> {
    let mut reader = Reader::new(answer);
    let case = reader.case("error", 10)?;
    let text = reader.string()?;
    reader.finish()?;
    Ok(Err(match case {
        0 => return Ok(Ok(())),
        1 => QueueError::NoSuchQueue,
        2 => QueueError::TooLarge(text.parse().unwrap_or(0)),
        3 => QueueError::ReceiptExpired,
        4 => QueueError::AccessDenied,
        5 => QueueError::Full(text),
        6 => QueueError::Invalid(text),
        7 => QueueError::Unavailable(text),
        8 => QueueError::Unsupported(text),
        _ => QueueError::Other(text),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read() {
        let all = [
            DeliveryAction::Settle(Outcome::Ack),
            DeliveryAction::Settle(Outcome::Retry(None)),
            DeliveryAction::Settle(Outcome::Retry(Some(300))),
            DeliveryAction::Settle(Outcome::Reject("why".into())),
            DeliveryAction::Extend(70_000),
        ];
        for about in all {
            let got = read(params("jobs", "receipt", &about));
            assert_eq!(got, Ok(("jobs".into(), "receipt".into(), about)));
        }
        assert!(read(Bytes::from_static(&[0, 0, 9])).is_err());
    }

    #[test]
    fn every_answer_is_heard() {
        let text = || "text".to_owned();
        let all = [
            Ok(()),
            Err(QueueError::NoSuchQueue),
            Err(QueueError::TooLarge(7)),
            Err(QueueError::ReceiptExpired),
            Err(QueueError::AccessDenied),
            Err(QueueError::Full(text())),
            Err(QueueError::Invalid(text())),
            Err(QueueError::Unavailable(text())),
            Err(QueueError::Unsupported(text())),
            Err(QueueError::Other(text())),
        ];
        for done in all {
            assert_eq!(heard(answered(&done)), Ok(done));
        }
    }

    #[test]
    fn homes_are_told_from_other_texts() {
        let home = "a".repeat(24);
        let marked = marked(&home, "receipt.x");
        assert_eq!(split(&marked), Some((home.as_str(), "receipt.x")));
        for text in [
            "",
            ".",
            "short.x",
            &format!("{}.x", "a>".repeat(12)),
            &"a".repeat(24),
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
