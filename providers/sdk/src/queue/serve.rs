//! The generated bindings in front of the queues.

use std::sync::Arc;
use std::time::Duration;

use lattice_rpc::{Context, RemoteError};
use tokio::time::Instant;

use super::backend::{
    Delivery, DeliveryAction, Depth, Message, Outcome, QueueError, Queues, RemoteSettle, Sent,
};
use super::bindings;
use super::bindings::exports::lattice::queue::consumer::{self, Handler as _};
use super::bindings::exports::lattice::queue::producer::{self, Handler as _};
use super::elsewhere::{self, Told};
use super::linked::{Linked, WAY_BACK};
use super::receipt::Scope;
use crate::backends::Backends;
use crate::complaint;
use crate::error::ServeError;
use crate::session::Session;
use crate::wire::answered;

const CONSUMER: &str = "lattice:queue/consumer@0.1.0";
const PRODUCER: &str = "lattice:queue/producer@0.1.0";
/// How long the copy that received a message is asked at most where others can do without it.
const ASKED_FOR: Duration = Duration::from_secs(2);

/// Serves `producer` and `consumer` until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub async fn serve<B: Queues>(
    session: &Session,
    backends: Arc<Backends<Linked<B>>>,
) -> Result<(), ServeError> {
    let links = Links {
        backends,
        session: session.clone(),
        home: elsewhere::home(session).into(),
    };
    if B::HELD_HERE {
        elsewhere::serve(session, &links.home, links.clone()).await?;
    }
    let server = answered! { session.server(), links;
        PRODUCER "send" send(queue: String, message: Message, delay_ms: Option<u32>);
        PRODUCER "send-many" send_many(queue: String, messages: Vec<Message>);
        CONSUMER "receive" receive(
            queue: String,
            max: u32,
            wait_ms: u32,
            lease_ms: Option<u32>
        );
        CONSUMER "settle" settle(queue: String, receipt: String, how: Outcome);
        CONSUMER "extend" extend(queue: String, receipt: String, lease_ms: u32);
        CONSUMER "depth-of" depth_of(queue: String);
    };
    let functions = bindings::serve(&server, links)
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    server.drive(functions).await
}

/// Answers each call with the queues that its link names.
pub(crate) struct Links<B> {
    backends: Arc<Backends<Linked<B>>>,
    session: Session,
    home: Arc<str>,
}

impl<B> Clone for Links<B> {
    fn clone(&self) -> Self {
        Self {
            backends: Arc::clone(&self.backends),
            session: self.session.clone(),
            home: Arc::clone(&self.home),
        }
    }
}

impl<B: Queues> Links<B> {
    pub(crate) async fn of(&self, cx: &Context) -> Result<Arc<Linked<B>>, QueueError> {
        Ok(self.backends.of(cx).await?)
    }

    async fn received(
        &self,
        cx: &Context,
        queue: &str,
        bounds: (u32, u32),
        lease: Option<u32>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let linked = self.of(cx).await?;
        let home = if B::HELD_HERE { &*self.home } else { "" };
        let scope = Scope { queue, home };
        let mut got = linked.receive(scope, bounds, lease, cx.deadline).await?;
        if B::HELD_HERE {
            for delivery in &mut got {
                delivery.receipt = elsewhere::marked(home, &delivery.receipt);
            }
        }
        Ok(got)
    }

    /// Settles or extends, where the delivery is held.
    async fn about(
        &self,
        cx: &Context,
        queue: &str,
        receipt: &str,
        about: DeliveryAction,
    ) -> Result<(), QueueError> {
        let marked = elsewhere::split(receipt).filter(|_| B::HELD_HERE);
        let (home, receipt) = marked.unwrap_or(("", receipt));
        let scope = Scope { queue, home };
        if home.is_empty() || *home == *self.home {
            return about_with(&*self.of(cx).await?, scope, receipt, about).await;
        }
        self.about_of_another(cx, scope, receipt, about).await
    }

    /// About a delivery that another copy has received.
    async fn about_of_another(
        &self,
        cx: &Context,
        scope: Scope<'_>,
        receipt: &str,
        about: DeliveryAction,
    ) -> Result<(), QueueError> {
        let others = B::by_others(&about);
        if others == RemoteSettle::First {
            let done = about_with(&*self.of(cx).await?, scope, receipt, about.clone()).await;
            if done != Err(QueueError::ReceiptExpired) {
                return done;
            }
        }
        let left = cx.deadline.saturating_duration_since(Instant::now());
        let until = match others {
            // The rest is for doing it here, before a lease of half a minute has run out.
            RemoteSettle::UnlessAnswered => Instant::now() + (left / 2).min(ASKED_FOR),
            _ => cx.deadline - left.min(WAY_BACK),
        };
        let asked = (scope.queue, receipt, &about);
        let told = elsewhere::ask(&self.session, scope.home, cx, asked, until).await;
        match told {
            Told::Answer(done) => done,
            told if is_for_others(&told, others) => {
                about_with(&*self.of(cx).await?, scope, receipt, about).await
            }
            // Whoever had the lease has ended, and the lease with it.
            Told::Ended => Err(QueueError::ReceiptExpired),
            // What it knew of a longer lease has gone with its link.
            Told::Unlinked(_) if others == RemoteSettle::First => Err(QueueError::ReceiptExpired),
            Told::Unlinked(why) | Told::Silent(why) => Err(QueueError::unavailable(format!(
                "the copy of the provider that received the message: {why}"
            ))),
        }
    }

    /// As the copy that another one asks; the outer error is for what it cannot be asked.
    pub(crate) async fn about_here(
        &self,
        cx: &Context,
        queue: &str,
        receipt: &str,
        about: DeliveryAction,
    ) -> Result<Result<(), QueueError>, RemoteError> {
        let linked = self.backends.of(cx).await;
        let linked = linked.map_err(|error| elsewhere::no_link(&error))?;
        let scope = Scope {
            queue,
            home: &self.home,
        };
        Ok(about_with(&linked, scope, receipt, about).await)
    }
}

async fn about_with<B: Queues>(
    linked: &Linked<B>,
    scope: Scope<'_>,
    receipt: &str,
    about: DeliveryAction,
) -> Result<(), QueueError> {
    match about {
        DeliveryAction::Settle(how) => linked.settle(scope, receipt, how).await,
        DeliveryAction::Extend(lease) => linked.extend(scope, receipt, lease).await,
    }
}

/// Whether others do now what the copy that received a message has not done.
fn is_for_others(told: &Told, others: RemoteSettle) -> bool {
    match told {
        Told::Answer(_) => false,
        Told::Ended | Told::Unlinked(_) => {
            matches!(
                others,
                RemoteSettle::OnceEnded | RemoteSettle::UnlessAnswered
            )
        }
        Told::Silent(_) => others == RemoteSettle::UnlessAnswered,
    }
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, QueueError>>;

fn answer<T>(function: &str, cx: &Context, queue: &str, done: Result<T, QueueError>) -> Answer<T> {
    if let Err(error) = &done {
        let source = cx.source_id.as_deref().unwrap_or("<unknown>");
        let link_name = &*cx.link_name;
        let text = error.text();
        match error {
            // What its caller did, or has to expect.
            QueueError::ReceiptExpired | QueueError::Invalid(_) | QueueError::TooLarge(_) => {
                tracing::debug!(source, link_name, function, queue, error = text, "refused");
            }
            _ => {
                let error = format_args!("{text} (queue `{queue}`)");
                complaint::warn("a queue call failed", cx, function, &error);
            }
        }
    }
    Ok(done)
}

impl<B: Queues> producer::Handler<Context> for Links<B> {
    async fn send(
        &self,
        cx: Context,
        queue: String,
        message: Message,
        delay_ms: Option<u32>,
    ) -> Answer<String> {
        let work = async { self.of(&cx).await?.send(&queue, message, delay_ms).await };
        answer("send", &cx, &queue, work.await)
    }

    async fn send_many(
        &self,
        cx: Context,
        queue: String,
        messages: Vec<Message>,
    ) -> Answer<Vec<Sent>> {
        let work = async { self.of(&cx).await?.send_many(&queue, messages).await };
        answer("send-many", &cx, &queue, work.await)
    }
}

impl<B: Queues> consumer::Handler<Context> for Links<B> {
    async fn receive(
        &self,
        cx: Context,
        queue: String,
        max: u32,
        wait_ms: u32,
        lease_ms: Option<u32>,
    ) -> Answer<Vec<Delivery>> {
        let got = self.received(&cx, &queue, (max, wait_ms), lease_ms);
        answer("receive", &cx, &queue, got.await)
    }

    async fn settle(
        &self,
        cx: Context,
        queue: String,
        receipt: String,
        how: Outcome,
    ) -> Answer<()> {
        let done = self.about(&cx, &queue, &receipt, DeliveryAction::Settle(how));
        answer("settle", &cx, &queue, done.await)
    }

    async fn extend(
        &self,
        cx: Context,
        queue: String,
        receipt: String,
        lease_ms: u32,
    ) -> Answer<()> {
        let done = self.about(&cx, &queue, &receipt, DeliveryAction::Extend(lease_ms));
        answer("extend", &cx, &queue, done.await)
    }

    async fn depth_of(&self, cx: Context, queue: String) -> Answer<Depth> {
        let work = async { self.of(&cx).await?.depth(&queue).await };
        answer("depth-of", &cx, &queue, work.await)
    }
}
