//! One connection to another process, as those see it who send.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::Subject;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout};

use super::frame::{Frame, Request};
use crate::auth::{LineEnd, entity};
use crate::error::CallError;
use crate::header::TURN;
use crate::outbox::Outgoing;
use crate::throttle::ToldQuota;

/// What subjects begin with that lead over a line.
const LINE: &str = "_LINE.";

/// How many frames may wait for the other end.
const ROOM: usize = 1024;

/// Of how many functions an end remembers whether the other one serves them, at most. Those that it does
/// not serve are forgotten, at both ends, when there are more: ids of components come and go.
pub(super) const MAX_FUNCTIONS: usize = 8192;

/// After how long a function is asked for again that is not served at the other end: that may have
/// forgotten that it was asked.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// How long a message of a call under way may wait for room.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long no request is sent for a function that had no room.
const FULL: Duration = Duration::from_millis(20);

/// How much in a second is told of what the other end does to the calls of others.
const TOLD: u32 = 32;

/// Whether a subject leads over a line.
pub(crate) fn is_line(subject: &Subject) -> bool {
    subject.starts_with(LINE)
}

/// What is known of a function at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was asked for.
    Asked,
    /// It is served there.
    There,
    /// It is not served there, as was said or asked then.
    Elsewhere(Instant),
    /// It is served there and had no room a moment ago.
    Full(Instant),
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It is on its way.
    Sent,
    /// The other end does not serve it, as far as is known.
    NotThere(Outgoing),
    /// The other end, or the way there, has no room.
    NoRoom(Outgoing),
}

/// One end of a line.
#[derive(Debug)]
pub(crate) struct Line {
    id: u32,
    /// What subjects begin with that lead over this line.
    prefix: Box<str>,
    frames: Sender<Frame>,
    functions: RwLock<HashMap<Box<str>, Known>>,
    /// Who the other end is, as far as that is known.
    end: RwLock<LineEnd>,
    told: Mutex<ToldQuota>,
}

impl Line {
    pub(crate) fn new(id: u32, end: LineEnd) -> (Self, Receiver<Frame>) {
        let (frames, queue) = mpsc::channel(ROOM);
        let line = Self {
            id,
            prefix: format!("{LINE}{id}.").into(),
            frames,
            functions: RwLock::default(),
            end: RwLock::new(end),
            told: Mutex::default(),
        };
        (line, queue)
    }

    /// Who the other end is.
    pub(crate) fn end(&self) -> LineEnd {
        self.end.read().clone()
    }

    /// Notes who the other end is.
    pub(super) fn is_of(&self, end: LineEnd) {
        *self.end.write() = end;
    }

    /// Names the line among those of its process; never zero.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether the end at `subject` is reached over this line.
    pub(crate) fn leads_to(&self, subject: &Subject) -> bool {
        subject.starts_with(&*self.prefix)
    }

    /// What has come names this line where answers to it are to go.
    pub(super) fn named(&self, mut message: Outgoing) -> Outgoing {
        message.reply = message.reply.map(|reply| {
            if reply.starts_with(TURN) {
                reply
            } else {
                [&*self.prefix, reply.as_str()].concat().into()
            }
        });
        message
    }

    /// What [`Line::named`] has named, as it came.
    pub(super) fn as_it_came(&self, mut message: Outgoing) -> Outgoing {
        message.reply = message.reply.map(|reply| {
            let came = reply.strip_prefix(&*self.prefix).map(Subject::from);
            came.unwrap_or(reply)
        });
        message
    }

    /// Sends a request, if the other end is known to serve it; one that `asks` also where nothing
    /// is known, to be declined if it is not served. Asks, for the next time, where nothing is
    /// known. `goes_by` is told the number of the line before the request leaves, and 0
    /// where it does not leave.
    pub(crate) fn request(
        &self,
        message: Outgoing,
        local_only: bool,
        asks: bool,
        goes_by: impl Fn(u32),
    ) -> Tried {
        if !self.may_serve(&message.subject) {
            return Tried::NotThere(message);
        }
        let known = self.functions.read().get(message.subject.as_str()).copied();
        match known {
            Some(Known::There) => {}
            Some(Known::Full(until)) if local_only || until <= Instant::now() => {}
            Some(Known::Full(_)) => return Tried::NoRoom(message),
            Some(Known::Asked) if asks => {}
            Some(Known::Elsewhere(at)) => {
                self.ask_again(&message.subject, at);
                return Tried::NotThere(message);
            }
            Some(Known::Asked) => return Tried::NotThere(message),
            // What cannot be remembered is not tried, or it would be tried again and again.
            None => {
                if !self.ask_for(&message.subject) || !asks {
                    return Tried::NotThere(message);
                }
            }
        }
        // First, since a line that ends looks for its calls when it takes no more of them.
        goes_by(self.id);
        match self.frames.try_reserve() {
            Ok(place) => {
                let request = Request {
                    message,
                    local_only,
                };
                place.send(Frame::Request(request));
                Tried::Sent
            }
            Err(refused) => {
                goes_by(0);
                match refused {
                    TrySendError::Full(()) => Tried::NoRoom(message),
                    TrySendError::Closed(()) => Tried::NotThere(message),
                }
            }
        }
    }

    /// Whether a function is known to be served at the other end; asks where nothing is known.
    pub(crate) fn knows(&self, function: &str) -> bool {
        if !self.may_serve(function) {
            return false;
        }
        let known = self.functions.read().get(function).copied();
        if known.is_none() {
            self.ask_for(function);
        }
        if let Some(Known::Elsewhere(at)) = known {
            self.ask_again(function, at);
        }
        matches!(known, Some(Known::There | Known::Full(_)))
    }

    /// Whether the other end is believed that it serves a function: the host, or a provider its own.
    pub(crate) fn may_serve(&self, function: &str) -> bool {
        match &*self.end.read() {
            LineEnd::Host => true,
            LineEnd::Provider(id) => entity(function).is_some_and(|(_, target)| target == &**id),
            LineEnd::Somebody => false,
        }
    }

    /// How much of what the other end did was not told since the last, if one more is to be told now.
    pub(crate) fn turn_to_tell(&self) -> Option<u64> {
        self.told.lock().turn(TOLD)
    }

    /// Asks for a function; whether that, and what is answered, is remembered.
    fn ask_for(&self, function: &str) -> bool {
        let mut functions = self.functions.write();
        if functions.contains_key(function) {
            return true;
        }
        if functions.len() >= MAX_FUNCTIONS {
            functions.retain(|_, known| matches!(known, Known::There | Known::Full(_)));
        }
        if functions.len() >= MAX_FUNCTIONS {
            return false;
        }
        let Ok(place) = self.frames.try_reserve() else {
            return false;
        };
        place.send(Frame::Want(function.into()));
        functions.insert(function.into(), Known::Asked);
        true
    }

    /// Asks once more, now and then, for a function that the other end did not serve at `at`.
    fn ask_again(&self, function: &str, at: Instant) {
        if at.elapsed() < ASK_AGAIN {
            return;
        }
        let Ok(place) = self.frames.try_reserve() else {
            return;
        };
        if let Some(known @ Known::Elsewhere(_)) = self.functions.write().get_mut(function) {
            *known = Known::Elsewhere(Instant::now());
            place.send(Frame::Want(function.into()));
        }
    }

    /// Takes in what the other end says of a function that it was asked for.
    pub(super) fn learn(&self, function: &Subject, there: bool) {
        if let Some(known) = self.functions.write().get_mut(function.as_str()) {
            *known = if there {
                Known::There
            } else {
                Known::Elsewhere(Instant::now())
            };
        }
    }

    /// The other end has declined a call of a function: it had no room for it, or for one that
    /// would have waited, does not serve it.
    pub(super) fn declined(&self, function: &Subject, local_only: bool) {
        if local_only {
            return self.learn(function, false);
        }
        let mut functions = self.functions.write();
        if let Some(known @ (Known::There | Known::Full(_))) = functions.get_mut(function.as_str())
        {
            *known = Known::Full(Instant::now() + FULL);
        }
    }

    /// Sends a message of a call under way; gives it back when it would have to wait.
    #[expect(
        clippy::result_large_err,
        reason = "the message goes on by another way, as it came"
    )]
    pub(crate) fn try_pass(&self, message: Outgoing) -> Result<(), TrySendError<Outgoing>> {
        let message = self.unnamed(message);
        match self.frames.try_reserve() {
            Ok(place) => {
                place.send(Frame::Message(message));
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(TrySendError::Full(message)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(message)),
        }
    }

    /// Sends a message that [`Line::try_pass`] has given back, as soon as there is room.
    ///
    /// # Errors
    ///
    /// [`CallError::Gone`] when the line has ended, [`CallError::Send`] when the other end takes
    /// nothing.
    pub(crate) async fn pass(&self, message: Outgoing) -> Result<(), CallError> {
        let subject = message.subject.to_string();
        match timeout(LONGEST_WAIT, self.frames.send(Frame::Message(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CallError::Gone { subject }),
            Err(_) => Err(CallError::Send(
                "the other process takes no messages".to_owned(),
            )),
        }
    }

    /// The message as the other end knows its subject.
    fn unnamed(&self, mut message: Outgoing) -> Outgoing {
        if let Some(rest) = message.subject.strip_prefix(&*self.prefix) {
            message.subject = rest.into();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::Bytes;

    fn message(subject: &'static str, reply: Option<&'static str>) -> Outgoing {
        Outgoing {
            subject: Subject::from_static(subject),
            reply: reply.map(Subject::from_static),
            headers: None,
            payload: Bytes::new(),
            deadline: None,
        }
    }

    #[test]
    fn what_came_by_a_line_is_answered_by_it() {
        let (line, mut queue) = Line::new(7, LineEnd::Somebody);
        let come = line.named(message("f", Some("_INBOX.a.1-1")));
        let reply = come.reply.unwrap();
        assert!(is_line(&reply) && line.leads_to(&reply));
        assert!(!Line::new(8, LineEnd::Somebody).0.leads_to(&reply));
        line.try_pass(Outgoing {
            subject: format!("{reply}.results").into(),
            ..message("", None)
        })
        .unwrap();
        let Ok(Frame::Message(sent)) = queue.try_recv() else {
            panic!("nothing sent");
        };
        assert_eq!(sent.subject.as_str(), "_INBOX.a.1-1.results");
        let back = line.as_it_came(line.named(message("f", Some("_INBOX.a.1-1"))));
        assert_eq!(back.reply.unwrap().as_str(), "_INBOX.a.1-1");
        let turn = line.named(message("x", Some("_TURN.5")));
        assert_eq!(turn.reply.unwrap().as_str(), "_TURN.5");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_go_where_the_function_is_known_to_be_served() {
        let (line, mut queue) = Line::new(1, LineEnd::Host);
        let f = Subject::from_static("f");
        let tried = || line.request(message("f", Some("r")), false, false, |_| {});
        assert!(matches!(tried(), Tried::NotThere(_)));
        assert!(matches!(queue.try_recv(), Ok(Frame::Want(_))));
        assert!(matches!(tried(), Tried::NotThere(_)));
        assert!(queue.try_recv().is_err(), "asked twice");
        line.learn(&f, true);
        assert!(matches!(tried(), Tried::Sent));
        line.declined(&f, false);
        assert!(matches!(tried(), Tried::NoRoom(_)));
        let waits = line.request(message("f", Some("r")), true, false, |_| {});
        assert!(matches!(waits, Tried::Sent));
        tokio::time::advance(FULL).await;
        assert!(matches!(tried(), Tried::Sent));
        line.learn(&f, false);
        line.declined(&f, false);
        assert!(matches!(tried(), Tried::NotThere(_)));
        line.learn(&Subject::from_static("never asked"), true);
        assert_eq!(line.functions.read().len(), 1);
    }

    #[test]
    fn what_may_not_leave_the_machine_tries_those_of_whom_nothing_is_known() {
        let (line, mut queue) = Line::new(1, LineEnd::Host);
        let tried = || line.request(message("f", Some("r")), true, true, |_| {});
        let sure = line.request(message("f", Some("r")), true, false, |_| {});
        assert!(matches!(sure, Tried::NotThere(_)));
        assert!(matches!(tried(), Tried::Sent));
        assert!(matches!(queue.try_recv(), Ok(Frame::Want(_))));
        assert!(matches!(queue.try_recv(), Ok(Frame::Request(_))));
        line.declined(&Subject::from_static("f"), true);
        assert!(matches!(tried(), Tried::NotThere(_)));
        line.learn(&Subject::from_static("f"), true);
        assert!(matches!(tried(), Tried::Sent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_is_served_elsewhere_is_asked_for_again_after_a_while() {
        let (line, mut queue) = Line::new(1, LineEnd::Host);
        let f = Subject::from_static("f");
        let tried = || line.request(message("f", Some("r")), true, true, |_| {});
        assert!(matches!(tried(), Tried::Sent));
        line.learn(&f, false);
        while queue.try_recv().is_ok() {}
        assert!(matches!(tried(), Tried::NotThere(_)) && !line.knows("f"));
        assert!(queue.try_recv().is_err(), "asked at once");
        tokio::time::advance(ASK_AGAIN).await;
        assert!(matches!(tried(), Tried::NotThere(_)) && !line.knows("f"));
        assert!(matches!(queue.try_recv(), Ok(Frame::Want(_))));
        assert!(queue.try_recv().is_err(), "asked twice");
        line.learn(&f, true);
        assert!(matches!(tried(), Tried::Sent));
    }

    #[test]
    fn functions_of_which_nothing_is_left_make_room_for_new_ones() {
        let (line, mut queue) = Line::new(1, LineEnd::Host);
        let mut ask = |function: &str| {
            let asked = line.ask_for(function);
            while queue.try_recv().is_ok() {}
            asked
        };
        for at in 0..MAX_FUNCTIONS {
            let function = Subject::from(format!("f{at}"));
            assert!(ask(function.as_str()));
            line.learn(&function, at == 7);
        }
        assert!(ask("new"));
        assert!(line.knows("f7"));
        assert_eq!(line.functions.read().len(), 2);
        // What is served is not forgotten.
        for at in 0..MAX_FUNCTIONS {
            ask(&format!("f{at}"));
            line.learn(&Subject::from(format!("f{at}")), true);
        }
        assert!(!ask("one more"));
    }

    #[test]
    fn an_end_is_believed_for_its_own_functions_only() {
        let own = "default.kv.wrpc.0.0.1.a:b/c.f";
        let other = "default.vault.wrpc.0.0.1.a:b/c.f";
        let sent = |line: &Line, function: &'static str| {
            let tried = line.request(message(function, Some("r")), true, true, |_| {});
            matches!(tried, Tried::Sent)
        };
        let (line, mut queue) = Line::new(1, LineEnd::Somebody);
        assert!(!sent(&line, own) && !line.knows(own));
        assert!(queue.try_recv().is_err(), "asked nobody knows whom");
        line.is_of(LineEnd::Provider("kv".into()));
        assert!(sent(&line, own));
        line.learn(&Subject::from_static(other), true);
        assert!(!sent(&line, other) && !line.knows(other));
    }

    #[test]
    fn a_full_line_gives_requests_back() {
        let (line, queue) = Line::new(1, LineEnd::Host);
        let f = Subject::from_static("f");
        let _ = line.request(message("f", None), false, false, |_| {});
        line.learn(&f, true);
        for _ in 1..ROOM {
            assert!(matches!(
                line.request(message("f", None), false, false, |_| {}),
                Tried::Sent
            ));
        }
        assert!(matches!(
            line.request(message("f", None), false, false, |_| {}),
            Tried::NoRoom(_)
        ));
        drop(queue);
        assert!(matches!(
            line.request(message("f", None), false, false, |_| {}),
            Tried::NotThere(_)
        ));
    }
}
