//! When functions leave their queue groups, and when they come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::limiter::Permit;
use crate::relief::{Nobody, read};

/// How much later than it could something may be noticed.
const SLACK: Duration = Duration::from_millis(60);

/// Somebody who serves the entity as long as that is so, and counts how often that was asked.
#[derive(Debug, Default)]
struct Fake {
    serves: AtomicBool,
    asked: AtomicUsize,
}

impl Others for Fake {
    fn serve(&self) -> BoxFuture<'_, bool> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(self.serves.load(Ordering::Relaxed)))
    }
}

/// An entity all of whose turns are taken, and its keeper at work.
struct Scene {
    limiter: Arc<Limiter>,
    relief: Relief,
    ended: CancellationToken,
    held: Option<Permit>,
    began: Instant,
    _keeper: AbortOnDropHandle<()>,
}

impl Scene {
    async fn start(others: Arc<dyn Others>) -> Self {
        let limiter = Arc::new(Limiter::new(1, 100, Duration::from_secs(3600)));
        let (relief, ended) = (Relief::default(), CancellationToken::new());
        let held = Some(limiter.acquire(far()).await.unwrap());
        let work = {
            let (limiter, relief, ended) = (Arc::clone(&limiter), relief.clone(), ended.clone());
            async move {
                let keeper = Keeper {
                    limiter: &limiter,
                    others: &*others,
                    relief: &relief,
                    ended: &ended,
                    group: "a",
                };
                let ends = ended.cancelled();
                let elsewhere = || std::future::ready(relief.knows_other());
                tokio::select! {
                    () = ends => {}
                    () = keeper.keep(elsewhere) => {}
                }
            }
        };
        let keeper = AbortOnDropHandle::new(tokio::spawn(work));
        Self {
            limiter,
            relief,
            ended,
            held,
            began: Instant::now(),
            _keeper: keeper,
        }
    }

    /// A call that waits for its turn until this is dropped.
    fn wait(&self) -> AbortOnDropHandle<()> {
        let limiter = Arc::clone(&self.limiter);
        AbortOnDropHandle::new(tokio::spawn(async move {
            _ = limiter.acquire(far()).await;
        }))
    }

    fn is_away(&self) -> bool {
        *self.relief.aside.now.borrow()
    }

    /// Waits until it is away or is not, and says after which time.
    async fn until(&self, away: bool) -> Duration {
        let mut aside = self.relief.aside.now.subscribe();
        let came = aside.wait_for(|now| *now == away);
        timeout(Duration::from_secs(60), came)
            .await
            .expect("it does not come to pass")
            .unwrap();
        self.began.elapsed()
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(7200)
}

fn serving() -> Arc<Fake> {
    let fake = Fake::default();
    fake.serves.store(true, Ordering::Relaxed);
    Arc::new(fake)
}

#[tokio::test(start_paused = true)]
async fn who_lets_calls_wait_leaves_to_others_and_comes_back_when_there_is_room() {
    let mut scene = Scene::start(serving()).await;
    let waits = scene.wait();
    let left = scene.until(true).await;
    // A call that has waited for a tenth of a second is where it begins.
    let soonest = LEAVE_AFTER + Duration::from_millis(100);
    assert!(left >= soonest && left < soonest + SLACK, "{left:?}");
    drop((waits, scene.held.take()));
    let away = scene.until(false).await - left;
    assert!(away >= SHORTEST && away < 2 * SHORTEST + SLACK, "{away:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_room_comes_back_after_a_while_and_leaves_again() {
    let others = serving();
    let scene = Scene::start(others.clone()).await;
    let (_waits, left) = (scene.wait(), scene.until(true).await);
    let away = scene.until(false).await - left;
    assert!(away >= LONGEST && away < LONGEST + SLACK, "{away:?}");
    let asked = others.asked.load(Ordering::Relaxed);
    assert!(asked <= 6, "{asked} questions in ten seconds");
    // What comes now waits for long again.
    let _again = scene.wait();
    scene.until(true).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_stays_and_asks_rarely() {
    let others = Arc::new(Fake::default());
    let scene = Scene::start(others.clone()).await;
    for _ in 0..100 {
        let waits = scene.wait();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!scene.is_away());
        drop(waits);
    }
    let asked = others.asked.load(Ordering::Relaxed);
    assert!((1..=10).contains(&asked), "{asked} in twenty seconds");
    let alone = Scene::start(Arc::new(Nobody)).await;
    let _waits = alone.wait();
    tokio::time::sleep(LONGEST).await;
    assert!(!alone.is_away());
}

#[tokio::test(start_paused = true)]
async fn who_finds_itself_alone_comes_back() {
    let others = serving();
    let scene = Scene::start(others.clone()).await;
    let (_waits, left) = (scene.wait(), scene.until(true).await);
    others.serves.store(false, Ordering::Relaxed);
    let away = scene.until(false).await - left;
    assert!(away < KNOWN_FOR + KNOWN_FOR / 4 + SLACK, "{away:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_leaves_while_one_of_our_kind_has_room_or_calls_wait_for_a_moment() {
    let others = serving();
    let mut scene = Scene::start(others.clone()).await;
    let waits = scene.wait();
    for _ in 0..100 {
        scene
            .relief
            .set(read(&"inbox.at.2".into()), crate::relief::PAUSE);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!scene.is_away());
    }
    assert_eq!(others.asked.load(Ordering::Relaxed), 0);
    scene.relief.set(None, crate::relief::PAUSE);
    drop(waits);
    for _ in 0..20 {
        let waits = scene.wait();
        tokio::time::sleep(Duration::from_millis(350)).await;
        drop((waits, scene.held.take()));
        tokio::time::sleep(2 * LOOK).await;
        scene.held = Some(scene.limiter.acquire(far()).await.unwrap());
        assert!(!scene.is_away());
    }
}

#[tokio::test(start_paused = true)]
async fn who_ends_does_not_come_back_and_others_who_vanish_do_no_harm() {
    let scene = Scene::start(serving()).await;
    let (_waits, _) = (scene.wait(), scene.until(true).await);
    scene.ended.cancel();
    tokio::time::sleep(2 * LONGEST).await;
    assert!(scene.is_away());
    // One that is dropped without having been ended leaves nobody outside.
    let dropped = Scene::start(serving()).await;
    let (_waits, _) = (dropped.wait(), dropped.until(true).await);
    let relief = dropped.relief.clone();
    drop(dropped);
    tokio::task::yield_now().await;
    assert!(!*relief.aside.now.borrow());
}

#[tokio::test(start_paused = true)]
async fn an_absence_is_for_those_functions_that_others_were_asked_about() {
    let others = serving();
    let scene = Scene::start(others.clone()).await;
    let mut before = scene.relief.absences();
    let _waits = scene.wait();
    before.begins().await;
    let asked = others.asked.load(Ordering::Relaxed);
    let mut later = scene.relief.absences();
    let mut begins = Box::pin(later.begins());
    assert!(futures::poll!(&mut begins).is_pending());
    // They are asked about it soon, and do not serve it.
    others.serves.store(false, Ordering::Relaxed);
    before.ends().await;
    assert!(scene.began.elapsed() < LEAVE_AFTER + KNOWN_FOR / 2);
    assert_eq!(others.asked.load(Ordering::Relaxed), asked + 1);
    assert!(futures::poll!(&mut begins).is_pending());
    others.serves.store(true, Ordering::Relaxed);
    let _again = scene.wait();
    begins.await;
    before.begins().await;
}
