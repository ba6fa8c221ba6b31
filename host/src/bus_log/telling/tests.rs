//! What is told of what users are refused, and what floods and decoys cannot hide.

use super::*;

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::LatticeName;
use lattice_rpc::throttle::MAX_TOLD_OF_OWNER;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::follow::Log;
use super::super::shared::Turn;
use crate::config::HostConfig;

const LINK_PUT: &str = "wasmbus.ctl.v1.default.link.put";

/// What was told of lines that are taken in.
struct Scene {
    telling: Arc<Telling>,
    told: Arc<Mutex<Vec<BusRefused>>>,
    _sweeping: AbortOnDropHandle<()>,
}

impl Scene {
    fn new() -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let config = HostConfig::new(LatticeName::default());
        let log = Arc::clone(&told);
        let known = Known::of(&config, |id| id.as_str().starts_with(['v', 'c']));
        let telling = Arc::new(Telling::new(known, move |refused| log.lock().push(refused)));
        let sweeping = Arc::clone(&telling);
        let sweeping = tokio::spawn(async move { sweeping.sweep_on().await });
        Self {
            telling,
            told,
            _sweeping: AbortOnDropHandle::new(sweeping),
        }
    }

    fn refuse(&self, user: &str, subject: &str) {
        self.telling.take(&line(user, subject));
    }

    /// Whether a user is told to have tried a subject.
    fn names(&self, user: &str, subject: &str) -> bool {
        let told = self.told.lock();
        let mut of_user = told.iter().filter(|one| one.user.as_deref() == Some(user));
        of_user.any(|one| one.subject == subject || one.also.iter().any(|also| also == subject))
    }

    /// How many are told of a user.
    fn count(&self, user: &str) -> u64 {
        let told = self.told.lock();
        let of_user = told.iter().filter(|one| one.user.as_deref() == Some(user));
        of_user.map(|one| 1 + one.suppressed).sum()
    }
}

fn line(user: &str, subject: &str) -> String {
    let start = r#"[7] 2026/11/28 23:17:00.293161 [ERR] 127.0.0.1:36352 - cid:5 - "v1.0:rust""#;
    format!(r#"{start} - "{user}" - Publish Violation - Subject "{subject}""#)
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_between_decoys_is_named() {
    let scene = Scene::new();
    let between = [
        LINK_PUT,
        "wasmbus.ctl.v1.default.link.del",
        "$KV.CONFIGDATA_default.x",
        "$JS.API.STREAM.MSG.GET.KV_CONFIGDATA_default",
        "default.vault.wrpc.0.0.1.x.y",
        "wasmbus.evt.default.host_stopped",
    ];
    let decoys = |number: usize| {
        for decoy in [
            format!("x.{number}"),
            format!("wasmbus.ctl.v1.default.x.{number}"),
            format!("wasmbus.evt.default.x{number}"),
            format!("default.x{number}.wrpc.0.0.1.x.y"),
            format!("$KV.x{number}.x"),
            format!("$JS.API.x{number}.KV_CONFIGDATA_default"),
        ] {
            scene.refuse("evil", &decoy);
        }
    };
    (0..1000).for_each(decoys);
    between
        .iter()
        .for_each(|subject| scene.refuse("evil", subject));
    (1000..2000).for_each(decoys);
    sleep(2 * THROTTLE_WINDOW).await;
    for subject in between {
        assert!(scene.names("evil", subject), "{subject}");
    }
    assert_eq!(scene.count("evil"), 6 * 2000 + between.len() as u64);
    // And a reader can follow it.
    assert!(scene.told.lock().len() < 100);
}

#[tokio::test(start_paused = true)]
async fn those_that_are_too_many_are_not_told_to_have_tried_what_others_have() {
    let scene = Scene::new();
    for _ in 0..3 {
        for user in 0..MAX_USERS + 6 {
            let subject = format!("default.c0.wrpc.0.0.1.x.of-{user}-alone");
            scene.refuse(&format!("{user}"), &subject);
        }
    }
    sleep(4 * THROTTLE_WINDOW).await;
    let told = scene.told.lock();
    assert!(told.len() > MAX_USERS);
    for one in told.iter() {
        let own = format!("of-{}-alone", one.user.as_deref().unwrap());
        assert!(one.subject.ends_with(&own), "{one:?}");
        assert!(one.also.iter().all(|also| also.ends_with(&own)), "{one:?}");
    }
    let count: u64 = told.iter().map(|one| 1 + one.suppressed).sum();
    assert_eq!(count, 3 * (MAX_USERS as u64 + 6));
}

#[tokio::test(start_paused = true)]
async fn one_user_in_many_sorts_hides_nobody_and_is_told_as_a_reader_can_follow() {
    let scene = Scene::new();
    let refuse_all = || {
        for number in 0..600 {
            scene.refuse("evil", &format!("default.c{number}.wrpc.0.0.1.x.y"));
        }
    };
    refuse_all();
    scene.refuse("quiet", LINK_PUT);
    refuse_all();
    sleep(THROTTLE_WINDOW / 4).await;
    assert!(scene.names("quiet", LINK_PUT));
    sleep(THROTTLE_WINDOW - THROTTLE_WINDOW / 4).await;
    let of_evil = scene.told.lock().len() - 1;
    assert!(of_evil <= 6 * MAX_TOLD_OF_OWNER, "{of_evil}");
    sleep(8 * THROTTLE_WINDOW).await;
    assert_eq!([scene.count("evil"), scene.count("quiet")], [1200, 1]);
    // What has waited is named.
    for number in 0..500 {
        assert!(scene.names("evil", &format!("default.c{number}.wrpc.0.0.1.x.y")));
    }
}

#[tokio::test(start_paused = true)]
async fn of_one_sort_as_many_are_named_as_there_is_room_for() {
    let scene = Scene::new();
    let subject = |number: usize| format!("default.vault.wrpc.0.0.1.x.y{number}");
    for number in 0..MAX_ALSO + 2 {
        scene.refuse("evil", &subject(number));
        // The same ones again take no room.
        if number > 0 {
            scene.refuse("evil", &subject(number));
        }
    }
    sleep(2 * THROTTLE_WINDOW).await;
    for number in 0..MAX_ALSO + 2 {
        assert!(scene.names("evil", &subject(number)), "{number}");
    }
    (0..1000).for_each(|number| scene.refuse("evil", &subject(number)));
    sleep(2 * THROTTLE_WINDOW).await;
    let told = scene.told.lock();
    let last = told.last().unwrap();
    assert_eq!(last.subject, subject(999));
    assert_eq!((last.also.len(), last.suppressed), (MAX_ALSO, 998));
    assert_eq!(last.also.iter().collect::<HashSet<_>>().len(), MAX_ALSO);
}

#[tokio::test]
async fn a_flood_of_one_user_in_one_piece_of_the_log_hides_nothing_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.log");
    std::fs::write(&path, "").unwrap();
    let log = Log::open(path.clone()).await.unwrap();
    let mut text = String::new();
    for number in 0..1000 {
        if number == 300 {
            text.push_str(&format!("{}\n", line("quiet", LINK_PUT)));
        }
        text.push_str(&format!("{}\n", line("loud", &format!("x{number}.y"))));
    }
    let file = std::fs::OpenOptions::new().append(true).open(&path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
    let scene = Scene::new();
    let telling = Arc::clone(&scene.telling);
    let take = move |line: &str| telling.take(line);
    let _following = AbortOnDropHandle::new(tokio::spawn(log.follow(Turn::new(None), take)));
    let all = async {
        while scene.count("loud") < 1000 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), all).await.unwrap();
    assert!(scene.names("quiet", LINK_PUT));
    assert_eq!([scene.count("quiet"), scene.count("loud")], [1, 1000]);
}
