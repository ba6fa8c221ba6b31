//! A bucket in a NATS that comes back without its last changes.

use std::process::Command;

use lattice_nats_box::NatsBox;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::*;

/// How long a test waits for what has to happen. A test machine may compile at the same time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes a key as soon as NATS is there.
async fn write(ledger: &Ledger, key: &str) -> Revision {
    let writing = async {
        loop {
            if let Ok(stored) = ledger.read(key).await
                && let Ok(Change::Done(revision)) =
                    ledger.write(key, "x".into(), stored.revision).await
            {
                return revision;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, writing).await.unwrap()
}

async fn follow(ledger: Arc<Ledger>, told: UnboundedSender<Seen>) {
    match ledger.follow(|seen| drop(told.send(seen))).await {}
}

/// Waits until a watch tells of something.
async fn until(seen: &mut UnboundedReceiver<Seen>, is_it: impl Fn(&Seen) -> bool) {
    let waiting = async { while !is_it(&seen.recv().await.unwrap()) {} };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_again_when_the_last_changes_are_lost() {
    let mut nats = NatsBox::start().await.unwrap();
    let backend = NatsBackend::on(nats.client().await.unwrap(), None);
    let new = NewBucket {
        name: "notes".to_owned(),
        ..NewBucket::default()
    };
    let ledger = Arc::new(Ledger::open(backend, new).await.unwrap());
    let (told, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(follow(Arc::clone(&ledger), told));
    write(&ledger, "kept").await;
    nats.stop();
    let folder = nats.log_file().parent().unwrap().to_owned();
    let (store, copy) = (folder.join("store"), folder.join("copy"));
    let copied = Command::new("cp").arg("-a").arg(&store).arg(&copy).status();
    assert!(copied.unwrap().success());
    nats.restart().await.unwrap();
    for _ in 0..4 {
        write(&ledger, "lost").await;
    }
    let last = write(&ledger, "lost").await;
    until(
        &mut seen,
        |seen| matches!(seen, Seen::Put(_, revision, _) if *revision == last),
    )
    .await;
    let before = Arc::clone(&ledger.making.borrow());
    let mut makings = ledger.making.subscribe();
    nats.stop();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    nats.restart().await.unwrap();
    assert!(write(&ledger, "again").await < last);
    // A watch that ends with its connection tells of that as well, but not one that lives on.
    let made = tokio::time::timeout(PATIENCE, makings.changed()).await;
    made.unwrap().unwrap();
    let now = Arc::clone(&makings.borrow());
    assert!(!Arc::ptr_eq(&now, &before));
    assert_eq!(now.blank, before.blank);
    until(&mut seen, |seen| matches!(seen, Seen::Missed)).await;
    until(
        &mut seen,
        |seen| matches!(seen, Seen::Put(key, ..) if key == "again"),
    )
    .await;
}
