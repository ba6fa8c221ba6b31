//! How many sessions are kept, of whom, and for how long.

use super::*;

use crate::auth::window::OF_STRANGER;

/// A session of a host.
fn known(key: &str, cluster: Option<&str>, until: Instant) -> Arc<Known> {
    let began = Instant::now();
    Arc::new(Known {
        key: MacKey::new(&[7; 32]).unwrap(),
        peer: VerifiedPeer {
            host: "N".to_owned(),
            provider: None,
            session_key: key.to_owned(),
            cluster: cluster.map(str::to_owned),
            expires: 0,
        },
        lattice: "l".to_owned(),
        target: "t".into(),
        began,
        until,
        window: Mutex::new(Window::new(began, OF_STRANGER)),
        used_ms: AtomicU64::new(0),
    })
}

fn asked(number: usize) -> Asked {
    let mut name = [0; 16];
    name[..8].copy_from_slice(&(number as u64).to_be_bytes());
    (SessionName(name), "_INBOX.a".into())
}

fn settle(table: &Table, asked: &Asked, learnt: Learnt) {
    let Asking::Begin(place, _) = table.ask(asked) else {
        panic!("somebody asks already");
    };
    table.settle(asked, Some(learnt), place);
}

/// Has `count` sessions learnt, from the number `first` on, of the peers that `key` names.
fn learn(
    table: &Table,
    first: usize,
    count: usize,
    cluster: Option<&str>,
    key: impl Fn(usize) -> String,
) {
    let until = Instant::now() + Duration::from_secs(7200);
    for number in first..first + count {
        settle(
            table,
            &asked(number),
            Ok(known(&key(number), cluster, until)),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_have_few_sessions_together_and_the_cluster_has_room() {
    let table = Table::default();
    learn(&table, 0, MAX_OF_STRANGERS + 100, None, |number| {
        number.to_string()
    });
    assert_eq!(table.sessions(), MAX_OF_STRANGERS);
    learn(&table, 10_000, 1000, Some("C"), |_| "host".to_owned());
    assert_eq!(table.sessions(), MAX_OF_STRANGERS + 1000);
}

#[tokio::test(start_paused = true)]
async fn one_stranger_leaves_places_to_others() {
    let table = Table::default();
    learn(&table, 0, MAX_OF_STRANGER + 100, None, |_| {
        "flood".to_owned()
    });
    assert_eq!(table.sessions(), MAX_OF_STRANGER);
    learn(&table, 10_000, 100, None, |_| "honest".to_owned());
    assert_eq!(table.sessions(), MAX_OF_STRANGER + 100);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_used_is_forgotten_and_its_place_is_free() {
    let table = Table::default();
    learn(&table, 0, 100, None, |_| "idle".to_owned());
    tokio::time::advance(UNUSED / 2).await;
    learn(&table, 1000, 1, None, |_| "busy".to_owned());
    table.sweep();
    assert_eq!(table.sessions(), 101);
    tokio::time::advance(UNUSED / 2).await;
    table.sweep();
    assert_eq!(table.sessions(), 1);
    let sets = table.sets.read();
    assert_eq!((sets.strange, sets.owned.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_used_stays_used_when_tokens_expire_and_are_renewed() {
    let table = Table::default();
    let mine = asked(1);
    let until = Instant::now() + Duration::from_secs(70);
    settle(&table, &mine, Ok(known("me", None, until)));
    tokio::time::advance(Duration::from_secs(65)).await;
    let first = table.get(&mine.0, &mine.1, Instant::now());
    let Some(Ok(first)) = first else {
        panic!("not known");
    };
    assert!(first.window.lock().take(5, Instant::now()));
    first.used_ms.store(65_000, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(
        table.get(&mine.0, &mine.1, Instant::now()).is_none(),
        "expired"
    );
    // Somebody sends the call again, with an inbox where nobody knows of it.
    let theirs = (mine.0, Box::from("_INBOX.b"));
    settle(
        &table,
        &theirs,
        Err(Doubt::sure(Refusal::unknown_session())),
    );
    let doubted = table.get(&theirs.0, &theirs.1, Instant::now());
    assert!(matches!(doubted, Some(Err(_))));
    tokio::time::advance(SWEEP / 4).await;
    table.sweep();
    let until = Instant::now() + Duration::from_secs(7200);
    settle(&table, &mine, Ok(known("me", None, until)));
    let again = table.get(&mine.0, &mine.1, Instant::now());
    assert!(matches!(again, Some(Ok(again)) if !again.window.lock().take(5, Instant::now())));
    assert_eq!(table.sets.read().owned["me"], 1);
}
