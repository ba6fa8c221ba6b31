//! A session that brings messages to a component.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::messaging::{Again, Deliverer, Intake, Tasks, Verdict};
use lattice_provider_sdk::{Backoff, Shared};
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    DisconnectReasonCode, Filter, Packet, Publish, RetainForwardRule, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, StateError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker_session::BrokerSession;
use crate::dead_letters::{self, DeadLetterTarget};
use crate::message;
use crate::publisher::{Publisher, SessionTalk};
use crate::unacked::{Place, Unacked};

/// The first and the longest pause before the connection is made again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a connection lasts that was not broken from the start.
const STEADY: Duration = Duration::from_secs(10);
/// The pauses before a session is taken back that another copy of the provider has taken over.
const STAND_BY: Duration = Duration::from_secs(60);
const LONGEST_STAND_BY: Duration = Duration::from_secs(600);
/// How often it is looked whether what was under way is done when the link goes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Room for what waits to be sent: acknowledgements, of which there are fewer than this.
const OUTGOING: usize = 65_536;

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// It has not begun.
    Beginning,
    /// The broker has the subscriptions.
    Ready,
    /// Another copy of the provider has it.
    StandingBy,
    /// What is wrong.
    Failed(String),
}

/// What a session is begun with.
pub(crate) struct Session {
    pub(crate) broker_session: BrokerSession,
    /// What it is not to be subscribed to any more.
    pub(crate) gone: Vec<String>,
    pub(crate) kept: bool,
    pub(crate) deliverer: Deliverer,
    /// Posts dead letters.
    pub(crate) publisher: Arc<Shared<Publisher>>,
    /// Where they go.
    pub(crate) dead_letter_target: DeadLetterTarget,
}

/// Begins a session; its state is told by what is returned.
pub(crate) fn begin(session: Session, intake: &Intake) -> watch::Receiver<Status> {
    let (status, seen) = watch::channel(Status::Beginning);
    let (session, status) = (Arc::new(session), Arc::new(status));
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    intake.tasks().spawn(async move {
        loop {
            let choosing = choose(&session, &status);
            let Some(talk) = leaving.run_until_cancelled(choosing).await else {
                return;
            };
            let (client, events) = AsyncClient::new(session.broker_session.options(), OUTGOING);
            let most = events.options.receive_maximum().unwrap_or(u16::MAX);
            let subscriber = Arc::new(Subscriber {
                client,
                session: Arc::clone(&session),
                status: Arc::clone(&status),
                unacked: Mutex::new(Unacked::new(most.into())),
                over: Mutex::default(),
                tasks: tasks.clone(),
            });
            if subscriber.run(events, talk, &leaving).await == End::Left {
                return;
            }
        }
    });
    seen
}

/// Finds the session to take: a group's is the first from its number on for which nobody answers.
async fn choose(session: &Session, status: &watch::Sender<Status>) -> SessionTalk {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    let mut left = u8::MAX;
    loop {
        let name = session.broker_session.options().client_id();
        let mut talk = SessionTalk::new(&session.publisher, &name);
        if !session.broker_session.is_numbered() {
            return talk;
        }
        let why = match talk.take_if_free().await {
            Ok(true) => return talk,
            Ok(false) => {
                session.broker_session.take_next_number();
                if left > 0 {
                    left -= 1;
                    continue;
                }
                left = u8::MAX;
                "other members of the group have all its sessions".to_owned()
            }
            Err(error) => format!("could not ask who has which session of the group: {error}"),
        };
        status.send_replace(Status::Failed(why));
        tokio::time::sleep(backoff.delay()).await;
    }
}

/// How the work with a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The link goes.
    Left,
    /// The session, one of a group's, was taken over: it is to be asked which one is free.
    TakenOver,
}

struct Subscriber {
    client: AsyncClient,
    session: Arc<Session>,
    status: Arc<watch::Sender<Status>>,
    unacked: Mutex<Unacked<Publish>>,
    /// Cancelled when what the connection has brought is brought by another one.
    over: Mutex<CancellationToken>,
    tasks: Tasks,
}

impl Subscriber {
    async fn run(
        self: Arc<Self>,
        mut events: EventLoop,
        mut talk: SessionTalk,
        leaving: &CancellationToken,
    ) -> End {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut stand_by = Backoff::new(STAND_BY, LONGEST_STAND_BY);
        talk.take().await;
        let mut since = Instant::now();
        loop {
            let event = tokio::select! {
                biased;
                event = events.poll() => event,
                // Acknowledgements still go out, but nothing more is taken.
                () = self.is_left(leaving) => {
                    self.leave(events).await;
                    return End::Left;
                }
            };
            match event {
                Ok(event) => {
                    if let Event::Incoming(Packet::ConnAck(_)) = event {
                        since = Instant::now();
                        talk.taken();
                    }
                    self.take(event, leaving.is_cancelled());
                }
                Err(error) => {
                    self.forget(&mut events);
                    let is_anothers = talk.is_anothers().await;
                    let taken_over = is_anothers || is_taken_over(&error);
                    if taken_over && self.session.broker_session.is_numbered() {
                        self.give_up(is_anothers);
                        return End::TakenOver;
                    }
                    self.lost(&error, taken_over);
                    if since.elapsed() > STEADY {
                        backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                    }
                    let pause = match taken_over {
                        true => stand_by.delay(),
                        false => backoff.delay(),
                    };
                    if taken_over {
                        talk.lost();
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = talk.is_released(), if taken_over => {}
                        () = leaving.cancelled() => return End::Left,
                    }
                    talk.take().await;
                    since = Instant::now();
                }
            }
        }
    }

    /// Waits until the link goes and everything that was taken is acknowledged.
    async fn is_left(&self, leaving: &CancellationToken) {
        leaving.cancelled().await;
        while !self.unacked.lock().is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends what is still to be sent, and says farewell. The session stays with the broker.
    async fn leave(&self, mut events: EventLoop) {
        if self.client.try_disconnect().is_err() {
            return;
        }
        let sent = async { while events.poll().await.is_ok() {} };
        // A broker that does not hang up is hung up on.
        let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
    }

    /// Gives a connection up, with all that cannot be acknowledged on another one.
    fn forget(&self, events: &mut EventLoop) {
        let mut unacked = self.unacked.lock();
        events.clean();
        events.pending.clear();
        // What was not looked at yet could not be acknowledged any more, and comes again.
        events.state.events.retain(is_given_once);
        unacked.reconnect();
    }

    /// Gives up a group's session that was taken over. It may be free again, unless another member has said
    /// that it takes it: one that only wanted to unsubscribe it does not keep it.
    fn give_up(&self, is_anothers: bool) {
        self.begin_anew(true);
        let name = self.session.broker_session.options().client_id();
        tracing::info!(
            name,
            "the MQTT session was taken over, asking which one of the group is free"
        );
        if is_anothers {
            self.session.broker_session.take_next_number();
        }
    }

    /// Tells what has become of the connection.
    fn lost(&self, error: &ConnectionError, taken_over: bool) {
        let link = self.session.deliverer.link();
        if taken_over {
            self.begin_anew(true);
            tracing::info!(
                link,
                "another copy of this provider has taken over the MQTT session"
            );
            self.status.send_replace(Status::StandingBy);
            return;
        }
        tracing::warn!(link, %error, "no connection to the MQTT broker, connecting again");
        let why = format!("there is no connection to the MQTT broker: {error}");
        self.status.send_replace(Status::Failed(why));
    }

    /// Ends what is still done about messages of the connection before, as `they_come_again`. Where
    /// the broker has forgotten the session they do not, and are handled to the end.
    fn begin_anew(&self, they_come_again: bool) {
        let over = std::mem::take(&mut *self.over.lock());
        if they_come_again {
            over.cancel();
        }
    }

    fn take(self: &Arc<Self>, event: Event, is_leaving: bool) {
        match event {
            Event::Incoming(Packet::ConnAck(ack)) => {
                self.begin_anew(ack.session_present);
                self.subscribe();
            }
            Event::Incoming(Packet::SubAck(ack)) => self.subscribed(&ack),
            Event::Incoming(Packet::Publish(publish)) if !is_leaving => self.deliver(publish),
            _ => {}
        }
    }

    fn subscribe(&self) {
        let qos = match self.session.kept {
            true => QoS::AtLeastOnce,
            false => QoS::AtMostOnce,
        };
        let filters = self
            .session
            .broker_session
            .filters
            .iter()
            .map(|filter| Filter {
                // Not all that is retained again with each connection.
                retain_forward_rule: match filter.starts_with("$share/") {
                    true => RetainForwardRule::OnEverySubscribe,
                    false => RetainForwardRule::OnNewSubscribe,
                },
                ..Filter::new(filter, qos)
            });
        if let Err(error) = self.client.try_subscribe_many(filters) {
            let why = format!("could not subscribe: {error}");
            self.status.send_replace(Status::Failed(why));
        }
        // Behind those, so that nothing that is wanted is missed.
        for filter in &self.session.gone {
            if let Err(error) = self.client.try_unsubscribe(filter.as_str()) {
                tracing::warn!(%error, filter, "could not unsubscribe");
            }
        }
    }

    fn subscribed(&self, ack: &SubAck) {
        let mut refused = ack
            .return_codes
            .iter()
            .zip(&self.session.broker_session.filters);
        let refused = refused.find(|(code, _)| !matches!(code, SubscribeReasonCode::Success(_)));
        self.status.send_replace(match refused {
            Some((code, filter)) => Status::Failed(format!(
                "the MQTT broker refuses the subscription to `{filter}`: {code:?}"
            )),
            None => Status::Ready,
        });
    }

    /// Starts on a message. Of those that the broker keeps no more are under way than the link gives
    /// its component at once; others, for which there is no room, are lost.
    fn deliver(self: &Arc<Self>, publish: Publish) {
        if publish.qos != QoS::AtMostOnce {
            self.unacked.lock().push(publish);
            return self.go_on();
        }
        let Some(room) = self.session.deliverer.more_room(1).pop() else {
            let link = self.session.deliverer.link();
            tracing::warn!(link, "lost a message: too many are under way");
            return;
        };
        // It does not come again.
        self.spawn(publish, None, Some(room), CancellationToken::new());
    }

    /// Starts on those messages that may be under way by now.
    fn go_on(self: &Arc<Self>) {
        loop {
            let Some((place, publish)) = self.unacked.lock().begin() else {
                return;
            };
            let over = self.over.lock().clone();
            self.spawn(publish, Some(place), None, over);
        }
    }

    fn spawn(
        self: &Arc<Self>,
        publish: Publish,
        place: Option<Place>,
        room: Option<OwnedSemaphorePermit>,
        over: CancellationToken,
    ) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = this.handle(&publish, place, room) => {}
            }
        });
    }

    /// Has one message handled, and acknowledges it.
    async fn handle(
        self: &Arc<Self>,
        publish: &Publish,
        place: Option<Place>,
        room: Option<OwnedSemaphorePermit>,
    ) {
        let deliverer = &self.session.deliverer;
        let room = match room {
            Some(room) => room,
            None => deliverer.room().await,
        };
        let arriving = message::arriving(publish);
        let (verdict, _room) = match place {
            Some(_) => (deliverer.settle(&arriving, 0, Again::Here).await, room),
            None => deliverer.settle_unkept(&arriving, room).await,
        };
        match verdict {
            Verdict::Done | Verdict::Again(_) => {}
            Verdict::Dead(letter) => {
                let (dead_letter_target, publisher) =
                    (&self.session.dead_letter_target, &self.session.publisher);
                dead_letters::post(publisher, dead_letter_target, publish, &letter).await;
            }
            // Acknowledgements are in order, so that those behind it are not given either.
            Verdict::Left => return self.unacked.lock().reconnect(),
        }
        if let Some(place) = place {
            self.acknowledge(place);
        }
    }

    fn acknowledge(self: &Arc<Self>, place: Place) {
        {
            let mut unacked = self.unacked.lock();
            for publish in unacked.done(place) {
                if let Err(error) = self.client.try_ack(&publish) {
                    // It comes again with the next connection.
                    tracing::warn!(%error, "could not acknowledge a message");
                }
            }
        }
        self.go_on();
    }
}

/// Whether it is a message that the broker does not give again.
fn is_given_once(event: &Event) -> bool {
    matches!(event, Event::Incoming(Packet::Publish(publish)) if publish.qos == QoS::AtMostOnce)
}

/// Whether the broker has hung up since another connection has the session now.
pub(crate) fn is_taken_over(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        })
    )
}
