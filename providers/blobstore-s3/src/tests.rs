//! Against moto, which speaks the protocol of S3.

mod gate;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use lattice_provider_sdk::Settings;
use lattice_provider_sdk::blobstore::{
    Blob, BlobError, BlobSettings, ObjectId, PartRoom, Span, Upload, seconds,
};
use lattice_services::{Kind, Service};

use crate::client::{Ask, S3};
use crate::settings::S3Settings;

const IDLE: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

struct Moto {
    s3: Arc<S3>,
    service: Service,
}

async fn moto(values: &[(&str, &str)]) -> Moto {
    let service = Service::start(Kind::Moto).await.unwrap();
    let s3 = Arc::new(client(&service.url(), values));
    Moto { s3, service }
}

fn client(url: &str, values: &[(&str, &str)]) -> S3 {
    let own = [
        ("endpoint", url),
        ("access_key_id", "id"),
        ("secret_access_key", "secret"),
    ];
    let texts = own.into_iter().chain(values.iter().copied());
    let settings = Settings::from_texts(texts, []);
    let (settings, _) = S3Settings::read(&settings, |_| None).unwrap();
    S3::new(settings).unwrap()
}

fn id(container: &str, object: &str) -> ObjectId {
    ObjectId {
        container: container.to_owned(),
        object: object.to_owned(),
    }
}

fn upload(pieces: Vec<Result<Bytes, BlobError>>) -> Upload {
    Upload::of(stream::iter(pieces).boxed(), &BlobSettings::default())
}

fn whole(data: impl Into<Bytes>) -> Upload {
    upload(vec![Ok(data.into())])
}

async fn all(blob: Blob) -> Vec<u8> {
    let len = blob.len;
    let pieces: Vec<_> = blob.data.map(Result::unwrap).collect().await;
    let data = pieces.concat();
    assert_eq!(data.len() as u64, len);
    data
}

impl S3 {
    async fn write(self: &Arc<Self>, id: &ObjectId, data: Upload) -> Result<(), BlobError> {
        self.write_in(&PartRoom::new(64 << 20), id, data).await
    }
}

impl Moto {
    async fn read(&self, id: &ObjectId) -> Result<Vec<u8>, BlobError> {
        Ok(all(self.s3.read(id, Span::ALL, IDLE).await?).await)
    }

    async fn names(&self, bucket: &str) -> Result<Vec<String>, BlobError> {
        let pages = Arc::clone(&self.s3).names(bucket).await?;
        let pages: Vec<_> = pages.map(Result::unwrap).collect().await;
        Ok(pages.concat())
    }

    /// The uploads that have begun and not ended.
    async fn uploads(&self, bucket: &str) -> usize {
        let mut ask = Ask::of_bucket("list uploads", http::Method::GET, bucket);
        ask.query = vec![("uploads", "")];
        self.s3.ask_xml(&ask).await.unwrap().all("Upload").count()
    }
}

fn now() -> u64 {
    seconds(SystemTime::now())
}

#[tokio::test]
async fn buckets_come_and_go_with_what_is_in_them() {
    let moto = moto(&[]).await;
    let s3 = &moto.s3;
    s3.greet(None).await.unwrap();
    assert!(!s3.bucket_exists("corp").await.unwrap());
    assert_eq!(s3.bucket_created_at("corp").await.unwrap(), None);
    let missing = s3.greet(Some("corp")).await.unwrap_err();
    assert!(missing.is_missing(), "{missing}");
    let before = now();
    for _ in 0..2 {
        s3.create_bucket("corp").await.unwrap();
    }
    s3.create_bucket("corp-more").await.unwrap();
    assert!(s3.bucket_exists("corp").await.unwrap());
    s3.greet(Some("corp")).await.unwrap();
    let created = s3.bucket_created_at("corp").await.unwrap().unwrap();
    assert!((before..=now()).contains(&created), "{created}");
    for name in ["a", "b"] {
        s3.write(&id("corp", name), whole(name)).await.unwrap();
    }
    for _ in 0..2 {
        s3.delete_bucket("corp").await.unwrap();
    }
    assert!(!s3.bucket_exists("corp").await.unwrap());
    let gone = BlobError::NoContainer("corp".to_owned());
    assert_eq!(s3.clear_bucket("corp").await, Err(gone.clone()));
    assert_eq!(moto.names("corp").await, Err(gone.clone()));
    let written = s3.write(&id("corp", "a"), whole("a")).await;
    assert_eq!(written, Err(gone.clone()));
    assert_eq!(s3.info(&id("corp", "a")).await, Err(gone.clone()));
    assert_eq!(moto.read(&id("corp", "a")).await, Err(gone));
}

#[tokio::test]
async fn objects_keep_the_names_they_are_given() {
    let moto = moto(&[]).await;
    let s3 = &moto.s3;
    s3.create_bucket("corp").await.unwrap();
    let mut names = vec![
        " a ",
        "a b/c+d",
        "../up",
        "./here",
        "a//b",
        "end/",
        "größe/日本",
        "50%",
        "%41",
        "q?x=1&y#z",
        "a'b\"c<d>&e",
        "tab\tx",
        "*",
        "a\\b",
        "~!@$^(){}[]|;:,`",
    ];
    for name in &names {
        let stored = s3.write(&id("corp", name), whole(name.to_string())).await;
        stored.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in &names {
        let read = moto.read(&id("corp", name)).await;
        assert_eq!(read.as_deref(), Ok(name.as_bytes()), "{name}");
    }
    names.sort_unstable();
    let mut listed = moto.names("corp").await.unwrap();
    listed.sort_unstable();
    assert_eq!(listed, names);
    s3.copy(&id("corp", "q?x=1&y#z"), &id("corp", "größe/+ copy"))
        .await
        .unwrap();
    assert_eq!(
        moto.read(&id("corp", "größe/+ copy")).await.unwrap(),
        b"q?x=1&y#z"
    );
    let most: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    s3.delete_batch("corp", most).await.unwrap();
    assert_eq!(moto.names("corp").await.unwrap(), ["größe/+ copy"]);
    s3.delete("corp", "größe/+ copy").await.unwrap();
    s3.delete("corp", "größe/+ copy").await.unwrap();
}

#[tokio::test]
async fn ranges_have_both_ends_and_are_clamped() {
    let moto = moto(&[]).await;
    let s3 = &moto.s3;
    s3.create_bucket("corp").await.unwrap();
    let object = id("corp", "digits");
    let before = now();
    s3.write(&object, whole("0123456789")).await.unwrap();
    let info = s3.info(&object).await.unwrap();
    assert_eq!(info.size, 10);
    assert!((before..=now() + 1).contains(&info.created_at), "{info:?}");
    for (start, end, expected) in [
        (0, 0, "0"),
        (2, 4, "234"),
        (8, 10, "89"),
        (0, u64::MAX, "0123456789"),
        (3, u64::MAX - 1, "3456789"),
        (10, 12, ""),
        (u64::MAX, u64::MAX, ""),
    ] {
        let blob = s3.read(&object, Span::new(start, end).unwrap(), IDLE).await;
        let data = all(blob.unwrap()).await;
        assert_eq!(data, expected.as_bytes(), "{start} to {end}");
    }
    let empty = id("corp", "empty");
    s3.write(&empty, upload(Vec::new())).await.unwrap();
    assert_eq!(moto.read(&empty).await.unwrap(), b"");
    let part = s3.read(&empty, Span::new(0, 5).unwrap(), IDLE).await;
    assert!(all(part.unwrap()).await.is_empty());
    let missing = id("corp", "missing");
    let gone = BlobError::NoObject(missing.clone());
    assert_eq!(moto.read(&missing).await, Err(gone.clone()));
    assert_eq!(s3.info(&missing).await, Err(gone.clone()));
    assert_eq!(s3.copy(&missing, &empty).await, Err(gone));
    let nowhere = s3.copy(&object, &id("nowhere", "x")).await;
    assert_eq!(nowhere, Err(BlobError::NoContainer("nowhere".to_owned())));
}

#[tokio::test]
async fn large_objects_go_up_in_parts() {
    let moto = moto(&[("part_size_mb", "5")]).await;
    let s3 = &moto.s3;
    s3.create_bucket("corp").await.unwrap();
    // One part exactly, two exactly, and a last one that is short.
    for size in [5 * MIB, 10 * MIB, 12 * MIB + 7] {
        let data: Vec<u8> = (0..size).map(|n| (n / 251 % 256) as u8).collect();
        let pieces = data.chunks(100_000).map(|p| Ok(Bytes::copy_from_slice(p)));
        let object = id("corp", &size.to_string());
        s3.write(&object, upload(pieces.collect())).await.unwrap();
        assert!(moto.read(&object).await.unwrap() == data, "{size}");
        assert_eq!(s3.info(&object).await.unwrap().size, size as u64);
    }
    assert_eq!(moto.uploads("corp").await, 0);
}

#[tokio::test]
async fn slow_writes_do_not_keep_others_waiting() {
    let moto = moto(&[("part_size_mb", "5")]).await;
    let s3 = &moto.s3;
    s3.create_bucket("corp").await.unwrap();
    let room = PartRoom::new(20 * MIB);
    let mut slow = stream::FuturesUnordered::new();
    for number in 0..4 {
        let begun = stream::iter([Ok(Bytes::from(vec![7; MIB / 2]))]);
        let data = begun.chain(stream::pending()).boxed();
        let data = Upload::of(data, &BlobSettings::default());
        let (object, room) = (id("corp", &format!("slow-{number}")), &room);
        slow.push(async move { s3.write_in(room, &object, data).await });
    }
    let (object, size) = (id("corp", "large"), 12 * MIB);
    let large = s3.write_in(&room, &object, whole(vec![1; size]));
    let large = tokio::time::timeout(Duration::from_secs(20), large);
    tokio::select! {
        biased;
        ended = slow.next() => panic!("{ended:?}"),
        written = large => assert_eq!(written.unwrap(), Ok(())),
    }
    assert_eq!(s3.info(&object).await.unwrap().size, size as u64);
}

#[tokio::test]
async fn what_breaks_off_leaves_nothing() {
    let moto = moto(&[("part_size_mb", "5")]).await;
    let s3 = &moto.s3;
    s3.create_bucket("corp").await.unwrap();
    let object = id("corp", "broken");
    s3.write(&object, whole("before")).await.unwrap();
    let broken = BlobError::BrokeOff("gone".to_owned());
    for pieces in [1, 13] {
        let mut pieces: Vec<_> = (0..pieces).map(|_| Ok(Bytes::from(vec![7; MIB]))).collect();
        pieces.push(Err(broken.clone()));
        let written = s3.write(&object, upload(pieces)).await;
        assert_eq!(written, Err(broken.clone()));
    }
    // A caller that gives up in the middle.
    let pieces = stream::iter((0..13).map(|_| Ok(Bytes::from(vec![7; MIB]))));
    let endless = pieces.chain(stream::pending()).boxed();
    let data = Upload::of(endless, &BlobSettings::default());
    let limit = Duration::from_secs(3);
    let given_up = tokio::time::timeout(limit, s3.write(&object, data)).await;
    assert!(given_up.is_err());
    s3.cleaners.close();
    s3.cleaners.wait().await;
    assert_eq!(moto.uploads("corp").await, 0);
    assert_eq!(moto.read(&object).await.unwrap(), b"before");
}

#[tokio::test]
async fn objects_too_large_for_one_copy_are_copied_in_parts() {
    let moto = moto(&[]).await;
    let mut s3 = Arc::try_unwrap(moto.s3).unwrap();
    s3.copy_at_once = 6 << 20;
    let s3 = Arc::new(s3);
    let moto = Moto { s3, ..moto };
    moto.s3.create_bucket("corp").await.unwrap();
    moto.s3.create_bucket("other").await.unwrap();
    let data: Vec<u8> = (0..13 * MIB).map(|n| (n / 253 % 256) as u8).collect();
    let (from, to) = (id("corp", "a b"), id("other", "c+d"));
    moto.s3.write(&from, whole(data.clone())).await.unwrap();
    moto.s3.copy(&from, &to).await.unwrap();
    assert!(moto.read(&to).await.unwrap() == data);
}

#[tokio::test]
async fn a_bucket_of_many_objects_is_listed_in_order_and_cleared() {
    let moto = moto(&[]).await;
    let s3 = &moto.s3;
    s3.create_bucket("corp").await.unwrap();
    let names: Vec<_> = (0..1234).map(|n| format!("n{n:05}")).collect();
    let writes = names.iter().map(|name| {
        let (s3, object) = (Arc::clone(s3), id("corp", name));
        async move { s3.write(&object, whole("x")).await.unwrap() }
    });
    let writes: Vec<_> = writes.collect();
    stream::iter(writes)
        .buffer_unordered(16)
        .collect::<()>()
        .await;
    assert_eq!(moto.names("corp").await.unwrap(), names);
    s3.clear_bucket("corp").await.unwrap();
    assert!(moto.names("corp").await.unwrap().is_empty());
    assert!(s3.bucket_exists("corp").await.unwrap());
}

#[tokio::test]
async fn a_role_lends_its_keys() {
    let moto = moto(&[]).await;
    moto.s3.create_bucket("corp").await.unwrap();
    let url = moto.service.url();
    let settings = Settings::from_texts(
        [
            ("endpoint", url.as_str()),
            ("access_key_id", "id"),
            ("secret_access_key", "secret"),
            ("role_arn", "arn:aws:iam::123456789012:role/uploader"),
            ("sts_endpoint", url.as_str()),
        ],
        [],
    );
    let (settings, _) = S3Settings::read(&settings, |_| None).unwrap();
    let s3 = S3::new(settings).unwrap();
    s3.greet(None).await.unwrap();
    s3.greet(Some("other")).await.unwrap_err();
    // Buckets belong to the account of the role, which is that of the key here.
    assert!(s3.bucket_exists("corp").await.unwrap());
}

#[tokio::test]
async fn a_service_that_is_away_is_an_error_at_once() {
    let mut moto = moto(&[("response_timeout_ms", "2000")]).await;
    moto.s3.create_bucket("corp").await.unwrap();
    let begun = tokio::time::Instant::now();
    moto.service.freeze().unwrap();
    let silent = moto.s3.info(&id("corp", "a")).await.unwrap_err();
    assert!(silent.to_string().contains("did not answer"), "{silent}");
    moto.service.thaw().unwrap();
    moto.service.kill();
    let away = moto.s3.write(&id("corp", "a"), whole("x")).await;
    let away = away.unwrap_err().to_string();
    assert!(away.contains(&moto.service.port().to_string()), "{away}");
    assert!(!away.contains("secret"), "{away}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    moto.service.start_again().await.unwrap();
    moto.s3.create_bucket("corp").await.unwrap();
    let written = moto.s3.write(&id("corp", "a"), whole("x")).await;
    assert_eq!(written, Ok(()));
}
