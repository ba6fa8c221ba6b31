//! Writing objects, large ones in parts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::Method;
use http::header::ETAG;
use lattice_backend_http::xml::escaped;
use lattice_provider_sdk::blobstore::{BlobError, HeldPart, ObjectId, PartRoom, Upload};
use lattice_provider_sdk::chain;

use crate::client::{Ask, S3};
use crate::error::S3Error;
use crate::objects::Found;

/// How many parts an object may have.
pub(crate) const MOST_PARTS: u64 = 10_000;
/// How long parts are tried to be taken away.
const CLEANING: Duration = Duration::from_secs(20);
/// How long it is looked for what became of an upload whose end was not heard of.
const UNSURE: Duration = Duration::from_secs(10);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// An upload in parts that has begun.
#[derive(Debug)]
pub(crate) struct Parts {
    id: ObjectId,
    upload: String,
}

impl Parts {
    pub(crate) fn part_ask<'a>(&'a self, what: &'static str, number: &'a str) -> Ask<'a> {
        let mut ask = self.ask(what, Method::PUT);
        ask.query.insert(0, ("partNumber", number));
        ask
    }

    fn ask(&self, what: &'static str, method: Method) -> Ask<'_> {
        let mut ask = Ask::of_object(what, method, &self.id.container, &self.id.object);
        ask.query = vec![("uploadId", &self.upload)];
        ask
    }
}

/// Takes the parts of an upload away when it is dropped unfinished.
pub(crate) struct Guard {
    s3: Arc<S3>,
    parts: Option<Arc<Parts>>,
}

impl Guard {
    /// Watches over an upload.
    pub(crate) fn new(s3: &Arc<S3>, parts: &Arc<Parts>) -> Self {
        Self {
            s3: Arc::clone(s3),
            parts: Some(Arc::clone(parts)),
        }
    }

    /// The upload is finished.
    pub(crate) fn end(mut self) {
        self.parts = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else {
            return;
        };
        let s3 = Arc::clone(&self.s3);
        self.s3.cleaners.spawn(async move {
            let ask = parts.ask("take parts away", Method::DELETE);
            match tokio::time::timeout(CLEANING, s3.ask(&ask)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.is_missing() => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = chain(&error), "parts of a broken upload are left");
                }
                Err(_) => tracing::warn!("parts of a broken upload are left"),
            }
        });
    }
}

impl S3 {
    /// Writes an object that appears when all of the data are there.
    pub(crate) async fn write_in(
        self: &Arc<Self>,
        room: &PartRoom,
        id: &ObjectId,
        mut data: Upload,
    ) -> Result<(), BlobError> {
        let size = self.part_size();
        let Some(first) = data.held_part(size, room).await? else {
            return self.put(id, Bytes::new()).await;
        };
        if first.0.len() == size && data.has_more().await? {
            return self.write_parts(room, id, first, data).await;
        }
        let (all, _taken) = first;
        self.put(id, all).await
    }

    async fn put(&self, id: &ObjectId, data: Bytes) -> Result<(), BlobError> {
        let mut ask = Ask::of_object("write the object", Method::PUT, &id.container, &id.object);
        ask.body = data;
        let put = self.ask(&ask).await;
        put.map(drop)
            .map_err(|error| error.of_container(&id.container))
    }

    async fn write_parts(
        self: &Arc<Self>,
        room: &PartRoom,
        id: &ObjectId,
        first: HeldPart,
        mut data: Upload,
    ) -> Result<(), BlobError> {
        let parts = Arc::new(self.begin(id).await?);
        let guard = Guard::new(self, &parts);
        let mut tags = Vec::new();
        let mut next = Some(first);
        while let Some(part) = next {
            let number = tags.len() as u64 + 1;
            if number > MOST_PARTS {
                return Err(BlobError::TooLarge {
                    limit: MOST_PARTS * self.part_size() as u64,
                    whose: "S3 (with the link's `part_size_mb`)",
                });
            }
            // While one part is sent the next one is collected.
            let put = self.put_part(&parts, number, part);
            let collect = data.held_part(self.part_size(), room);
            let (tag, collected) = futures::try_join!(put.boxed(), collect.boxed())?;
            tags.push(tag);
            next = collected;
        }
        self.finish(&parts, &tags).await?;
        guard.end();
        Ok(())
    }

    /// Sends a part, whose room is given back when it is there.
    async fn put_part(
        &self,
        parts: &Parts,
        number: u64,
        (data, _taken): HeldPart,
    ) -> Result<String, BlobError> {
        let number = number.to_string();
        let mut ask = parts.part_ask("write a part of the object", &number);
        ask.body = data;
        let answer = self.ask(&ask).await;
        let answer = answer.map_err(|error| error.of_container(&parts.id.container))?;
        let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        tag.map(str::to_owned)
            .ok_or_else(|| BlobError::Other("S3 does not say what a part is called".to_owned()))
    }

    /// Begins an upload.
    pub(crate) async fn begin(&self, id: &ObjectId) -> Result<Parts, BlobError> {
        let what = "begin to write the object";
        let mut ask = Ask::of_object(what, Method::POST, &id.container, &id.object);
        ask.query = vec![("uploads", "")];
        // A second one would be left behind.
        ask.once = true;
        let begun = self.ask_xml(&ask).await;
        let begun = begun.map_err(|error| error.of_container(&id.container))?;
        Ok(Parts {
            id: id.clone(),
            upload: begun.text_of("UploadId").to_owned(),
        })
    }

    /// Makes an object of the parts.
    pub(crate) async fn finish(&self, parts: &Parts, tags: &[String]) -> Result<(), BlobError> {
        let listed = tags.iter().enumerate().map(|(index, tag)| {
            let (number, tag) = (index + 1, escaped(tag));
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        });
        let body = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</CompleteMultipartUpload>",
            listed.collect::<String>()
        );
        let mut ask = parts.ask("finish the object", Method::POST);
        ask.body = Bytes::from(body);
        // The second time there would be no such upload any more.
        ask.once = true;
        let before = self.look(parts).await;
        let Err(error) = self.ask_xml(&ask).await else {
            return Ok(());
        };
        let is_unheard = error.is_unheard();
        let error = error.of_container(&parts.id.container);
        if is_unheard && self.has_become(parts, tags.len(), &before).await {
            return Ok(());
        }
        Err(error)
    }

    /// What stands in the place of the object to be.
    async fn look(&self, parts: &Parts) -> Result<Found, S3Error> {
        self.head(&parts.id.container, &parts.id.object).await
    }

    /// Whether an upload whose end was not heard of has become its object after all: then there is
    /// no such upload any more. The service may still be at it.
    async fn has_become(
        &self,
        parts: &Parts,
        count: usize,
        before: &Result<Found, S3Error>,
    ) -> bool {
        let looks = async {
            let mut ask = parts.ask("look at the parts", Method::GET);
            ask.query.push(("max-parts", "1"));
            loop {
                match self.ask(&ask).await {
                    Err(error) if error.is_missing() => return,
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        if tokio::time::timeout(UNSURE, looks).await.is_err() {
            return false;
        }
        // Somebody else may have taken the parts away, such as a rule of the bucket. What was made
        // of parts is called after their number, and so may be what was there before.
        let Ok(found) = self.look(parts).await else {
            return false;
        };
        let tag = found.tag.as_deref().unwrap_or_default();
        tag.trim_matches('"').ends_with(&format!("-{count}")) && is_new(&found, before)
    }
}

/// Whether an object is another one than was there before, which was maybe not to be known.
fn is_new(found: &Found, before: &Result<Found, S3Error>) -> bool {
    match before {
        Ok(before) => found.tag != before.tag || found.info != before.info,
        // There was none; who may not list a bucket is not let look where there is none.
        Err(error @ S3Error::Refused { .. }) => !error.may_pass(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{StreamExt as _, stream};
    use lattice_provider_sdk::Settings;
    use lattice_provider_sdk::blobstore::BlobSettings;

    use super::*;
    use crate::settings::S3Settings;

    #[tokio::test]
    async fn parts_are_taken_when_there_is_room_for_them() {
        let says = [
            ("endpoint", "http://127.0.0.1:1"),
            ("access_key_id", "id"),
            ("secret_access_key", "secret"),
            ("part_size_mb", "5"),
        ];
        let settings = S3Settings::read(&Settings::from_texts(says, []), |_| None);
        let room = PartRoom::new(10 << 20);
        let s3 = Arc::new(S3::new(settings.unwrap().0).unwrap());
        // Another upload has it, maybe of another link.
        let endless = stream::repeat_with(|| Ok(Bytes::from(vec![0; 1 << 20])));
        let mut other = Upload::of(endless.boxed(), &BlobSettings::default());
        let _first = other.held_part(5 << 20, &room).await.unwrap().unwrap();
        let _second = other.held_part(5 << 20, &room).await.unwrap().unwrap();
        let given = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&given);
        let pieces = stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![0; 1 << 20]))
        });
        let data = Upload::of(pieces.take(20).boxed(), &BlobSettings::default());
        let id = ObjectId {
            container: "corp".to_owned(),
            object: "large".to_owned(),
        };
        let mut write = pin!(s3.write_in(&room, &id, data));
        assert!(futures::poll!(write.as_mut()).is_pending());
        // No part of 5 MiB was begun.
        assert_eq!(given.load(Ordering::Relaxed), 1);
    }
}
