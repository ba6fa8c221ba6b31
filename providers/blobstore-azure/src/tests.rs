//! Against Azurite.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::oneshot;
use futures::stream;
use http::Method;
use http::header::HeaderName;
use lattice_azure::AzureRequest;
use lattice_provider_sdk::Settings;
use lattice_provider_sdk::blobstore::{
    Blob, BlobError, BlobSettings, ObjectId, PartRoom, Span, Upload, seconds,
};
use lattice_services::{Kind, Service};

use crate::backend::Account;
use crate::settings::AzureSettings;
use crate::{blobs, containers};

const IDLE: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

struct Azurite {
    account: Account,
    service: Service,
}

async fn azurite(values: &[(&str, &str)]) -> Azurite {
    let service = Service::start(Kind::Azurite).await.unwrap();
    let url = service.url();
    let own = [
        ("CLOUD_LOCATION", url.as_str()),
        ("STORAGE_ACCOUNT", "devstoreaccount1"),
    ];
    let texts = own.into_iter().chain(values.iter().copied());
    let settings = Settings::from_texts(texts, []);
    let settings = AzureSettings::read(&settings, |_| None).unwrap();
    Azurite {
        account: Account::new(settings).unwrap(),
        service,
    }
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

async fn all(blob: Blob) -> Vec<u8> {
    let len = blob.len;
    let pieces: Vec<_> = blob.data.map(Result::unwrap).collect().await;
    let data = pieces.concat();
    assert_eq!(data.len() as u64, len);
    data
}

impl Azurite {
    async fn create(&self, name: &str) {
        let created = containers::create(&self.account.azure, name).await;
        created.unwrap();
    }

    async fn changed_at(&self, name: &str) -> Option<u64> {
        let changed = containers::changed_at(&self.account.azure, name).await;
        changed.unwrap()
    }

    async fn write(&self, id: &ObjectId, data: impl Into<Bytes>) -> Result<(), BlobError> {
        self.upload(id, upload(vec![Ok(data.into())])).await
    }

    async fn upload(&self, id: &ObjectId, data: Upload) -> Result<(), BlobError> {
        let room = PartRoom::new(64 << 20);
        self.account.writer(&room).write(id, data).await
    }

    async fn read(&self, id: &ObjectId) -> Result<Vec<u8>, BlobError> {
        let blob = blobs::read(&self.account.azure, id, Span::ALL, IDLE).await?;
        Ok(all(blob).await)
    }

    async fn copy(&self, from: &ObjectId, to: &ObjectId) -> Result<(), BlobError> {
        blobs::copy(&self.account.azure, from, to).await
    }

    /// Takes a lease that does not end.
    async fn lease(&self, id: &ObjectId) {
        let mut asked = AzureRequest::new("lease the blob", Method::PUT, blobs::path(id));
        asked.query = vec![("comp", "lease")];
        let header = |name, value: &str| (HeaderName::from_static(name), value.to_owned());
        asked.headers = vec![
            header("x-ms-lease-action", "acquire"),
            header("x-ms-lease-duration", "-1"),
        ];
        self.account.azure.ask(&asked).await.unwrap();
    }

    async fn names(&self, container: &str) -> Result<Vec<String>, BlobError> {
        let azure = Arc::clone(&self.account.azure);
        let pages = containers::names(azure, container, 100).await?;
        let pages: Vec<_> = pages.map(Result::unwrap).collect().await;
        Ok(pages.concat())
    }
}

fn now() -> u64 {
    seconds(SystemTime::now())
}

#[tokio::test]
async fn containers_come_and_go_with_what_is_in_them() {
    let azurite = azurite(&[]).await;
    let azure = &azurite.account.azure;
    containers::greet(azure, None).await.unwrap();
    let missing = containers::greet(azure, Some("corp")).await.unwrap_err();
    assert!(missing.is_missing(), "{missing}");
    assert_eq!(azurite.changed_at("corp").await, None);
    let before = now();
    azurite.create("corp").await;
    azurite.create("corp").await;
    containers::greet(azure, Some("corp")).await.unwrap();
    let changed = azurite.changed_at("corp").await.unwrap();
    assert!((before..=now() + 1).contains(&changed), "{changed}");
    azurite.write(&id("corp", "a"), "a").await.unwrap();
    for _ in 0..2 {
        containers::delete_container(azure, "corp").await.unwrap();
    }
    assert_eq!(azurite.changed_at("corp").await, None);
    let gone = BlobError::NoContainer("corp".to_owned());
    let object = id("corp", "a");
    assert_eq!(containers::clear(azure, "corp").await, Err(gone.clone()));
    assert_eq!(azurite.names("corp").await, Err(gone.clone()));
    assert_eq!(azurite.write(&object, "a").await, Err(gone.clone()));
    assert_eq!(blobs::info(azure, &object).await, Err(gone.clone()));
    assert_eq!(azurite.read(&object).await, Err(gone));
}

#[tokio::test]
async fn objects_keep_the_names_they_are_given() {
    let azurite = azurite(&[]).await;
    let azure = &azurite.account.azure;
    azurite.create("corp").await;
    let mut names = vec![
        " a ",
        "a b/c+d",
        "a//b",
        "end/",
        "größe/日本",
        "50%",
        "%41",
        "q?x=1&y#z",
        "a'b\"c<d>&e",
        "*",
        "~!@$^(){}[]|;:,`",
        "..a/b..",
    ];
    for name in &names {
        let stored = azurite.write(&id("corp", name), name.to_string()).await;
        stored.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in &names {
        let read = azurite.read(&id("corp", name)).await;
        assert_eq!(read.as_deref(), Ok(name.as_bytes()), "{name}");
    }
    names.sort_unstable();
    let mut listed = azurite.names("corp").await.unwrap();
    listed.sort_unstable();
    assert_eq!(listed, names);
    let (from, to) = (id("corp", "q?x=1&y#z"), id("corp", "größe/+ copy"));
    azurite.copy(&from, &to).await.unwrap();
    assert_eq!(azurite.read(&to).await.unwrap(), b"q?x=1&y#z");
    let most = names.iter().map(|name| (*name).to_owned()).collect();
    containers::delete_all(azure, "corp", most).await.unwrap();
    assert_eq!(azurite.names("corp").await.unwrap(), ["größe/+ copy"]);
    for _ in 0..2 {
        blobs::delete(azure, "corp", &to.object).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_written_while_a_blob_is_moved_is_kept() {
    let azurite = azurite(&[]).await;
    let azure = &azurite.account.azure;
    azurite.create("corp").await;
    let (from, to) = (id("corp", "a"), id("corp", "b"));
    azurite.write(&from, "old").await.unwrap();
    let found = blobs::tag(azure, &from).await.unwrap();
    assert!(found.is_some());
    azurite.write(&from, "new").await.unwrap();
    let copied = blobs::copy_version(azure, &from, found.clone(), &to).await;
    let why = "the object was replaced while it was copied".to_owned();
    assert_eq!(copied, Err(BlobError::Unavailable(why)));
    let deleted = blobs::delete_version(azure, &from, found.clone()).await;
    assert_eq!(deleted, Ok(()));
    assert_eq!(azurite.read(&from).await.unwrap(), b"new");
    blobs::move_to(azure, &from, &to).await.unwrap();
    assert_eq!(azurite.read(&to).await.unwrap(), b"new");
    let gone = BlobError::NoObject(from.clone());
    assert_eq!(azurite.read(&from).await, Err(gone.clone()));
    assert_eq!(blobs::move_to(azure, &from, &to).await, Err(gone));
    let deleted = blobs::delete_version(azure, &from, found).await;
    assert_eq!(deleted, Ok(()));
}

#[tokio::test]
async fn a_blob_of_which_somebody_has_a_lease_is_told_neither_deleted_nor_replaced() {
    let azurite = azurite(&[]).await;
    let azure = &azurite.account.azure;
    azurite.create("corp").await;
    let (leased, free) = (id("corp", "leased"), id("corp", "free"));
    for blob in [&leased, &free] {
        azurite.write(blob, blob.object.clone()).await.unwrap();
    }
    azurite.lease(&leased).await;
    for refused in [
        blobs::delete(azure, "corp", "leased").await,
        blobs::copy(azure, &free, &leased).await,
        blobs::move_to(azure, &free, &leased).await,
        blobs::move_to(azure, &leased, &id("corp", "moved")).await,
    ] {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("LeaseIdMissing"), "{why}");
    }
    for blob in [&leased, &free] {
        assert_eq!(azurite.read(blob).await.unwrap(), blob.object.as_bytes());
    }
}

#[tokio::test]
async fn a_forbidden_name_keeps_no_other_blob_from_being_deleted() {
    let azurite = azurite(&[]).await;
    azurite.create("corp").await;
    for name in ["a", "b", "kept"] {
        azurite.write(&id("corp", name), "data").await.unwrap();
    }
    let all = ["a", "x/../kept", "no\\slash", "b"].map(str::to_owned);
    let deleted = containers::delete_all(&azurite.account.azure, "corp", all.to_vec()).await;
    let Err(BlobError::Some { failed, of, why }) = deleted else {
        panic!("{deleted:?}");
    };
    assert_eq!((failed, of), (2, 4));
    assert!(why.contains("x/../kept"), "{why}");
    assert_eq!(azurite.names("corp").await.unwrap(), ["kept"]);
}

#[tokio::test]
async fn ranges_have_both_ends_and_are_clamped() {
    let azurite = azurite(&[]).await;
    let azure = &azurite.account.azure;
    azurite.create("corp").await;
    let object = id("corp", "digits");
    let before = now();
    azurite.write(&object, "0123456789").await.unwrap();
    let info = blobs::info(azure, &object).await.unwrap();
    assert_eq!(info.size, 10);
    assert!((before..=now() + 1).contains(&info.created_at), "{info:?}");
    for (start, end, expected) in [
        (0, 0, "0"),
        (2, 4, "234"),
        (8, 10, "89"),
        (0, u64::MAX, "0123456789"),
        (3, u64::MAX - 1, "3456789"),
        (10, 12, ""),
    ] {
        let span = Span::new(start, end).unwrap();
        let blob = blobs::read(azure, &object, span, IDLE).await;
        let data = all(blob.unwrap()).await;
        assert_eq!(data, expected.as_bytes(), "{start} to {end}");
    }
    let empty = id("corp", "empty");
    azurite.write(&empty, "").await.unwrap();
    assert_eq!(azurite.read(&empty).await.unwrap(), b"");
    let missing = id("corp", "missing");
    let gone = BlobError::NoObject(missing.clone());
    assert_eq!(azurite.read(&missing).await, Err(gone.clone()));
    assert_eq!(azurite.copy(&missing, &empty).await, Err(gone));
    let nowhere = azurite.copy(&object, &id("nowhere", "x")).await;
    assert_eq!(nowhere, Err(BlobError::NoContainer("nowhere".to_owned())));
}

#[tokio::test]
async fn large_objects_go_up_in_blocks() {
    let azurite = azurite(&[("part_size_mb", "1")]).await;
    azurite.create("corp").await;
    // One block exactly, two exactly, and a last one that is short.
    for size in [MIB, 2 * MIB, 5 * MIB + 7] {
        let data: Vec<u8> = (0..size).map(|n| (n / 251 % 256) as u8).collect();
        let pieces = data.chunks(100_000).map(|p| Ok(Bytes::copy_from_slice(p)));
        let object = id("corp", &size.to_string());
        let data_of_it = upload(pieces.collect());
        let written = azurite.upload(&object, data_of_it).await;
        written.unwrap();
        assert!(azurite.read(&object).await.unwrap() == data, "{size}");
    }
}

#[tokio::test]
async fn a_large_write_that_another_overtakes_may_be_tried_again() {
    let azurite = azurite(&[("part_size_mb", "1")]).await;
    azurite.create("corp").await;
    let object = id("corp", "wanted");
    let (asked, is_asked) = oneshot::channel();
    let (go, may_go) = oneshot::channel();
    let begun = stream::iter([Ok(Bytes::from(vec![1; 3 * MIB]))]);
    // It is asked for when the first blocks are there.
    let end = stream::once(async move {
        asked.send(()).unwrap();
        may_go.await.unwrap();
        Ok(Bytes::from_static(b"end"))
    });
    let slow = Upload::of(begun.chain(end).boxed(), &BlobSettings::default());
    let new = vec![2_u8; 2 * MIB];
    let other = async {
        is_asked.await.unwrap();
        azurite.write(&object, new.clone()).await.unwrap();
        go.send(()).unwrap();
    };
    let (slow, ()) = futures::join!(azurite.upload(&object, slow), other);
    let Err(BlobError::Unavailable(why)) = slow else {
        panic!("{slow:?}");
    };
    assert!(why.contains("another write of the object"), "{why}");
    assert!(azurite.read(&object).await.unwrap() == new);
}

#[tokio::test]
async fn slow_writes_do_not_keep_others_waiting() {
    let azurite = azurite(&[("part_size_mb", "4")]).await;
    azurite.create("corp").await;
    let room = PartRoom::new(16 * MIB);
    let mut slow = stream::FuturesUnordered::new();
    for number in 0..4 {
        let begun = stream::iter([Ok(Bytes::from(vec![7; MIB / 2]))]);
        let data = begun.chain(stream::pending()).boxed();
        let data = Upload::of(data, &BlobSettings::default());
        let (object, writer) = (
            id("corp", &format!("slow-{number}")),
            azurite.account.writer(&room),
        );
        slow.push(async move { writer.write(&object, data).await });
    }
    let (object, size) = (id("corp", "large"), 10 * MIB);
    let (writer, data) = (
        azurite.account.writer(&room),
        upload(vec![Ok(Bytes::from(vec![1; size]))]),
    );
    let large = tokio::time::timeout(Duration::from_secs(20), writer.write(&object, data));
    tokio::select! {
        biased;
        ended = slow.next() => panic!("{ended:?}"),
        written = large => assert_eq!(written.unwrap(), Ok(())),
    }
    assert_eq!(azurite.read(&object).await.unwrap().len(), size);
}

#[tokio::test]
async fn what_breaks_off_leaves_nothing() {
    let azurite = azurite(&[("part_size_mb", "1")]).await;
    azurite.create("corp").await;
    let object = id("corp", "broken");
    azurite.write(&object, "before").await.unwrap();
    let broken = BlobError::BrokeOff("gone".to_owned());
    for pieces in [1, 40] {
        let mut pieces: Vec<_> = (0..pieces)
            .map(|_| Ok(Bytes::from(vec![7; 100_000])))
            .collect();
        pieces.push(Err(broken.clone()));
        let written = azurite.upload(&object, upload(pieces)).await;
        assert_eq!(written, Err(broken.clone()));
    }
    assert_eq!(azurite.read(&object).await.unwrap(), b"before");
    assert_eq!(azurite.names("corp").await.unwrap(), ["broken"]);
}

#[tokio::test]
async fn a_container_of_many_objects_is_listed_in_order_and_cleared() {
    let azurite = azurite(&[]).await;
    azurite.create("corp").await;
    let names: Vec<_> = (0..300).map(|n| format!("n{n:05}")).collect();
    let writes = names.iter().map(|name| async {
        let written = azurite.write(&id("corp", name), "x").await;
        written.unwrap();
    });
    let writes: Vec<_> = writes.collect();
    stream::iter(writes)
        .buffer_unordered(16)
        .collect::<()>()
        .await;
    assert_eq!(azurite.names("corp").await.unwrap(), names);
    containers::clear(&azurite.account.azure, "corp")
        .await
        .unwrap();
    assert!(azurite.names("corp").await.unwrap().is_empty());
    assert!(azurite.changed_at("corp").await.is_some());
}

#[tokio::test]
async fn a_service_that_is_away_is_an_error_at_once() {
    let mut azurite = azurite(&[("response_timeout_ms", "2000")]).await;
    azurite.create("corp").await;
    let begun = tokio::time::Instant::now();
    azurite.service.freeze().unwrap();
    let silent = azurite.read(&id("corp", "a")).await.unwrap_err();
    assert!(silent.to_string().contains("did not answer"), "{silent}");
    azurite.service.thaw().unwrap();
    azurite.service.kill();
    let away = azurite.write(&id("corp", "a"), "x").await;
    let away = away.unwrap_err().to_string();
    assert!(away.contains(&azurite.service.port().to_string()), "{away}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    azurite.service.start_again().await.unwrap();
    azurite.create("corp").await;
    let written = azurite.write(&id("corp", "a"), "x").await;
    assert_eq!(written, Ok(()));
}
