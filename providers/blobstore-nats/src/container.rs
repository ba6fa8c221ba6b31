//! One container: the stream of an object store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_ROLLUP};
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::object_store::ObjectInfo;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::subject::store::is_code_bucket;
use lattice_nats::is_bucket_name;
use lattice_provider_sdk::blobstore::{BlobError, ObjectId};
use lattice_provider_sdk::chain;
use lattice_provider_sdk::nats::NatsBackend;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::api::{Coded, disconnected, failed};
use crate::chores::Chores;
use crate::meta::{Meta, deleted, token};

/// How many containers are remembered.
const MET: usize = 1024;

/// How often a change is tried that others keep overtaking.
const TRIES: usize = 64;

/// A connection, and what is still to be done over it.
#[derive(Debug)]
pub(crate) struct Nats {
    pub(crate) backend: NatsBackend,
    pub(crate) chores: Chores,
    /// The JetStream domain that the link says.
    domain: Option<String>,
    /// Containers that were used already.
    met: Mutex<HashSet<String>>,
    /// The domains that containers are in, where the link calls them otherwise, each with the number of the
    /// connection over which that was told.
    real: Mutex<HashMap<String, (u64, String)>>,
}

impl Nats {
    pub(crate) fn new(backend: NatsBackend, domain: Option<String>) -> Self {
        Self {
            backend,
            chores: Chores::default(),
            domain,
            met: Mutex::default(),
            real: Mutex::default(),
        }
    }

    /// How often the connection was made.
    fn connections(&self) -> u64 {
        let statistics = self.backend.client().statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    /// Notes the domain that a container is in.
    fn note_domain(&self, name: &str, over: u64, domain: &str) {
        let mut real = self.real.lock();
        if real.len() >= MET {
            real.clear();
        }
        real.insert(name.to_owned(), (over, domain.to_owned()));
    }

    /// Whether a container is used for the first time.
    fn meets(&self, name: &str) -> bool {
        let mut met = self.met.lock();
        met.len() < MET && !met.contains(name) && met.insert(name.to_owned())
    }
}

/// An object store.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) nats: Arc<Nats>,
    /// For what is stored, which may take longer than a question.
    pub(crate) writing: Context,
    pub(crate) stream: Stream<()>,
    pub(crate) name: String,
}

/// How a description was put into its place.
#[derive(Debug)]
enum Put {
    Done(u64),
    /// Somebody else was faster.
    Overtaken,
    Failed(BlobError),
}

/// Refuses names that no object store has, and those of the lattice, which may be on the same NATS.
pub(crate) fn check(name: &str) -> Result<(), BlobError> {
    if is_code_bucket(name) {
        let why = format!("hosts keep compiled code in `{name}`");
        return Err(BlobError::Denied(why));
    }
    if is_bucket_name(name) {
        return Ok(());
    }
    let rule = "object stores are called by letters, digits, `-` and `_`, at most 200 of them";
    Err(BlobError::container_name(name, rule))
}

impl Container {
    /// That of a name, whether or not it is there.
    pub(crate) async fn of(
        nats: &Arc<Nats>,
        name: &str,
        write_wait: Duration,
    ) -> Result<Self, BlobError> {
        check(name)?;
        if !nats.backend.is_connected() {
            return Err(disconnected());
        }
        let jetstream = nats.backend.jetstream();
        let stream = jetstream.get_stream_no_info(format!("OBJ_{name}")).await;
        let mut writing = jetstream.clone();
        writing.set_timeout(write_wait);
        Ok(Self {
            nats: Arc::clone(nats),
            writing,
            stream: stream.map_err(|error| failed(name, &error))?,
            name: name.to_owned(),
        })
    }

    /// Looks for what was left behind, when the container is used for the first time.
    pub(crate) fn tidy_once(&self, age: Duration) {
        if !self.nats.meets(&self.name) {
            return;
        }
        let container = self.clone();
        self.nats.chores.add("tidying a container", move || {
            let container = container.clone();
            async move {
                match container.tidy(age).await {
                    Ok(0) | Err(BlobError::NoContainer(_)) => {}
                    Ok(count) => {
                        let container = container.name;
                        tracing::info!(container, count, "purged what writes have left behind");
                    }
                    Err(error) => return Err(error.to_string()),
                }
                Ok(())
            }
        });
    }

    /// The subject of the description of an object.
    fn meta_subject(&self, object: &str) -> String {
        format!("$O.{}.M.{}", self.name, token(object))
    }

    /// The subject of data.
    pub(crate) fn data_subject(&self, data: &str) -> String {
        format!("$O.{}.C.{data}", self.name)
    }

    fn no_object(&self, object: &str) -> BlobError {
        BlobError::NoObject(ObjectId {
            container: self.name.clone(),
            object: object.to_owned(),
        })
    }

    /// The description of an object, also of one that was deleted.
    pub(crate) async fn last_meta(&self, object: &str) -> Result<Option<Meta>, BlobError> {
        let subject = self.meta_subject(object);
        let found = self.stream.get_last_raw_message_by_subject(&subject).await;
        match found {
            Ok(found) => Meta::read(&found.payload, found.sequence, found.time).map(Some),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => {
                Ok(None)
            }
            Err(error) => Err(failed(&self.name, &error)),
        }
    }

    /// The description of an object.
    pub(crate) async fn meta(&self, object: &str) -> Result<Meta, BlobError> {
        let meta = self.last_meta(object).await?;
        meta.filter(|meta| !meta.info.deleted)
            .ok_or_else(|| self.no_object(object))
    }

    /// Puts a description in the place of the one at `before`; 0 where there is none.
    async fn put_meta(&self, info: &ObjectInfo, before: u64) -> Put {
        let payload = match serde_json::to_vec(info) {
            Ok(payload) => Bytes::from(payload),
            Err(error) => return Put::Failed(BlobError::other(&error)),
        };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, before.to_string());
        let subject = self.meta_subject(&info.name);
        let sent = self
            .writing
            .publish_with_headers(subject, headers, payload)
            .await;
        let stored = match sent {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(ack) => match self.check_domain(&ack).await {
                Ok(()) => Put::Done(ack.sequence),
                Err(error) => Put::Failed(error),
            },
            Err(error) if is_overtaken(&error) => Put::Overtaken,
            Err(error) => Put::Failed(self.unstored(&error).await),
        }
    }

    /// Waits until a piece is stored, and returns its place.
    pub(crate) async fn stored(&self, sent: PublishAckFuture) -> Result<u64, BlobError> {
        match sent.await {
            Ok(ack) => self.check_domain(&ack).await.map(|()| ack.sequence),
            Err(error) => Err(self.unstored(&error).await),
        }
    }

    /// Why nothing was stored. While the servers of a container choose a leader nobody takes what is
    /// sent there, as if it were not there.
    async fn unstored(&self, error: &PublishError) -> BlobError {
        if error.kind() == PublishErrorKind::StreamNotFound
            && let Err(told) = self.stream.get_info().await
            && told.code() == Some(ErrorCode::STREAM_NOT_FOUND)
        {
            return BlobError::NoContainer(self.name.clone());
        }
        failed(&self.name, error)
    }

    /// Refuses what another domain than the link's has taken: it would not be found there. Domains have
    /// streams apart, but their subjects in common.
    async fn check_domain(&self, ack: &PublishAck) -> Result<(), BlobError> {
        let said = self.nats.domain.as_deref();
        let Some(said) = said.filter(|said| *said != ack.domain) else {
            return Ok(());
        };
        // What a link says may be the name that an account has for the JetStream of another one.
        let over = self.nats.connections();
        let real = self.nats.real.lock().get(&self.name).cloned();
        if real == Some((over, ack.domain.clone())) {
            return Ok(());
        }
        let (question, nothing) = (format!("STREAM.INFO.OBJ_{}", self.name), json!({}));
        let jetstream = self.nats.backend.jetstream();
        let known = jetstream.request::<_, _, Value>(question, &nothing);
        let known = known.await.unwrap_or_default();
        let domain = known.get("domain").and_then(Value::as_str);
        if known.get("config").is_some() && domain.unwrap_or("") == ack.domain {
            self.nats.note_domain(&self.name, over, &ack.domain);
            return Ok(());
        }
        if known.is_null() {
            // Where the line to the link's domain is cut, one on this side has taken it. A write ends
            // with this, so that no piece after it waits as well.
            return Err(BlobError::Unavailable(format!(
                "the JetStream domain `{}` took the data, and the one that the link calls `{said}` did not \
                 say in time whether it is the same",
                ack.domain
            )));
        }
        Err(BlobError::Unavailable(format!(
            "the JetStream domain `{}` took the data, and the link says `{said}`: both have a container \
             `{}`; another name for one of the two keeps them apart",
            ack.domain, self.name
        )))
    }

    /// Makes `info` the description of its object, and returns the place it got. What it replaces
    /// is purged.
    pub(crate) async fn replace(&self, info: &ObjectInfo) -> Result<u64, BlobError> {
        for _ in 0..TRIES {
            let before = self.last_meta(&info.name).await?;
            let place = before.as_ref().map_or(0, |meta| meta.place);
            match self.put_meta(info, place).await {
                Put::Done(place) => {
                    if let Some(before) = before {
                        self.purge_later(before.info);
                    }
                    return Ok(place);
                }
                Put::Overtaken => tokio::task::yield_now().await,
                Put::Failed(error) => {
                    let place = self.is_there_after_all(info, error).await?;
                    // It could only be put where that was.
                    if let Some(before) = before {
                        self.purge_later(before.info);
                    }
                    return Ok(place);
                }
            }
        }
        let why = "others kept replacing the object";
        Err(BlobError::Unavailable(why.to_owned()))
    }

    /// An answer that was lost does not say that nothing was stored.
    async fn is_there_after_all(
        &self,
        info: &ObjectInfo,
        error: BlobError,
    ) -> Result<u64, BlobError> {
        match self.last_meta(&info.name).await {
            Ok(Some(meta)) if meta.info.nuid == info.nuid && !meta.info.deleted => Ok(meta.place),
            _ => Err(error),
        }
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, object: &str) -> Result<(), BlobError> {
        for _ in 0..TRIES {
            let before = match self.last_meta(object).await? {
                Some(meta) if !meta.info.deleted => meta,
                _ => return Ok(()),
            };
            if self.delete_this(before).await? {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        let why = "others kept replacing the object";
        Err(BlobError::Unavailable(why.to_owned()))
    }

    /// Deletes an object, and says whether it still was the one that is meant.
    pub(crate) async fn delete_this(&self, meta: Meta) -> Result<bool, BlobError> {
        let put = self.put_meta(&deleted(meta.info.clone()), meta.place).await;
        match put {
            Put::Done(_) => {}
            Put::Overtaken => return Ok(false),
            Put::Failed(error) => {
                if !self.is_deleted_after_all(&meta).await {
                    return Err(error);
                }
            }
        }
        self.purge_later(meta.info);
        Ok(true)
    }

    /// An answer that was lost does not say that nothing was deleted.
    async fn is_deleted_after_all(&self, meta: &Meta) -> bool {
        let last = self.last_meta(&meta.info.name).await;
        matches!(last, Ok(Some(last)) if last.info.deleted && last.info.nuid == meta.info.nuid)
    }

    /// Purges the data of an object that is no more.
    fn purge_later(&self, info: ObjectInfo) {
        if info.chunks == 0 || info.deleted {
            return;
        }
        let container = self.clone();
        self.nats.chores.add("purging data", move || {
            let (container, data) = (container.clone(), info.nuid.clone());
            async move { container.purge(&data).await }
        });
    }

    /// How many pieces there are of data.
    pub(crate) async fn count(&self, data: &str) -> Result<usize, BlobError> {
        let subject = self.data_subject(data);
        let told = self.stream.info_with_subjects(subject).await;
        let mut told = told.map_err(|error| failed(&self.name, &error))?;
        // There is but one such subject.
        match told.next().await {
            Some(Ok((_, count))) => Ok(count),
            Some(Err(error)) => Err(failed(&self.name, &error)),
            None => Ok(0),
        }
    }

    /// Purges data.
    pub(crate) async fn purge(&self, data: &str) -> Result<(), String> {
        let subject = self.data_subject(data);
        match self.stream.purge().filter(subject).await {
            Err(error) if error.code() == Some(ErrorCode::STREAM_NOT_FOUND) => Ok(()),
            purged => purged.map(drop).map_err(|error| chain(&error)),
        }
    }

    /// Purges data, unless they have become an object.
    pub(crate) async fn purge_unless_used(&self, object: &str, data: &str) -> Result<(), String> {
        if !self.nats.backend.is_connected() {
            return Err("there is no connection".to_owned());
        }
        // What was sent before this question was stored before it is answered.
        match self.last_meta(object).await {
            Ok(Some(meta)) if meta.info.nuid == data && !meta.info.deleted => Ok(()),
            Ok(_) => self.purge(data).await,
            Err(BlobError::NoContainer(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes back the object that was just put at `place`.
    pub(crate) async fn take_back(&self, info: &ObjectInfo, place: u64) {
        if let Put::Failed(error) = self.put_meta(&deleted(info.clone()), place).await {
            tracing::warn!(container = self.name, %error, "could not take an object back");
        }
    }
}

fn is_overtaken(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
        || error.code() == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

#[cfg(test)]
mod tests;
