//! Who waits for what on a connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::v5::{PubAckReason, Publish, SubAck, SubscribeReasonCode};
use tokio::sync::{mpsc, oneshot, watch};

type Acknowledged = oneshot::Sender<PubAckReason>;

/// Whether the broker has the subscription to answers: `None` until it says so.
type Heard = Option<Result<(), String>>;

/// What waits on one connection.
pub(super) struct Waiting {
    /// The largest packet that the broker takes; `None` without a connection.
    connected: Option<usize>,
    /// Handed over, in this order.
    queued: VecDeque<Acknowledged>,
    /// Sent, by packet.
    sent: HashMap<u16, Acknowledged>,
    /// Asked, by number.
    asked: HashMap<u64, mpsc::Sender<Publish>>,
    heard: watch::Sender<Heard>,
    /// Told when the broker has answered who asked how it does, or the connection is lost.
    checked: watch::Sender<()>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            connected: None,
            queued: VecDeque::new(),
            sent: HashMap::new(),
            asked: HashMap::new(),
            heard: watch::Sender::new(None),
            checked: watch::Sender::new(()),
        }
    }
}

impl Waiting {
    pub(super) fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    pub(super) fn largest_packet(&self) -> usize {
        self.connected.unwrap_or(usize::MAX)
    }

    pub(super) fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.subscribe()
    }

    pub(super) fn checked(&self) -> watch::Receiver<()> {
        self.checked.subscribe()
    }

    /// Nobody unsubscribes but who asks how the broker does.
    pub(super) fn unsubscribed(&self) {
        self.checked.send_replace(());
    }

    pub(super) fn connected(&mut self, largest: Option<u32>) {
        let largest = largest.and_then(|bytes| usize::try_from(bytes).ok());
        self.connected = Some(largest.unwrap_or(usize::MAX));
    }

    pub(super) fn disconnected(&mut self) {
        self.connected = None;
        self.queued.clear();
        self.sent.clear();
        self.asked.clear();
        self.heard.send_replace(None);
        self.checked.send_replace(());
    }

    /// The broker has taken subscriptions or not: the first of a connection is that to answers, alone.
    pub(super) fn subscribed(&mut self, ack: &SubAck) {
        let mut codes = ack.return_codes.iter();
        let refused = codes.find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
        let is_first = self.heard.borrow().is_none();
        if is_first {
            let told = refused.map_or(Ok(()), |code| Err(format!("{code:?}")));
            self.heard.send_replace(Some(told));
        } else if let Some(code) = refused {
            tracing::warn!(
                ?code,
                "the MQTT broker does not let copies of this provider tell each other on \
                 `lattice/sessions/+` who has a session"
            );
        }
    }

    /// Takes a place behind those that were handed over before.
    pub(super) fn push(&mut self) -> oneshot::Receiver<PubAckReason> {
        let (sender, receiver) = oneshot::channel();
        self.queued.push_back(sender);
        receiver
    }

    /// The next one was sent as this packet; 0 is one that is not acknowledged.
    pub(super) fn sent(&mut self, packet: u16) {
        let Some(next) = self.queued.pop_front() else {
            return;
        };
        if packet == 0 {
            // Who waited may be gone.
            let _ = next.send(PubAckReason::Success);
        } else {
            self.sent.insert(packet, next);
        }
    }

    pub(super) fn acknowledged(&mut self, packet: u16, reason: PubAckReason) {
        if let Some(waiter) = self.sent.remove(&packet) {
            let _ = waiter.send(reason);
        }
    }

    pub(super) fn answered(&mut self, number: u64, answer: Publish) {
        if let Some(asker) = self.asked.get(&number) {
            // Who has as many as it wants takes no more.
            let _ = asker.try_send(answer);
        }
    }
}

/// A request that waits for its answers, until it is dropped.
pub(crate) struct Asked {
    waiting: Arc<Mutex<Waiting>>,
    number: u64,
    receiver: mpsc::Receiver<Publish>,
}

impl Asked {
    pub(super) fn new(waiting: &Arc<Mutex<Waiting>>, number: u64, expected: usize) -> Self {
        let (sender, receiver) = mpsc::channel(expected);
        waiting.lock().asked.insert(number, sender);
        Self {
            waiting: Arc::clone(waiting),
            number,
            receiver,
        }
    }

    /// The next answer; `None` when the connection is lost.
    pub(crate) async fn answer(&mut self) -> Option<Publish> {
        self.receiver.recv().await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.waiting.lock().asked.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::v5::mqttbytes::QoS;

    use super::*;

    #[test]
    fn acknowledgements_find_those_who_wait_in_the_order_of_sending() {
        let mut waiting = Waiting::default();
        waiting.connected(None);
        let mut one = waiting.push();
        let mut two = waiting.push();
        waiting.sent(7);
        waiting.sent(8);
        waiting.acknowledged(8, PubAckReason::NoMatchingSubscribers);
        assert_eq!(two.try_recv(), Ok(PubAckReason::NoMatchingSubscribers));
        assert!(one.try_recv().is_err());
        waiting.disconnected();
        assert_eq!(one.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn the_first_subscription_of_a_connection_is_that_to_answers() {
        let mut waiting = Waiting::default();
        let heard = waiting.heard();
        let ack = |code| SubAck {
            pkid: 1,
            return_codes: vec![code],
            properties: None,
        };
        let taken = ack(SubscribeReasonCode::Success(QoS::AtLeastOnce));
        let refused = ack(SubscribeReasonCode::NotAuthorized);
        waiting.subscribed(&taken);
        waiting.subscribed(&refused);
        assert_eq!(*heard.borrow(), Some(Ok(())));
        waiting.disconnected();
        assert_eq!(*heard.borrow(), None);
        waiting.subscribed(&refused);
        waiting.subscribed(&taken);
        assert_eq!(*heard.borrow(), Some(Err("NotAuthorized".to_owned())));
    }

    #[test]
    fn who_gave_up_on_an_answer_is_forgotten() {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        drop(Asked::new(&waiting, 1, 1));
        assert!(waiting.lock().asked.is_empty());
    }
}
