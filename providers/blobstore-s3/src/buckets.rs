//! Buckets, and the names in them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use http::Method;
use http::header::HeaderName;
use lattice_backend_http::xml::{Element, escaped};
use lattice_backend_http::{date, encode};
use lattice_provider_sdk::blobstore::{BlobError, Names};
use sha2::{Digest as _, Sha256};

use crate::client::{Ask, S3};
use crate::error::S3Error;

/// How many objects one request deletes.
const BATCH: usize = 1000;
/// How often a bucket is emptied that others fill meanwhile.
const CLEARINGS: usize = 5;
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");

/// Some names, and where the next are.
struct Page {
    names: Vec<String>,
    next: Option<String>,
}

impl S3 {
    /// Looks whether the service lets us in, with one attempt.
    pub(crate) async fn greet(&self, bucket: Option<&str>) -> Result<(), S3Error> {
        let ask = match bucket {
            Some(bucket) => Ask::of_bucket("look for the bucket", Method::HEAD, bucket),
            None => Ask {
                what: "list buckets",
                query: vec![("max-buckets", "1")],
                ..Ask::default()
            },
        };
        match self.ask_once(&ask).await {
            // A key that may not list buckets is one that is known.
            Err(error) if bucket.is_none() && error.is_denied() => Ok(()),
            other => other.map(drop),
        }
    }

    pub(crate) async fn bucket_exists(&self, name: &str) -> Result<bool, S3Error> {
        let ask = Ask::of_bucket("look for the bucket", Method::HEAD, name);
        match self.ask(&ask).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn create_bucket(&self, name: &str) -> Result<(), S3Error> {
        let region = self.new_bucket_region().map(|region| {
            let region = escaped(region);
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            )
        });
        let ask = Ask {
            body: Bytes::from(region.unwrap_or_default()),
            ..Ask::of_bucket("create the bucket", Method::PUT, name)
        };
        match self.ask(&ask).await {
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            other => other.map(drop),
        }
    }

    /// When a bucket was made; `None` when the key may not list buckets, or it is another's.
    pub(crate) async fn bucket_created_at(&self, name: &str) -> Result<Option<u64>, S3Error> {
        let mut token = None::<String>;
        loop {
            let mut ask = Ask {
                what: "list buckets",
                query: vec![("prefix", name), ("max-buckets", "1000")],
                ..Ask::default()
            };
            ask.query
                .extend(token.as_deref().map(|token| ("continuation-token", token)));
            let list = match self.ask_xml(&ask).await {
                Err(error) if error.is_denied() => return Ok(None),
                other => other?,
            };
            let buckets = list.child("Buckets").into_iter();
            let mut buckets = buckets.flat_map(|buckets| buckets.all("Bucket"));
            if let Some(found) = buckets.find(|bucket| bucket.text_of("Name") == name) {
                return Ok(date::seconds(found.text_of("CreationDate")));
            }
            token = match list.text_of("ContinuationToken") {
                "" => return Ok(None),
                next => Some(next.to_owned()),
            };
        }
    }

    /// Deletes a bucket with everything in it.
    pub(crate) async fn delete_bucket(&self, name: &str) -> Result<(), BlobError> {
        for round in 1.. {
            match self.clear_bucket(name).await {
                Err(BlobError::NoContainer(_)) => return Ok(()),
                other => other?,
            }
            let ask = Ask::of_bucket("delete the bucket", Method::DELETE, name);
            match self.ask(&ask).await {
                Err(error) if error.is_missing() => break,
                Err(error) if error.code() == Some("BucketNotEmpty") && round < CLEARINGS => {}
                other => return other.map(drop).map_err(BlobError::from),
            }
        }
        Ok(())
    }

    /// Deletes all objects of a bucket.
    pub(crate) async fn clear_bucket(&self, name: &str) -> Result<(), BlobError> {
        let mut next = None;
        loop {
            let page = self.page(name, next.as_deref()).await;
            let page = page.map_err(|error| error.of_container(name))?;
            self.delete_batch(name, page.names).await?;
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    async fn page(&self, bucket: &str, token: Option<&str>) -> Result<Page, S3Error> {
        let mut ask = Ask::of_bucket("list objects", Method::GET, bucket);
        // Names may have characters that XML cannot have.
        ask.query = vec![("list-type", "2"), ("encoding-type", "url")];
        ask.query
            .extend(token.map(|token| ("continuation-token", token)));
        let list = self.ask_xml(&ask).await?;
        let plain = list.text_of("EncodingType") != "url";
        let names = list.all("Contents").map(|object| {
            let name = object.text_of("Key");
            let read = encode::unpercent(name, true).filter(|_| !plain);
            read.unwrap_or_else(|| name.to_owned())
        });
        let next = list.text_of("NextContinuationToken");
        let more = list.text_of("IsTruncated") == "true" && !next.is_empty();
        Ok(Page {
            names: names.collect(),
            next: more.then(|| next.to_owned()),
        })
    }

    /// The names of all objects, a page at a time. The first page is asked for at once, so that a
    /// bucket that is not there is told before the stream begins.
    pub(crate) async fn names(self: Arc<Self>, bucket: &str) -> Result<Names, BlobError> {
        let first = self.page(bucket, None).await;
        let first = first.map_err(|error| error.of_container(bucket))?;
        let rest = (self, bucket.to_owned(), first.next);
        let rest = stream::try_unfold(rest, |(s3, bucket, next)| async move {
            let Some(token) = next else {
                return Ok(None);
            };
            let page = s3.page(&bucket, Some(&token)).await;
            let page = page.map_err(|error| error.of_container(&bucket))?;
            Ok(Some((page.names, (s3, bucket, page.next))))
        });
        let first = stream::once(async move { Ok(first.names) });
        Ok(first.chain(rest).boxed())
    }

    /// Deletes objects, as many at once as S3 takes. All are tried.
    pub(crate) async fn delete_batch(
        &self,
        bucket: &str,
        names: Vec<String>,
    ) -> Result<(), BlobError> {
        let of = names.len();
        let (plain, odd): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_xml(name));
        let mut failed = Vec::new();
        for batch in plain.chunks(BATCH) {
            match self.delete_some(bucket, batch).await {
                Ok(refused) => failed.extend(refused),
                Err(error) => {
                    let error = error.of_container(bucket);
                    if matches!(error, BlobError::NoContainer(_)) {
                        return Err(error);
                    }
                    failed.extend(batch.iter().map(|_| error.clone()));
                }
            }
        }
        for name in odd {
            let deleted = self.delete(bucket, &name).await;
            failed.extend(deleted.err().map(BlobError::from));
        }
        BlobError::of_some(of, failed)
    }

    /// Deletes up to a thousand objects; what is not deleted is returned with the reason.
    async fn delete_some(&self, bucket: &str, names: &[String]) -> Result<Vec<BlobError>, S3Error> {
        let objects = names
            .iter()
            .map(|name| format!("<Object><Key>{}</Key></Object>", escaped_key(name)));
        let body = format!(
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>{}</Delete>",
            objects.collect::<String>()
        );
        let mut ask = Ask::of_bucket("delete objects", Method::POST, bucket);
        ask.query = vec![("delete", "")];
        // S3 wants one of its checksums here.
        let checksum = STANDARD.encode(Sha256::digest(&body));
        ask.headers = vec![(CHECKSUM, checksum)];
        ask.body = Bytes::from(body);
        let result = self.ask_xml(&ask).await?;
        let refused = |error: &Element| {
            let text = |name| error.text_of(name);
            let (key, code) = (text("Key"), text("Code"));
            BlobError::Other(format!(
                "S3 did not delete `{key}`: {code}: {}",
                text("Message")
            ))
        };
        let missing = |error: &&Element| error.text_of("Code") != "NoSuchKey";
        Ok(result.all("Error").filter(missing).map(refused).collect())
    }
}

/// Whether XML can have all characters of a name.
fn is_xml(name: &str) -> bool {
    let allowed = |char: char| match char {
        '\t' | '\n' | '\r' => true,
        char => char >= ' ' && !matches!(char, '\u{fffe}' | '\u{ffff}'),
    };
    name.chars().all(allowed)
}

/// A name in XML, where the ends of lines would become one kind.
fn escaped_key(name: &str) -> String {
    escaped(name).replace('\r', "&#13;").replace('\n', "&#10;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_xml() {
        let name = "a<&>\r\nb\u{fffd}";
        assert!(is_xml(name));
        let text = format!("<a>{}</a>", escaped_key(name));
        assert_eq!(Element::read(&text).unwrap().text, name);
        assert!(!is_xml("a\u{0}"));
    }
}
