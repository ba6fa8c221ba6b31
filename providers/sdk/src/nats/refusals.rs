//! Subscriptions that the server of a connection refuses. The client goes on as if nothing were: they
//! just stay silent.

#![expect(
    clippy::disallowed_methods,
    reason = "asks on a subject that nobody else has, in the order of the connection"
)]

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, Event, Statistics};
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::timeout;

/// How long the server may take to say that it knows of subscriptions. What it says later is found when the
/// link is looked at.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// How often other tasks are let go first, of which one hands on what the server has said.
const YIELDS: usize = 16;

/// The connections of this process, for those to find who have the client.
static CONNECTIONS: Mutex<Vec<(Weak<Statistics>, Arc<Refusals>)>> = Mutex::new(Vec::new());

/// What is refused on one connection, of that which somebody looks at.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Vec<Weak<Watched>>>);

#[derive(Debug)]
struct Watched {
    asked: Vec<Asked>,
    is_refused: watch::Sender<bool>,
}

/// What the server may refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Message(String),
    /// With its queue group.
    Subscription(String, Option<String>),
}

impl Refusals {
    /// Lets those find this who have the client.
    pub(super) fn belong_to(self: Arc<Self>, client: &Client) {
        let mut all = CONNECTIONS.lock();
        all.retain(|(connection, _)| connection.strong_count() > 0);
        all.push((Arc::downgrade(&client.statistics()), self));
    }

    /// None of a connection that was made elsewhere.
    fn of(client: &Client) -> Option<Arc<Self>> {
        // All copies of a client have the same.
        let statistics = client.statistics();
        let all = CONNECTIONS.lock();
        let mut all = all.iter();
        let found = all.find(|(of, _)| Weak::as_ptr(of) == Arc::as_ptr(&statistics));
        found.map(|(_, refusals)| Arc::clone(refusals))
    }

    fn watch(&self, asked: Vec<Asked>) -> Arc<Watched> {
        let watched = Arc::new(Watched {
            asked,
            is_refused: watch::Sender::new(false),
        });
        let mut all = self.0.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&watched));
        watched
    }

    /// Takes in what has happened on the connection.
    pub(super) fn hear(&self, event: &Event) {
        match event {
            // All is asked for once more.
            Event::Connected => self.say(false, |_| true),
            Event::ServerError(error) => {
                if let Some(refused) = Asked::read(&error.to_string()) {
                    self.say(true, |asked| asked.is_meant_by(&refused));
                }
            }
            _ => {}
        }
    }

    fn say(&self, is_refused: bool, is_meant: impl Fn(&Asked) -> bool) {
        let all = self.0.lock();
        let watched = all.iter().filter_map(Weak::upgrade);
        for one in watched.filter(|one| one.asked.iter().any(&is_meant)) {
            one.is_refused.send_replace(is_refused);
        }
    }

    /// Waits until the server has answered what was asked so far: it keeps the order of a connection, also
    /// where it refuses what is asked here.
    async fn answered(&self, client: &Client) {
        let inbox = client.new_inbox();
        let probe = self.watch(vec![
            Asked::Message(inbox.clone()),
            Asked::Subscription(inbox.clone(), None),
        ]);
        let mut refused = probe.is_refused.subscribe();
        let refused = async { refused.wait_for(|is_refused| *is_refused).await.is_ok() };
        let came = async {
            let mut own = client.subscribe(inbox.clone()).await.ok()?;
            client.publish(inbox, Bytes::new()).await.ok()?;
            own.next().await
        };
        tokio::select! {
            _ = came => {}
            _ = refused => {}
        }
    }
}

impl Asked {
    /// What the server says of a refusal: `Permissions Violation for Publish to "a.b"`, or
    /// `Permissions Violation for Subscription to "a.b" using queue "q"`. Where it takes a subscription away
    /// that it had allowed, it says its number after that: `(sid "3")`.
    fn read(text: &str) -> Option<Self> {
        let what = text.split_once("Permissions Violation for ")?.1;
        let (kind, rest) = what.split_once(" to \"")?;
        let (subject, rest) = rest.split_once('"')?;
        let subject = subject.to_owned();
        match kind {
            "Publish" => Some(Self::Message(subject)),
            "Subscription" => {
                let group = rest.strip_prefix(" using queue \"");
                let group = group.and_then(|rest| rest.split_once('"'));
                let group = group.map(|(group, _)| group.to_owned());
                Some(Self::Subscription(subject, group))
            }
            _ => None,
        }
    }

    /// Whether a refusal is about this. One that names no queue group is about all.
    fn is_meant_by(&self, refused: &Self) -> bool {
        match (self, refused) {
            (Self::Subscription(own, _), Self::Subscription(subject, None)) => own == subject,
            _ => self == refused,
        }
    }
}

/// Tells whether the server refuses a subscription, now or later: rights change, and a connection that is
/// made again asks for everything once more.
#[derive(Debug)]
pub struct SubscriptionWatch {
    subject: String,
    /// None where nobody hears what the server says on the connection, as on that of a host which the
    /// provider runs in.
    watched: Option<Arc<Watched>>,
}

impl SubscriptionWatch {
    /// Begins before there is the subscription to a subject in a queue group.
    #[must_use]
    pub fn begin(client: &Client, subject: &str, group: &str) -> Self {
        let asked = Asked::Subscription(subject.to_owned(), Some(group.to_owned()));
        Self {
            subject: subject.to_owned(),
            watched: Refusals::of(client).map(|refusals| refusals.watch(vec![asked])),
        }
    }

    /// What is subscribed to.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether the server has refused it on the connection that there is.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let watched = self.watched.as_ref();
        watched.is_some_and(|watched| *watched.is_refused.borrow())
    }
}

/// Waits until those who watch know what the server says of the subscriptions made so far, for a second at
/// most: of a server that is silent nothing is known yet.
pub async fn subscriptions_known(client: &Client) {
    let Some(refusals) = Refusals::of(client) else {
        return;
    };
    if timeout(KNOWN_WITHIN, refusals.answered(client))
        .await
        .is_err()
    {
        tracing::debug!("the NATS server has not said in time what it makes of subscriptions");
    }
    for _ in 0..YIELDS {
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use lattice_nats_box::{NatsBox, NatsBoxOptions};
    use tokio::time::sleep;

    use super::*;
    use crate::nats::{NatsSettings, connect};

    async fn until(is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.unwrap();
    }

    /// Of a user who has no inbox either.
    #[tokio::test]
    async fn a_refused_subscription_is_known_on_each_connection() {
        let users = "authorization { users: [ { user: shop, password: open, permissions: \
                     { publish: [\"a\"], subscribe: [\"a\"] } } ] }";
        let options = NatsBoxOptions {
            extra_config: users.into(),
            ..NatsBoxOptions::default()
        };
        let server = NatsBox::start_with(options).await.unwrap();
        let settings = NatsSettings {
            url: format!("nats://shop:open@127.0.0.1:{}", server.port),
            ..NatsSettings::default()
        };
        let client = connect(&settings, "test").await.unwrap().client;
        let watch = |subject| SubscriptionWatch::begin(&client, subject, "q");
        let (good, bad) = (watch("a"), watch("b.>"));
        let _heard = client.queue_subscribe("a", "q".into()).await.unwrap();
        let mut unheard = client.queue_subscribe("b.>", "q".into()).await.unwrap();
        subscriptions_known(&client).await;
        until(|| bad.is_refused()).await;
        assert!(!good.is_refused());
        // The server is asked for it once more, and says it once more.
        let later = watch("b.>");
        client.force_reconnect().await.unwrap();
        until(|| later.is_refused()).await;
        unheard.unsubscribe().await.unwrap();
        let connects = || client.statistics().connects.load(Ordering::Relaxed);
        let before = connects();
        client.force_reconnect().await.unwrap();
        until(|| connects() > before && !bad.is_refused()).await;
    }

    #[test]
    fn refusals_are_read_from_what_the_server_says() {
        let of_group = |group: &str| Asked::Subscription("a.>".into(), Some(group.into()));
        let said = |text: &str| Asked::read(&format!("nats: Permissions Violation for {text}"));
        let message = said(r#"Publish to "a.B""#).unwrap();
        assert_eq!(message, Asked::Message("a.B".into()));
        let in_group = said(r#"Subscription to "a.>" using queue "q""#).unwrap();
        assert!(of_group("q").is_meant_by(&in_group) && !of_group("r").is_meant_by(&in_group));
        let any = said(r#"Subscription to "a.>""#).unwrap();
        assert!(of_group("q").is_meant_by(&any) && !message.is_meant_by(&any));
        // As it says them when rights are taken away.
        let taken = said(r#"Subscription to "a.>" (sid "3")"#).unwrap();
        assert_eq!(taken, any);
        let taken = said(r#"Subscription to "a.>" using queue "q" (sid "3")"#).unwrap();
        assert_eq!(taken, in_group);
        assert_eq!(Asked::read("Maximum Connections Exceeded"), None);
    }
}
