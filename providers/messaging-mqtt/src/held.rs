//! Sessions that brokers hold for links: they outlive connections, and this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use lattice_provider_sdk::{BoxError, Shared};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

use crate::publisher::{Claim, Publisher};
use crate::subscriber::is_taken_over;

/// How long it may take to unsubscribe, less than the SDK gives a link to be forgotten.
const UNSUBSCRIBE_WITHIN: Duration = Duration::from_secs(4);

/// What has become of a session that was to be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LetGo {
    /// Somebody has it, and goes on with it.
    Held,
    /// It takes nothing more.
    Unsubscribed,
    /// There was none.
    Absent,
}

/// The session of a link, as this copy of the provider has it.
#[derive(Clone)]
pub(crate) struct Held {
    options: MqttOptions,
    /// Members of a group have a session each, and those are numbered: names made of hosts would leave
    /// one behind with each host that goes, which would go on taking its share of the messages.
    number: Option<Arc<AtomicU8>>,
    /// What it may be subscribed to.
    pub(crate) filters: Vec<String>,
}

impl Held {
    /// The session that is connected to like this; those of a group's members have a number more.
    pub(crate) fn new(options: MqttOptions, is_shared: bool, filters: Vec<String>) -> Self {
        Self {
            options,
            number: is_shared.then(Arc::default),
            filters,
        }
    }

    /// Whether it is the same session, whatever it is subscribed to.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let name = |held: &Self| (held.options.client_id(), held.options.broker_address());
        name(self) == name(other) && self.number.is_some() == other.number.is_some()
    }

    /// As the same session from before, which has its number already; returns the filters that it does not
    /// have any more.
    pub(crate) fn follow(&mut self, before: &Self) -> Vec<String> {
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

    /// Leaves the session to the copy that has it, for the next one of the group. Behind the last is the
    /// first.
    pub(crate) fn moves_on(&self) {
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
        self.let_go(own, publisher).await?;
        let Some(own) = own else {
            return Ok(());
        };
        for number in (own..=u8::MAX).skip(1) {
            if self.let_go(Some(number), publisher).await? == LetGo::Absent {
                break;
            }
        }
        for number in 0..own {
            self.let_go(Some(number), publisher).await?;
        }
        Ok(())
    }

    /// Unsubscribes the session of that number if nobody has it.
    async fn let_go(
        &self,
        number: Option<u8>,
        publisher: &Arc<Shared<Publisher>>,
    ) -> Result<LetGo, BoxError> {
        let options = self.numbered(number);
        let claim = Claim::new(publisher, &options.client_id());
        if !claim.is_free().await? {
            return Ok(LetGo::Held);
        }
        let done = match unsubscribe(options, &self.filters, &claim).await {
            Err(error) if is_taken_over(&error) => LetGo::Held,
            done => done?,
        };
        if done == LetGo::Unsubscribed {
            claim.release().await;
        }
        Ok(done)
    }
}

/// Unsubscribes a session, if there is one.
async fn unsubscribe(
    options: MqttOptions,
    filters: &[String],
    claim: &Claim,
) -> Result<LetGo, ConnectionError> {
    let (client, mut events) = AsyncClient::new(options.clone(), filters.len() + 1);
    let mut left = filters.len();
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::ConnAck(ack)) if !ack.session_present => {
                // Somebody may have taken it since: it is not for us to end then.
                let is_free = tokio::select! {
                    () = ended(&mut events) => false,
                    is_free = claim.is_free() => is_free.unwrap_or(false),
                };
                if !is_free {
                    return Ok(LetGo::Held);
                }
                discard(options).await?;
                return Ok(LetGo::Absent);
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
            Event::Outgoing(Outgoing::Disconnect) => return Ok(LetGo::Unsubscribed),
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

    fn held(name: &str, is_shared: bool, filters: &[&str]) -> Held {
        let filters = filters.iter().copied().map(str::to_owned).collect();
        Held::new(MqttOptions::new(name, "b", 1), is_shared, filters)
    }

    #[test]
    fn a_session_that_another_copy_takes_over_is_left_for_the_next_of_the_group() {
        let shared = held("s", true, &["$share/g/a"]);
        assert_eq!(shared.options().client_id(), "s.0");
        shared.moves_on();
        assert_eq!(shared.options().client_id(), "s.1");
        for _ in 1..u8::MAX {
            shared.moves_on();
        }
        assert_eq!(shared.options().client_id(), "s.255");
        // It may be free by now.
        shared.moves_on();
        assert_eq!(shared.options().client_id(), "s.0");
        let single = held("s", false, &["a"]);
        single.moves_on();
        assert_eq!(single.options().client_id(), "s");
    }

    #[test]
    fn a_link_that_changes_keeps_its_session_and_knows_what_goes() {
        let before = held("s", true, &["$share/g/a", "$share/g/b"]);
        before.moves_on();
        let mut now = held("s", true, &["$share/g/b", "$share/g/c"]);
        assert!(now.is(&before));
        assert_eq!(now.follow(&before), ["$share/g/a"]);
        assert_eq!(now.options().client_id(), "s.1");
        assert!(!now.is(&held("s", false, &["a"])));
        assert!(!now.is(&held("t", true, &["$share/g/b"])));
    }
}
