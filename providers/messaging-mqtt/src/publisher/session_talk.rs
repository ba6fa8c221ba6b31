//! What copies of the provider tell each other of a session that only one of them can have.
//!
//! A broker hangs up on the connection whose session is taken over by another. It may say why, but
//! need not: Mosquitto 2.0 does not where the session stays. A copy that took that for a fault would
//! take the session back, the other one too, and so on. So each says before it takes a session that
//! it does, on a topic of that session, by the connection that publishes.
//!
//! On another topic, of which earlier builds do not hear, a copy asks who has a session, by a mark of
//! its own; who has it says `held` and that mark. Of copies that ask at the same time the one with the
//! least mark has it. Who has had a session unsubscribed says `released`, and who stands by takes it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lattice_provider_sdk::Shared;
use lattice_provider_sdk::messaging::MessagingError;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Outbound, Publisher};

/// How long it may take to publish that a session is taken: without that it is taken all the same.
const TAKE_WITHIN: Duration = Duration::from_secs(1);
/// How long after the end of a connection the reason for it may arrive on the other one.
const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// How long it may be after a copy has said that it takes a session until it has it, or has given it up.
const TAKEN_AFTER: Duration = Duration::from_secs(10);
/// How long it may take until a copy hears what it has asked itself.
const ECHOED_WITHIN: Duration = Duration::from_secs(2);
/// How long after that the others may take to answer, at least and at most: that many times as long as the
/// question took to come back.
const ANSWERED_WITHIN: Duration = Duration::from_millis(300);
const ANSWERED_AT_LAST: Duration = Duration::from_secs(2);
const LONGER: u32 = 3;
/// What is behind the topic of a session where copies ask, answer and release; one level, so that what
/// lets a user at the one lets it at the other.
const TALK: &str = ".held";
/// What the mark is behind in an answer.
const HELD: &str = "held ";
const RELEASED: &str = "released";
/// What the mark of one begins with that does not want the session: it is after all others.
const LOOKS: &str = "~";

/// What a copy has heard of its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Not even the question.
    Nothing,
    /// The question.
    Nobody,
    /// Somebody has the session.
    Held,
}

/// What is known of one session.
#[derive(Debug)]
struct Known {
    /// When another copy has last said that it takes it.
    taken_at: watch::Sender<Option<Instant>>,
    /// Told when it has been released.
    released: watch::Sender<()>,
    /// How many links of this copy have it.
    holders: usize,
    /// The questions of this copy, by their marks.
    asking: HashMap<String, watch::Sender<Answer>>,
}

impl Known {
    fn new() -> Self {
        Self {
            taken_at: watch::Sender::new(None),
            released: watch::Sender::new(()),
            holders: 0,
            asking: HashMap::new(),
        }
    }

    /// Hears a question; returns whether somebody here has the session.
    fn asked(&self, mark: &str) -> bool {
        if let Some(own) = self.asking.get(mark) {
            own.send_if_modified(|answer| {
                let is_first = *answer == Answer::Nothing;
                if is_first {
                    *answer = Answer::Nobody;
                }
                is_first
            });
        }
        let mut is_held = self.holders > 0;
        for (other, answer) in &self.asking {
            // Who was broken off asks no more.
            if answer.receiver_count() == 0 {
                continue;
            }
            if other.as_str() > mark {
                answer.send_replace(Answer::Held);
            } else if other.as_str() < mark && *answer.borrow() != Answer::Held {
                is_held = true;
            }
        }
        is_held
    }
}

/// What is known of the sessions of the links, by their topics.
#[derive(Debug, Default)]
pub(super) struct SessionTalks(HashMap<String, Known>);

impl SessionTalks {
    /// What there is to hear.
    pub(super) fn topics(&self) -> Vec<String> {
        self.0.keys().flat_map(|topic| both(topic)).collect()
    }

    /// Begins to watch a session, and forgets those that nobody watches any more.
    fn watch(&mut self, topic: &str) -> (watch::Receiver<Option<Instant>>, watch::Receiver<()>) {
        self.0
            .retain(|_, known| known.taken_at.receiver_count() > 0);
        let known = self.known(topic);
        (known.taken_at.subscribe(), known.released.subscribe())
    }

    /// Notes what a copy says on a topic; returns what is to be answered.
    pub(super) fn heard(&self, topic: &str, body: &[u8]) -> Option<Outbound> {
        let Some(session) = topic.strip_suffix(TALK) else {
            if let Some(known) = self.0.get(topic) {
                known.taken_at.send_replace(Some(Instant::now()));
            }
            return None;
        };
        let known = self.0.get(session)?;
        let text = std::str::from_utf8(body).ok()?;
        if text == RELEASED {
            known.released.send_replace(());
        } else if let Some(mark) = text.strip_prefix(HELD) {
            if let Some(answer) = known.asking.get(mark) {
                answer.send_replace(Answer::Held);
            }
        } else if known.asked(text) {
            return Some(said(topic.to_owned(), format!("{HELD}{text}")));
        }
        None
    }

    fn known(&mut self, topic: &str) -> &mut Known {
        let known = self.0.entry(topic.to_owned());
        known.or_insert_with(Known::new)
    }

    /// Begins to ask.
    fn ask(&mut self, topic: &str, mark: &str) -> watch::Receiver<Answer> {
        let asking = &mut self.known(topic).asking;
        asking.retain(|_, answer| answer.receiver_count() > 0);
        let (answer, heard) = watch::channel(Answer::Nothing);
        asking.insert(mark.to_owned(), answer);
        heard
    }

    /// Has asked; says whether nobody has the session. Who wants it has it then.
    fn decide(&mut self, topic: &str, mark: &str) -> bool {
        let known = self.known(topic);
        let answer = known.asking.remove(mark);
        let is_free = answer.is_some_and(|answer| *answer.borrow() == Answer::Nobody);
        if is_free && !mark.starts_with(LOOKS) {
            known.holders += 1;
        }
        is_free
    }
}

fn said(topic: String, body: String) -> Outbound {
    Outbound {
        topic,
        body: body.into(),
        properties: PublishProperties::default(),
        kept: true,
        retain: false,
    }
}

/// The topics of one session.
fn both(topic: &str) -> [String; 2] {
    [topic.to_owned(), format!("{topic}{TALK}")]
}

/// Waits until somebody says that the session is held, or everybody has had the time to; it was asked then.
async fn all_said(
    answer: &mut watch::Receiver<Answer>,
    asked: Instant,
) -> Result<(), MessagingError> {
    let echo = answer.wait_for(|answer| *answer != Answer::Nothing);
    if timeout(ECHOED_WITHIN, echo).await.is_err() {
        return Err(MessagingError::other(
            "what is published to `lattice/sessions/+` does not arrive there: the MQTT broker has to \
             let this provider publish and subscribe",
        ));
    }
    // Where the way to the broker and back is long, so is that of an answer.
    let within = (asked.elapsed() * LONGER).clamp(ANSWERED_WITHIN, ANSWERED_AT_LAST);
    let held = answer.wait_for(|answer| *answer == Answer::Held);
    let _ = timeout(within, held).await;
    Ok(())
}

/// What copies tell each other of one session, this one and the others.
pub(crate) struct SessionTalk {
    publisher: Arc<Shared<Publisher>>,
    topic: String,
    heard: watch::Receiver<Option<Instant>>,
    released: watch::Receiver<()>,
    /// Whether it is among the holders.
    holds: bool,
}

/// Where copies speak of a session. Its name may have what a topic may not, and copies of other
/// builds have to come to the same.
fn topic_of(session: &str) -> String {
    let digest = Sha256::digest(session);
    let hex = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
    format!("lattice/sessions/{}", hex.collect::<String>())
}

impl SessionTalk {
    /// Begins to hear of the session of that name.
    pub(crate) fn new(publisher: &Arc<Shared<Publisher>>, session: &str) -> Self {
        let topic = topic_of(session);
        let (heard, released) = publisher.talks.lock().watch(&topic);
        publisher.hear(&both(&topic));
        Self {
            publisher: Arc::clone(publisher),
            topic,
            heard,
            released,
            holds: false,
        }
    }

    /// Asks who has the session. Where nobody answers it is this copy's, and `true` is returned.
    pub(crate) async fn take_if_free(&mut self) -> Result<bool, MessagingError> {
        self.holds = self.ask("").await?;
        Ok(self.holds)
    }

    /// Asks whether nobody has the session, and leaves it to whoever wants it.
    pub(crate) async fn is_free(&self) -> Result<bool, MessagingError> {
        self.ask(LOOKS).await
    }

    async fn ask(&self, before: &str) -> Result<bool, MessagingError> {
        let number = self.publisher.next.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{before}{}.{number}", self.publisher.id);
        let mut answer = self.publisher.talks.lock().ask(&self.topic, &mark);
        let question = said(format!("{}{TALK}", self.topic), mark.clone());
        let asked = Instant::now();
        self.publisher.publish(question).await?;
        all_said(&mut answer, asked).await?;
        Ok(self.publisher.talks.lock().decide(&self.topic, &mark))
    }

    /// Tells the other copies that this one takes the session now.
    pub(crate) async fn take(&self) {
        let out = said(self.topic.clone(), self.publisher.id.clone());
        // Without a broker there is no session to take either.
        let _ = timeout(TAKE_WITHIN, self.publisher.publish(out)).await;
    }

    /// This copy has the session: what others said before is over.
    pub(crate) fn taken(&mut self) {
        self.heard.mark_unchanged();
        self.released.mark_unchanged();
        if !self.holds {
            self.publisher.talks.lock().known(&self.topic).holders += 1;
            self.holds = true;
        }
    }

    /// Another copy has the session.
    pub(crate) fn lost(&mut self) {
        if std::mem::take(&mut self.holds) {
            let mut talks = self.publisher.talks.lock();
            let known = talks.known(&self.topic);
            known.holders = known.holders.saturating_sub(1);
        }
    }

    /// Tells the other copies that the session has been unsubscribed.
    pub(crate) async fn release(&self) {
        let out = said(format!("{}{TALK}", self.topic), RELEASED.to_owned());
        let _ = timeout(TAKE_WITHIN, self.publisher.publish(out)).await;
    }

    /// Waits until another copy has had the session unsubscribed.
    pub(crate) async fn is_released(&mut self) {
        if self.released.changed().await.is_err() {
            // The connection that would tell is gone.
            std::future::pending::<()>().await;
        }
    }

    /// Whether another copy has taken the session, now that the connection has ended.
    pub(crate) async fn is_anothers(&mut self) -> bool {
        let until = Instant::now() + HEARD_WITHIN;
        while let Ok(Ok(())) = timeout_at(until, self.heard.changed()).await {
            let at = *self.heard.borrow_and_update();
            if at.is_some_and(|at| at.elapsed() < TAKEN_AFTER) {
                return true;
            }
        }
        false
    }
}

impl Drop for SessionTalk {
    fn drop(&mut self) {
        self.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "lattice/sessions/s";
    const ASKED: &str = "lattice/sessions/s.held";

    fn is_answered(talks: &SessionTalks, body: &str) -> bool {
        let expected = format!("held {body}");
        let answer = talks.heard(ASKED, body.as_bytes());
        answer.is_some_and(|answer| answer.topic == ASKED && answer.body == expected)
    }

    #[test]
    fn copies_of_all_builds_speak_on_the_same_topic() {
        assert_eq!(topic_of("a/b"), "lattice/sessions/c14cddc033f64b9d");
    }

    #[test]
    fn a_session_is_held_by_one_of_those_who_ask_for_it_at_once() {
        let [mut first, mut second] = [SessionTalks::default(), SessionTalks::default()];
        let heard = [first.ask(TOPIC, "1"), second.ask(TOPIC, "2")];
        for mark in ["2", "1"] {
            assert_eq!(is_answered(&first, mark), mark == "2");
            assert!(!is_answered(&second, mark));
        }
        // The answer is not for who gives it.
        assert!(!is_answered(&first, "held 2"));
        assert!(first.decide(TOPIC, "1"));
        assert!(!second.decide(TOPIC, "2"));
        drop(heard);
        assert!(is_answered(&first, "0") && !is_answered(&second, "0"));
    }

    #[test]
    fn who_only_looks_keeps_nobody_from_a_session() {
        let [mut looks, mut takes] = [SessionTalks::default(), SessionTalks::default()];
        let heard = [looks.ask(TOPIC, "~1"), takes.ask(TOPIC, "2")];
        for mark in ["2", "~1"] {
            assert!(!is_answered(&looks, mark));
            assert_eq!(is_answered(&takes, mark), mark == "~1");
        }
        assert!(!looks.decide(TOPIC, "~1"));
        assert!(takes.decide(TOPIC, "2"));
        drop(heard);
        let _heard = looks.ask(TOPIC, "~3");
        assert!(!is_answered(&looks, "~3"));
        assert!(looks.decide(TOPIC, "~3"));
        assert!(!is_answered(&looks, "4"));
    }

    #[test]
    fn who_does_not_hear_its_own_question_has_nothing() {
        let mut talks = SessionTalks::default();
        let _heard = talks.ask(TOPIC, "1");
        assert!(!talks.decide(TOPIC, "1"));
        let _heard = talks.ask(TOPIC, "2");
        assert!(!is_answered(&talks, "2"));
        assert!(!is_answered(&talks, "held 2"));
        assert!(!talks.decide(TOPIC, "2"));
    }

    #[test]
    fn who_was_broken_off_while_it_asked_asks_no_more() {
        let mut talks = SessionTalks::default();
        drop(talks.ask(TOPIC, "1"));
        assert!(!is_answered(&talks, "2"));
    }

    #[tokio::test]
    async fn who_holds_a_session_may_take_longer_to_say_so_where_the_broker_is_slow() {
        let (answers, mut heard) = watch::channel(Answer::Nothing);
        let asked = Instant::now();
        tokio::spawn(async move {
            for (pause, answer) in [(400, Answer::Nobody), (500, Answer::Held)] {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                answers.send_replace(answer);
            }
        });
        all_said(&mut heard, asked).await.unwrap();
        assert_eq!(*heard.borrow(), Answer::Held);
    }

    #[test]
    fn a_session_that_nobody_watches_is_forgotten() {
        let mut talks = SessionTalks::default();
        drop(talks.watch("lattice/sessions/gone"));
        let _watched = talks.watch(TOPIC);
        assert_eq!(talks.topics(), [TOPIC, ASKED]);
    }

    #[test]
    fn a_question_does_not_say_that_a_session_is_taken() {
        let mut talks = SessionTalks::default();
        let (heard, _released) = talks.watch(TOPIC);
        let _none = talks.heard(ASKED, b"1");
        assert_eq!(*heard.borrow(), None);
        let _none = talks.heard(TOPIC, b"another");
        assert!(heard.borrow().is_some());
    }
}
