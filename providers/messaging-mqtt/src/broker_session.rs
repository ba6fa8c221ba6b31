//! Sessions that brokers hold for links: they outlive connections, and this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use lattice_provider_sdk::{BoxError, Shared};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

use crate::publisher::{Publisher, SessionTalk};
use crate::subscriber::is_taken_over;

/// How long it may take to unsubscribe, less than the SDK gives a link to be forgotten.
const UNSUBSCRIBE_WITHIN: Duration = Duration::from_secs(4);

/// What has become of a session that was to be unsubscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnsubscribeOutcome {
    /// Somebody has it, and goes on with it.
    Held,
    /// It takes nothing more.
    Unsubscribed,
    /// There was none.
    Absent,
}

/// The session of a link, as this copy of the provider has it.
#[derive(Clone)]
pub(crate) struct BrokerSession {
    options: MqttOptions,
    /// Members of a group have a session each, and those are numbered: names made of hosts would leave
    /// one behind with each host that goes, which would go on taking its share of the messages.
    number: Option<Arc<AtomicU8>>,
    /// What it may be subscribed to.
    pub(crate) filters: Vec<String>,
}

impl BrokerSession {
    /// The session that is connected to like this; those of a group's members have a number more.
    pub(crate) fn new(options: MqttOptions, is_shared: bool, filters: Vec<String>) -> Self {
        Self {
            options,
            number: is_shared.then(Arc::default),
            filters,
        }
    }

    /// Whether it is the same session, whatever it is subscribed to.
    pub(crate) fn is_same_session(&self, other: &Self) -> bool {
        let name = |session: &Self| {
            (
                session.options.client_id(),
                session.options.broker_address(),
            )
        };
        name(self) == name(other) && self.number.is_some() == other.number.is_some()
    }

    /// Continues the same session from before, with the number that it has; returns the filters that it
    /// does not have any more.
    pub(crate) fn continue_from(&mut self, before: &Self) -> Vec<String> {
        self.number.clone_from(&before.number);
        let mut gone = before.filters.clone();
        gone.retain(|filter| !self.filters.contains(filter));
        gone
    }

    /// Whether it is one of a group's.
    pub(crate) fn is_numbered(&self) -> bool {
        self.number.is_some()
    }

    /// Its number in the group.
    fn number(&self) -> Option<u8> {
        let number = self.number.as_ref();
        number.map(|number| number.load(Ordering::SeqCst))
    }

    /// How it is connected to.
    pub(crate) fn options(&self) -> MqttOptions {
        self.numbered(self.number())
    }

    /// How the one of that number is connected to.
    fn numbered(&self, number: Option<u8>) -> MqttOptions {
        let mut options = self.options.clone();
        if let Some(number) = number {
            options.set_client_id(format!("{}.{number}", self.options.client_id()));
        }
        options
    }

    /// Leaves the session to the copy that has it, and takes the number of the next one of the group. Behind
    /// the last is the first.
    pub(crate) fn take_next_number(&self) {
        if let Some(number) = &self.number {
            number.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Has the broker bring nothing more to it, unless another copy has it. What it has not acknowledged
    /// stays, until the session expires or the link is put again.
    pub(crate) async fn unsubscribe(&self, publisher: &Arc<Shared<Publisher>>) {
        let all = tokio::time::timeout(UNSUBSCRIBE_WITHIN, self.unsubscribe_all(publisher));
        let why = match all.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took longer than {UNSUBSCRIBE_WITHIN:?}"),
        };
        let name = self.options.client_id();
        tracing::warn!(
            name,
            why,
            "could not unsubscribe an MQTT session, it takes messages until it expires"
        );
    }

    /// Those of copies that are gone too.
    async fn unsubscribe_all(&self, publisher: &Arc<Shared<Publisher>>) -> Result<(), BoxError> {
        let own = self.number();
        self.unsubscribe_number(own, publisher).await?;
        let Some(own) = own else {
            return Ok(());
        };
        for number in (own..=u8::MAX).skip(1) {
            if self.unsubscribe_number(Some(number), publisher).await? == UnsubscribeOutcome::Absent
            {
                break;
            }
        }
        for number in 0..own {
            self.unsubscribe_number(Some(number), publisher).await?;
        }
        Ok(())
    }

    /// Unsubscribes the session of that number if nobody has it.
    async fn unsubscribe_number(
        &self,
        number: Option<u8>,
        publisher: &Arc<Shared<Publisher>>,
    ) -> Result<UnsubscribeOutcome, BoxError> {
        let options = self.numbered(number);
        let talk = SessionTalk::new(publisher, &options.client_id());
        if !talk.is_free().await? {
            return Ok(UnsubscribeOutcome::Held);
        }
        let done = match unsubscribe(options, &self.filters, &talk).await {
            Err(error) if is_taken_over(&error) => UnsubscribeOutcome::Held,
            done => done?,
        };
        if done == UnsubscribeOutcome::Unsubscribed {
            talk.release().await;
        }
        Ok(done)
    }
}

/// Unsubscribes a session, if there is one.
async fn unsubscribe(
    options: MqttOptions,
    filters: &[String],
    talk: &SessionTalk,
) -> Result<UnsubscribeOutcome, ConnectionError> {
    let (client, mut events) = AsyncClient::new(options.clone(), filters.len() + 1);
    let mut left = filters.len();
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::ConnAck(ack)) if !ack.session_present => {
                // Somebody may have taken it since: it is not for us to end then.
                let is_free = tokio::select! {
                    () = ended(&mut events) => false,
                    is_free = talk.is_free() => is_free.unwrap_or(false),
                };
                if !is_free {
                    return Ok(UnsubscribeOutcome::Held);
                }
                discard(options).await?;
                return Ok(UnsubscribeOutcome::Absent);
            }
            Event::Incoming(Packet::ConnAck(_)) => {
                for filter in filters {
                    // There is room for all of them.
                    let _ = client.try_unsubscribe(filter.as_str());
                }
            }
            Event::Incoming(Packet::UnsubAck(_)) => {
                left = left.saturating_sub(1);
                if left == 0 {
                    let _ = client.try_disconnect();
                }
            }
            Event::Outgoing(Outgoing::Disconnect) => return Ok(UnsubscribeOutcome::Unsubscribed),
            _ => {}
        }
    }
}

/// Waits until the connection has ended.
async fn ended(events: &mut EventLoop) {
    while events.poll().await.is_ok() {}
}

/// Ends a session that was made by looking for it.
async fn discard(mut options: MqttOptions) -> Result<(), ConnectionError> {
    options.set_clean_start(true);
    options.set_session_expiry_interval(Some(0));
    let (client, mut events) = AsyncClient::new(options, 1);
    let _ = client.try_disconnect();
    while events.poll().await? != Event::Outgoing(Outgoing::Disconnect) {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str, is_shared: bool, filters: &[&str]) -> BrokerSession {
        let filters = filters.iter().copied().map(str::to_owned).collect();
        BrokerSession::new(MqttOptions::new(name, "b", 1), is_shared, filters)
    }

    #[test]
    fn a_session_that_another_copy_takes_over_is_left_for_the_next_of_the_group() {
        let shared = session("s", true, &["$share/g/a"]);
        assert_eq!(shared.options().client_id(), "s.0");
        shared.take_next_number();
        assert_eq!(shared.options().client_id(), "s.1");
        for _ in 1..u8::MAX {
            shared.take_next_number();
        }
        assert_eq!(shared.options().client_id(), "s.255");
        // It may be free by now.
        shared.take_next_number();
        assert_eq!(shared.options().client_id(), "s.0");
        let single = session("s", false, &["a"]);
        single.take_next_number();
        assert_eq!(single.options().client_id(), "s");
    }

    #[test]
    fn a_link_that_changes_keeps_its_session_and_knows_what_goes() {
        let before = session("s", true, &["$share/g/a", "$share/g/b"]);
        before.take_next_number();
        let mut now = session("s", true, &["$share/g/b", "$share/g/c"]);
        assert!(now.is_same_session(&before));
        assert_eq!(now.continue_from(&before), ["$share/g/a"]);
        assert_eq!(now.options().client_id(), "s.1");
        assert!(!now.is_same_session(&session("s", false, &["a"])));
        assert!(!now.is_same_session(&session("t", true, &["$share/g/b"])));
    }
}
