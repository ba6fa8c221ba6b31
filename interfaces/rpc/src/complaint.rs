//! What others do that they should not, or leave undone, for whoever reads the log. They can do it as
//! often as they like, so the lines of one kind are told together.

use async_nats::Subject;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::throttle::{Reports, Throttled, forward_throttled};

/// How many may wait to be told.
const WAITING: usize = 256;

/// How much of a name is told that anybody may have chosen.
const SHOWN: usize = 256;

/// What somebody has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Complaint {
    /// A call came without a place for its answer.
    NoReply,
    /// The accept of a call could not be sent where it was to go.
    NotAccepted,
    /// A call was not answered by its deadline, which its caller has chosen.
    Late,
    /// A call was answered twice.
    AnsweredTwice,
    /// A call was handed on to no place of its entity.
    NoPlace,
    /// A call was handed on that nobody here serves any more, and NATS takes no messages.
    NotHandedOn,
    /// A process wrote to a call that is not made over its line.
    ForeignCall,
    /// A process declined a call that it was not sent.
    NotSent,
}

/// What is told of one.
#[derive(Debug)]
pub(crate) struct Entry {
    what: Complaint,
    /// The function that was called.
    function: String,
    error: Option<String>,
    suppressed: u64,
}

impl Throttled for Entry {
    type Kind = (Complaint, String);

    fn kind(&self) -> Self::Kind {
        let function = match self.what {
            // It may be any text.
            Complaint::NoPlace => String::new(),
            _ => self.function.clone(),
        };
        (self.what, function)
    }

    fn suppressed(&mut self) -> &mut u64 {
        &mut self.suppressed
    }
}

/// Where complaints go.
#[derive(Debug)]
pub(crate) struct Complaints {
    entries: Reports<Entry>,
}

impl Complaints {
    /// Begins, and gives what has some of them told until `stop`.
    pub(crate) fn begin(
        stop: CancellationToken,
        tell: impl Fn(Entry) + Send + Sync + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (entries, coming) = mpsc::channel(WAITING);
        let telling = async move {
            stop.run_until_cancelled(forward_throttled(coming, tell))
                .await;
        };
        let entries = Reports::new(entries);
        (Self { entries }, telling)
    }

    pub(crate) fn add(&self, what: Complaint, function: &str) {
        self.send(what, function, None);
    }

    pub(crate) fn add_error(&self, what: Complaint, function: &Subject, error: &impl ToString) {
        self.send(what, function, Some(error.to_string()));
    }

    fn send(&self, what: Complaint, function: &str, error: Option<String>) {
        self.entries.send(Entry {
            what,
            function: function.chars().take(SHOWN).collect(),
            error,
            suppressed: 0,
        });
    }
}

/// Writes a line of the log.
pub(crate) fn tell(entry: Entry) {
    let what = match entry.what {
        Complaint::NoReply => "refused a call without a reply subject",
        Complaint::NotAccepted => "could not accept a call",
        Complaint::Late => "a call was not answered by its deadline",
        Complaint::AnsweredTwice => "a call was answered twice",
        Complaint::NoPlace => "ignored a call that was handed on to no place of its entity",
        Complaint::NotHandedOn => "lost a call that was handed on: NATS takes no messages",
        Complaint::ForeignCall => "a process wrote to a call that is not its own",
        Complaint::NotSent => "a process declined a call that it was not sent",
    };
    let Entry {
        function,
        error,
        suppressed,
        ..
    } = entry;
    tracing::warn!(function, error, suppressed, "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::time::sleep;
    use tokio_util::task::AbortOnDropHandle;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_kind_is_a_few_lines_whatever_is_named() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let tell = move |entry: Entry| log.lock().push((entry.what, entry.suppressed));
        let (complaints, telling) = Complaints::begin(CancellationToken::new(), tell);
        let _telling = AbortOnDropHandle::new(tokio::spawn(telling));
        for number in 0..1000 {
            complaints.add(Complaint::NoPlace, &"x".repeat(number));
            complaints.add(Complaint::NoReply, "f");
            tokio::task::yield_now().await;
        }
        assert_eq!(told.lock().len(), 2);
        sleep(Duration::from_secs(2)).await;
        let both = |count| [(Complaint::NoPlace, count), (Complaint::NoReply, count)];
        let mut lines = told.lock().clone();
        lines[2..].sort_by_key(|(what, _)| *what != Complaint::NoPlace);
        assert_eq!(lines, [both(0), both(998)].concat());
    }
}
