//! What copies of the provider tell each other of a session that only one of them can have.
//!
//! A broker hangs up on the connection whose session is taken over by another. It may say why, but
//! need not: Mosquitto 2.0 does not where the session stays. A copy that took that for a fault would
//! take the session back, the other one too, and so on. So each says before it takes a session that
//! it does, on a topic of that session, by the connection that publishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::Shared;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Outbound, Publisher};

/// How long a claim may take to be published: without it the session is taken all the same.
const TAKE_WITHIN: Duration = Duration::from_secs(1);
/// How long after the end of a connection the reason for it may arrive on the other one.
const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// How long after a claim the session is taken, or it was given up.
const TAKEN_AFTER: Duration = Duration::from_secs(10);

/// The sessions of the links, by their topics, and when another copy has last claimed them.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<String, watch::Sender<Option<Instant>>>);

impl Claims {
    /// The topics of those that are still watched.
    pub(super) fn topics(&mut self) -> Vec<String> {
        self.0.retain(|_, heard| heard.receiver_count() > 0);
        self.0.keys().cloned().collect()
    }

    /// Notes the claim of another copy.
    pub(super) fn heard(&self, topic: &str) {
        if let Some(heard) = self.0.get(topic) {
            heard.send_replace(Some(Instant::now()));
        }
    }

    fn watch(&mut self, topic: &str) -> watch::Receiver<Option<Instant>> {
        let heard = self.0.entry(topic.to_owned());
        heard
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe()
    }
}

/// The claims of one session, this copy's and those of the others.
pub(crate) struct Claim {
    publisher: Arc<Shared<Publisher>>,
    topic: String,
    heard: watch::Receiver<Option<Instant>>,
}

/// Where copies speak of a session. Its name may have what a topic may not, and copies of other
/// builds have to come to the same.
fn topic_of(session: &str) -> String {
    let digest = Sha256::digest(session);
    let hex = digest.iter().take(8).map(|byte| format!("{byte:02x}"));
    format!("lattice/sessions/{}", hex.collect::<String>())
}

impl Claim {
    /// Begins to hear of the session of that name.
    pub(crate) fn new(publisher: &Arc<Shared<Publisher>>, session: &str) -> Self {
        let topic = topic_of(session);
        let heard = publisher.claims.lock().watch(&topic);
        publisher.hear();
        Self {
            publisher: Arc::clone(publisher),
            topic,
            heard,
        }
    }

    /// Tells the other copies that this one takes the session now.
    pub(crate) async fn take(&self) {
        let out = Outbound {
            topic: self.topic.clone(),
            body: self.publisher.id.clone().into(),
            properties: PublishProperties::default(),
            kept: true,
            retain: false,
        };
        // Without a broker there is no session to take either.
        let _ = timeout(TAKE_WITHIN, self.publisher.publish(out)).await;
    }

    /// This copy has the session: what others claimed before is over.
    pub(crate) fn taken(&mut self) {
        self.heard.mark_unchanged();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_all_builds_speak_on_the_same_topic() {
        assert_eq!(topic_of("a/b"), "lattice/sessions/c14cddc033f64b9d");
    }
}
