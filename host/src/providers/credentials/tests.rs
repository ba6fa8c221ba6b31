//! Which rights a token has, when it is due, and by which key it is signed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn credentials() -> Credentials {
    let signer = ProviderSigner {
        key: Arc::new(SigningKey::generate(KeyKind::Account)),
        account: None,
        file: None,
        life: Duration::from_secs(3600),
        patience: ProviderSigner::PATIENCE,
        longest_line: ProviderSigner::LONGEST_LINE,
    };
    let id = ComponentId::new("kv").unwrap();
    let xkey = CurveKey::generate().public_key();
    let lattice = LatticeName::default();
    let mut made = Credentials::new(Arc::new(signer), lattice, id, xkey, false);
    gives(&mut made, &[]);
    made
}

/// The process is given a token for these links, and takes it.
fn gives(made: &mut Credentials, links: &[Link]) {
    let rights = made.wanted(links);
    made.make(&rights).unwrap();
    made.took(rights);
}

fn link(source: usize) -> Link {
    serde_json::from_value(serde_json::json!({
        "source_id": format!("shop-component-{source:03}"), "target": "kv",
        "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"],
    }))
    .unwrap()
}

#[test]
fn who_has_credentials_of_its_own_is_not_told_those_of_the_host() {
    let mut made = credentials();
    let data = HostData {
        lattice_rpc_url: SecretText::new("nats://me:hidden-word@a:1"),
        lattice_rpc_user_seed: SecretText::new("SU-hidden-word"),
        lattice_bus: Some(BusData {
            servers: vec![
                SecretText::new("me:hidden-word@a:1"),
                SecretText::new("b:2"),
            ],
            token: SecretText::new("hidden-word"),
            creds_file: Some("hidden-word.creds".to_owned()),
            ..BusData::default()
        }),
        ..HostData::default()
    };
    let data = made.give(made.wanted(&[]), data).unwrap();
    let line = serde_json::to_string(&data).unwrap();
    assert!(!line.contains("hidden-word"), "{line}");
    assert_eq!(data.lattice_rpc_url.expose(), "nats://a:1");
    assert_eq!(data.lattice_bus.unwrap().servers.len(), 2);
}

#[test]
fn no_token_is_longer_than_the_server_reads_and_the_same_links_wait_on_every_host() {
    let made = credentials();
    let mut links: Vec<_> = (100..200).map(link).collect();
    let left_out = made.make_room(&mut links);
    assert!(links.len() > 10 && !left_out.is_empty(), "{}", links.len());
    let token = made.token(&made.wanted(&links)).unwrap();
    assert!(token.len() + BESIDES_TOKEN < ProviderSigner::LONGEST_LINE);
    // Whoever has heard of them in another order leaves out the same ones.
    let mut heard: Vec<_> = (100..200).rev().map(link).collect();
    let another = credentials();
    assert_eq!(another.make_room(&mut heard), left_out);
    assert_eq!(heard, links);
    // One that comes before them in order takes the place of the last.
    let last = links.pop().unwrap();
    let mut more: Vec<_> = (100..200).chain([1]).map(link).collect();
    let waiting = made.make_room(&mut more);
    assert_eq!((&waiting[0], &waiting[1..]), (&last, &*left_out));
    // When one goes there is room again.
    more.pop();
    more.push(last);
    assert!(made.make_room(&mut more).is_empty());
}

#[test]
fn a_hundred_links_have_room_in_a_line_as_secure_lattices_read_it() {
    let mut made = credentials();
    let mut signer = Arc::try_unwrap(made.signer).unwrap();
    signer.longest_line = 64 * 1024;
    made.signer = Arc::new(signer);
    assert!(made.make_room(&mut (0..100).map(link).collect()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_of_the_machine_a_token_is_due_by_the_clock_on_the_wall() {
    let wall = AtomicU64::new(1_000);
    let due = Deadline {
        steady: Instant::now() + Duration::from_secs(2400),
        wall: 3_400,
    };
    let begun = Instant::now();
    let waiting = due.wait(|| wall.load(Ordering::Relaxed));
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    // The steady clock stood still meanwhile.
    wall.store(5_000, Ordering::Relaxed);
    waiting.await;
    assert!(begun.elapsed() <= LOOK);
    assert!(due.has_come(3_400) && !due.has_come(3_399));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_holds_nothing_up() {
    let due = Deadline::after(Duration::from_secs(30));
    let begun = Instant::now();
    due.wait(|| 0).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_other_rights_is_borne_with_for_a_minute() {
    let mut made = credentials();
    let (same, other) = (made.held().clone(), ProviderRights::default());
    // To have its token renewed alone is not urgent.
    made.failed(&same);
    tokio::time::advance(ProviderSigner::PATIENCE).await;
    assert!(!made.is_overdue());
    made.failed(&other);
    tokio::time::advance(ProviderSigner::PATIENCE / 2).await;
    made.failed(&other);
    assert!(!made.is_overdue());
    tokio::time::advance(ProviderSigner::PATIENCE / 2).await;
    assert!(made.is_overdue());
    made.excuse();
    assert!(!made.is_overdue());
    made.failed(&other);
    tokio::time::advance(ProviderSigner::PATIENCE).await;
    made.took(other);
    assert!(!made.is_overdue());
}

#[tokio::test(start_paused = true)]
async fn a_token_lasts_from_when_it_was_made_however_late_it_is_taken() {
    let mut made = credentials();
    let (rights, life) = (made.held().clone(), made.signer.life);
    made.make(&rights).unwrap();
    tokio::time::advance(life / 2).await;
    made.took(rights);
    assert!(!made.due.has_come(0));
    tokio::time::advance(life / 6).await;
    assert!(made.due.has_come(0) && !made.expires.has_come(0));
    tokio::time::advance(life / 3).await;
    assert!(made.expires.has_come(0));
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_token_has_ended_goes_on_until_nats_is_there_for_a_moment() {
    let mut made = credentials();
    for is_connected in [false, true, false, true] {
        assert!(!made.has_to_end(is_connected));
        let begun = Instant::now();
        made.due.wait(|| 0).await;
        assert_eq!(begun.elapsed(), SETTLING_LOOK);
    }
    tokio::time::advance(SETTLED).await;
    assert!(made.has_to_end(true));
}

#[tokio::test(start_paused = true)]
async fn what_no_link_needs_goes_with_the_next_token_however_often_links_change() {
    let moment = Duration::from_secs(1);
    let mut made = credentials();
    gives(&mut made, &[link(1), link(2)]);
    let [first, second] = [1, 2].map(|at| made.wanted(&[link(at)]));
    // The process is told of the end of the first.
    made.note_unneeded(&second);
    let third = made.wanted(&[link(2), link(3)]);
    let all = made.held().with(&third);
    assert_eq!(made.with_recent(&third, moment), all);
    tokio::time::advance(moment).await;
    // What it was told of a moment ago stays.
    made.note_unneeded(&third);
    assert_eq!(made.with_recent(&third, moment), third);
    let fourth = made.wanted(&[link(3), link(4)]);
    made.note_unneeded(&fourth);
    assert_eq!(made.with_recent(&fourth, moment), fourth.with(&second));
    // A link that is put again needs its rights for as long as it is there.
    made.note_unneeded(&first.with(&second));
    assert_eq!(made.with_recent(&second, moment), first.with(&second));
}

#[test]
fn a_key_that_takes_the_place_of_another_in_its_file_signs_for_the_same_account() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut made = credentials();
    let mut signer = Arc::try_unwrap(made.signer).unwrap();
    signer.file = Some(file.path().to_owned());
    let account = signer.key.public_key();
    made.signer = Arc::new(signer);
    // What holds no key changes nothing.
    assert!(made.key_to_try().is_none());
    let new = SigningKey::generate(KeyKind::Account);
    std::fs::write(file.path(), format!("{}\n", new.seed().expose())).unwrap();
    let (key, _) = made.key_to_try().unwrap();
    assert_eq!(key.public_key(), new.public_key());
    assert_eq!(made.account(&key), Some(account.clone()));
    // The one before signs until the server is known to take the other, which is not asked all the time.
    gives(&mut made, &[]);
    assert!(made.key_to_try().is_none());
    assert_eq!(made.key.public_key(), account);
    made.sign_with(key);
    assert_eq!(made.key.public_key(), new.public_key());
    assert!(made.key_to_try().is_none());
}

#[test]
fn a_process_that_has_heard_of_a_token_may_hold_that_or_the_one_before() {
    let mut made = credentials();
    let held = |made: &Credentials| made.to_try().unwrap().0.len();
    let rights = made.held().clone();
    made.make(&rights).unwrap();
    made.failed(&rights);
    assert_eq!(held(&made), 1);
    made.heard();
    assert_eq!(held(&made), 2);
    gives(&mut made, &[]);
    assert_eq!(held(&made), 1);
}
