//! What brings messages to the queues of a link.
//!
//! The server does not tell what a queue is bound by, and a queue may be shared by links that know
//! nothing of each other. So a link has an exchange of its own between the exchange that components
//! publish to and the queues. With it all bindings of the link go, and no others:
//!
//! ```text
//! amq.topic --keys--> lattice.LATTICE.PROVIDER.COMPONENT.LINK=NAMESPACE:PACKAGE=1 --keys--> queues
//! ```
//!
//! A message that reaches a queue on two ways is in it once. That is how bindings change without a
//! gap: a second exchange is made with the new ones, then the first is made anew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
};
use lapin::protocol::AMQPSoftError;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use lattice_provider_sdk::ProviderLink;
use lattice_rabbitmq::open_channel;
use sha2::{Digest as _, Sha256};

use crate::lock::{Lock, is_refused_as};
use crate::settings::is_name;

/// The bindings of one link.
#[derive(Debug)]
pub(crate) struct Bindings {
    pub(crate) place: Place,
    /// The exchange that components publish to.
    pub(crate) exchange: String,
    /// The keys of each queue.
    pub(crate) queues: BTreeMap<String, Vec<String>>,
    /// Whether they were begun to be made again, and are not known to be complete.
    is_begun: AtomicBool,
    /// How often in a row they could not be looked at.
    misses: AtomicU32,
}

impl Bindings {
    /// Counts looks that came to nothing, and gives how many there were in a row.
    pub(crate) fn missed(&self, is_missed: bool) -> u32 {
        match is_missed {
            true => self.misses.fetch_add(1, Ordering::Relaxed) + 1,
            false => self.misses.swap(0, Ordering::Relaxed),
        }
    }

    pub(crate) fn new(
        place: Place,
        exchange: String,
        queues: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self {
            place,
            exchange,
            queues,
            is_begun: AtomicBool::new(false),
            misses: AtomicU32::new(0),
        }
    }

    /// Adds bindings that are missing. The queues have to be there.
    pub(crate) async fn add(&self, connection: &Connection) -> lapin::Result<()> {
        let channel = open_channel(connection).await?;
        self.add_to(&channel, &self.place.exchange(1)).await
    }

    /// Makes the bindings again if they have gone, as they do when another copy of the provider thinks
    /// that the link has. Tells whether they had.
    pub(crate) async fn mend(&self, connection: &Connection) -> lapin::Result<bool> {
        if !self.is_begun.load(Ordering::Relaxed) && self.place.is_bound(connection).await? {
            return Ok(false);
        }
        let lock = self.place.lock(connection).await?;
        let mended = self.mend_alone(connection).await;
        let released = lock.release().await;
        let mended = mended?;
        released.map(|()| mended)
    }

    async fn mend_alone(&self, connection: &Connection) -> lapin::Result<bool> {
        let was_begun = self.is_begun.swap(true, Ordering::Relaxed);
        // Another copy may have been at it.
        let has_gone = was_begun || !self.place.is_bound(connection).await?;
        if has_gone {
            self.add(connection).await?;
        }
        self.is_begun.store(false, Ordering::Relaxed);
        Ok(has_gone)
    }

    /// Has the link be bound by these keys and no others. Messages of keys that it was bound by
    /// before, and still is, go on to the queues meanwhile, whatever breaks in the middle.
    pub(crate) async fn replace(&self, connection: &Connection) -> lapin::Result<()> {
        let lock = self.place.lock(connection).await?;
        let replaced = self.replace_alone(connection).await;
        let released = lock.release().await;
        replaced.and(released)
    }

    async fn replace_alone(&self, connection: &Connection) -> lapin::Result<()> {
        let channel = open_channel(connection).await?;
        let [first, second] = self.place.exchanges();
        // Nothing is taken away before what is there has the new keys too.
        self.add_to(&channel, &first).await?;
        for exchange in [&second, &first] {
            delete(&channel, exchange).await?;
            self.add_to(&channel, exchange).await?;
        }
        delete(&channel, &second).await
    }

    async fn add_to(&self, channel: &Channel, own: &ShortString) -> lapin::Result<()> {
        let options = ExchangeDeclareOptions {
            durable: true,
            // It goes with the last of its queues.
            auto_delete: true,
            internal: true,
            ..ExchangeDeclareOptions::default()
        };
        let (kind, table) = (ExchangeKind::Topic, FieldTable::default);
        let declared = channel.exchange_declare(own.clone(), kind, options, table());
        declared.await?;
        for (queue, keys) in &self.queues {
            for key in keys {
                let (queue, key) = (queue.as_str().into(), key.as_str().into());
                // The server answers in order, so that the last answer is for all.
                let options = QueueBindOptions { nowait: true };
                let bound = channel.queue_bind(queue, own.clone(), key, options, table());
                bound.await?;
            }
        }
        let keys: Vec<_> = self.queues.values().flatten().collect();
        for (number, key) in keys.iter().enumerate() {
            let (exchange, key) = (self.exchange.as_str().into(), key.as_str().into());
            let nowait = number + 1 < keys.len();
            let options = ExchangeBindOptions { nowait };
            let bound = channel.exchange_bind(own.clone(), exchange, key, options, table());
            bound.await?;
        }
        Ok(())
    }

    /// Takes the bindings of one queue away that an earlier version of the provider made, which had no
    /// exchange between.
    pub(crate) async fn forget_direct(&self, channel: &Channel, queue: &str) -> lapin::Result<()> {
        for key in self.queues.get(queue).into_iter().flatten() {
            let (queue, exchange) = (queue.into(), self.exchange.as_str().into());
            let table = FieldTable::default();
            let unbound = channel.queue_unbind(queue, exchange, key.as_str().into(), table);
            unbound.await?;
        }
        Ok(())
    }
}

/// Where the server keeps the bindings of a link.
#[derive(Debug)]
pub(crate) struct Place(String);

impl Place {
    /// That of a link whose own queue, if it has one, is called `own`.
    pub(crate) fn of(link: &ProviderLink, own: &str) -> Self {
        let name = format!("{own}={}:{}", link.namespace, link.package);
        // What is put behind it has to fit too.
        Self(match is_name(&format!("{name}=lock")) {
            true => name,
            false => format!("lattice.{}", hex::encode(Sha256::digest(name))),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    fn exchange(&self, number: u8) -> ShortString {
        format!("{}={number}", self.0).into()
    }

    fn exchanges(&self) -> [ShortString; 2] {
        [1, 2].map(|number| self.exchange(number))
    }

    /// Whether there are bindings of the link.
    async fn is_bound(&self, connection: &Connection) -> lapin::Result<bool> {
        let channel = open_channel(connection).await?;
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let (kind, table) = (ExchangeKind::Topic, FieldTable::default());
        let asked = channel.exchange_declare(self.exchange(1), kind, options, table);
        match asked.await {
            Ok(()) => Ok(true),
            Err(error) if is_refused_as(&error, AMQPSoftError::NOTFOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes all bindings of the link away. What is in the queues stays.
    pub(crate) async fn clear(&self, connection: &Connection) -> lapin::Result<()> {
        // One that binds at the same time does so before or after.
        let lock = self.lock(connection).await?;
        let cleared = self.clear_alone(connection).await;
        let released = lock.release().await;
        cleared.and(released)
    }

    async fn clear_alone(&self, connection: &Connection) -> lapin::Result<()> {
        let channel = open_channel(connection).await?;
        for exchange in &self.exchanges() {
            delete(&channel, exchange).await?;
        }
        Ok(())
    }

    /// Waits until nobody else changes the bindings, in this process or in another copy of the provider.
    async fn lock(&self, connection: &Connection) -> lapin::Result<Lock> {
        Lock::take(connection, &format!("{}=lock", self.0).into()).await
    }
}

/// Deletes an exchange, if it is there.
async fn delete(channel: &Channel, exchange: &ShortString) -> lapin::Result<()> {
    let options = ExchangeDeleteOptions::default();
    channel.exchange_delete(exchange.clone(), options).await
}
