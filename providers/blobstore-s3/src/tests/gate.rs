//! What happens between two requests, and answers that are lost.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a service answers when the source of a copy is another one than was said.
const OUTDATED: &str = "HTTP/1.1 412 Precondition Failed\r\ncontent-length: 46\r\n\
    connection: close\r\n\r\n<Error><Code>PreconditionFailed</Code></Error>";

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Act {
    Pass,
    /// It does not reach the service.
    Answer(&'static str),
    /// It is served, and nobody hears of it.
    Lose,
}

/// Stands before moto, and asks what becomes of each request, by its head.
async fn gate<W>(port: u16, watch: W) -> String
where
    W: Fn(String) -> BoxFuture<'static, Act> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let watch = Arc::new(watch);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let watch = Arc::clone(&watch);
            tokio::spawn(async move {
                let _ = pass(near, port, &*watch).await;
            });
        }
    });
    url
}

/// Passes a connection on, over which moto takes one request.
async fn pass<W>(mut near: TcpStream, port: u16, watch: &W) -> io::Result<()>
where
    W: Fn(String) -> BoxFuture<'static, Act> + Send + Sync + 'static,
{
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if near.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let act = watch(String::from_utf8_lossy(&head).into_owned()).await;
    if let Act::Answer(answer) = act {
        return near.write_all(answer.as_bytes()).await;
    }
    let mut far = TcpStream::connect(("127.0.0.1", port)).await?;
    far.write_all(&head).await?;
    if matches!(act, Act::Pass) {
        return copy_bidirectional(&mut near, &mut far).await.map(drop);
    }
    let (mut from_near, _to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let mut answer = Vec::new();
    tokio::select! {
        sent = copy(&mut from_near, &mut to_far) => { sent?; },
        heard = from_far.read_to_end(&mut answer) => { heard?; },
    }
    std::future::pending().await
}

/// What a head says the source of a copy has to be.
fn wanted(head: &str) -> Option<&str> {
    let mut lines = head.lines();
    lines.find_map(|line| line.strip_prefix("x-amz-copy-source-if-match: "))
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_copied_in_parts_is_not_mixed() {
    let moto = moto(&[]).await;
    moto.s3.create_bucket("corp").await.unwrap();
    let (from, to) = (id("corp", "a"), id("corp", "b"));
    let data = |byte: u8| whole(vec![byte; 13 * MIB]);
    moto.s3.write(&from, data(1)).await.unwrap();
    let (s3, object) = (Arc::clone(&moto.s3), from.clone());
    // moto does not look at the condition, so this does.
    let url = gate(moto.service.port(), move |head| {
        let (s3, object) = (Arc::clone(&s3), object.clone());
        let act = async move {
            if head.contains("partNumber=2&") {
                s3.write(&object, data(2)).await.unwrap();
            }
            let now = s3.head(&object.container, &object.object).await.unwrap();
            match wanted(&head) {
                Some(wanted) if now.tag.as_deref() != Some(wanted) => Act::Answer(OUTDATED),
                _ => Act::Pass,
            }
        };
        act.boxed()
    });
    let mut s3 = client(&url.await, &[]);
    s3.copy_at_once = 6 << 20;
    let s3 = Arc::new(s3);
    let copied = s3.copy(&from, &to).await;
    let why = "the object was replaced while it was copied".to_owned();
    assert_eq!(copied, Err(BlobError::Unavailable(why)));
    s3.cleaners.close();
    s3.cleaners.wait().await;
    assert_eq!(moto.uploads("corp").await, 0);
    assert_eq!(moto.read(&to).await, Err(BlobError::NoObject(to)));
}

#[tokio::test]
async fn what_is_written_while_an_object_is_moved_is_kept() {
    let moto = moto(&[]).await;
    moto.s3.create_bucket("corp").await.unwrap();
    let (from, to) = (id("corp", "a"), id("corp", "b"));
    moto.s3.write(&from, whole("old")).await.unwrap();
    let (s3, object) = (Arc::clone(&moto.s3), from.clone());
    let copies = Arc::new(AtomicUsize::new(0));
    let url = gate(moto.service.port(), move |head| {
        let (s3, object) = (Arc::clone(&s3), object.clone());
        let copies = Arc::clone(&copies);
        let act = async move {
            if head.contains("x-amz-copy-source: ") {
                copies.fetch_add(1, Ordering::SeqCst);
            } else if copies
                .compare_exchange(1, 2, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                // Whatever follows the first copy comes after this.
                s3.write(&object, whole("new")).await.unwrap();
            }
            Act::Pass
        };
        act.boxed()
    });
    let s3 = Arc::new(client(&url.await, &[]));
    s3.move_to(&from, &to).await.unwrap();
    assert_eq!(moto.read(&to).await.unwrap(), b"old");
    assert_eq!(moto.read(&from).await.unwrap(), b"new");
    s3.move_to(&from, &to).await.unwrap();
    assert_eq!(moto.read(&to).await.unwrap(), b"new");
    let gone = BlobError::NoObject(from.clone());
    assert_eq!(moto.read(&from).await, Err(gone.clone()));
    assert_eq!(s3.move_to(&from, &to).await, Err(gone));
}

#[tokio::test]
async fn a_write_whose_end_was_not_heard_of_is_looked_after() {
    let moto = moto(&[]).await;
    moto.s3.create_bucket("corp").await.unwrap();
    let data = vec![7; 12 * MIB];
    for (name, act) in [("done", Act::Lose), ("undone", Act::Answer(""))] {
        let url = gate(moto.service.port(), move |head| {
            let is_end = head.starts_with("POST ") && head.contains("uploadId=");
            std::future::ready(if is_end { act } else { Act::Pass }).boxed()
        });
        let says = [("part_size_mb", "5"), ("response_timeout_ms", "5000")];
        let s3 = Arc::new(client(&url.await, &says));
        let object = id("corp", name);
        let written = s3.write(&object, whole(data.clone())).await;
        s3.cleaners.close();
        s3.cleaners.wait().await;
        assert_eq!(moto.uploads("corp").await, 0);
        match name {
            "done" => {
                assert_eq!(written, Ok(()));
                assert!(moto.read(&object).await.unwrap() == data);
            }
            _ => {
                assert!(matches!(written, Err(BlobError::Unavailable(_))));
                assert_eq!(moto.read(&object).await, Err(BlobError::NoObject(object)));
            }
        }
    }
}

/// With as many parts as the one that was to take its place, and so with a similar tag.
#[tokio::test]
async fn what_was_there_before_does_not_pass_for_a_write_whose_end_was_not_heard_of() {
    let moto = moto(&[]).await;
    moto.s3.create_bucket("corp").await.unwrap();
    let says = [("part_size_mb", "5"), ("response_timeout_ms", "5000")];
    let direct = Arc::new(client(&moto.service.url(), &says));
    let object = id("corp", "a");
    let old = vec![1; 12 * MIB];
    direct.write(&object, whole(old.clone())).await.unwrap();
    let service = Arc::clone(&direct);
    let url = gate(moto.service.port(), move |head| {
        let service = Arc::clone(&service);
        let act = async move {
            if !(head.starts_with("POST ") && head.contains("uploadId=")) {
                return Act::Pass;
            }
            // As a rule of the bucket would, for uploads that take long.
            take_parts_away(&service, "corp", "a").await;
            Act::Answer("")
        };
        act.boxed()
    });
    let s3 = Arc::new(client(&url.await, &says));
    let written = s3.write(&object, whole(vec![2; 12 * MIB])).await;
    assert!(
        matches!(written, Err(BlobError::Unavailable(_))),
        "{written:?}"
    );
    s3.cleaners.close();
    s3.cleaners.wait().await;
    assert_eq!(moto.uploads("corp").await, 0);
    assert!(moto.read(&object).await.unwrap() == old);
}

#[tokio::test]
async fn a_write_in_the_place_of_another_object_whose_end_was_not_heard_of_is_known() {
    let moto = moto(&[]).await;
    moto.s3.create_bucket("corp").await.unwrap();
    let says = [("part_size_mb", "5"), ("response_timeout_ms", "5000")];
    let direct = Arc::new(client(&moto.service.url(), &says));
    let (object, new) = (id("corp", "a"), vec![2; 12 * MIB]);
    let old = whole(vec![1; 12 * MIB]);
    direct.write(&object, old).await.unwrap();
    let url = gate(moto.service.port(), move |head| {
        let is_end = head.starts_with("POST ") && head.contains("uploadId=");
        std::future::ready(if is_end { Act::Lose } else { Act::Pass }).boxed()
    });
    let s3 = Arc::new(client(&url.await, &says));
    assert_eq!(s3.write(&object, whole(new.clone())).await, Ok(()));
    assert!(moto.read(&object).await.unwrap() == new);
}

/// Ends the only upload of an object without one.
async fn take_parts_away(s3: &S3, bucket: &str, key: &str) {
    let mut ask = Ask::of_bucket("list uploads", http::Method::GET, bucket);
    ask.query = vec![("uploads", "")];
    let listed = s3.ask_xml(&ask).await.unwrap();
    let upload = listed.all("Upload").next().unwrap();
    let mut ask = Ask::of_object("take parts away", http::Method::DELETE, bucket, key);
    ask.query = vec![("uploadId", upload.text_of("UploadId"))];
    s3.ask(&ask).await.unwrap();
}
