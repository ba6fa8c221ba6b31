//! What limiters promise.

mod overload;

use futures::FutureExt as _;

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let limiter = Limiter::new(1, 0, Duration::from_secs(1));
    let held = limiter.acquire(soon()).await.unwrap();
    let before = Instant::now();
    let refused = limiter.acquire(soon()).await.unwrap_err();
    assert_eq!(refused.code, RemoteError::OVERLOADED);
    assert_eq!(Instant::now(), before);
    drop(held);
    limiter.acquire(soon()).await.unwrap();
}

#[tokio::test]
async fn a_limiter_grows_and_shrinks_under_load() {
    let limiter = Limiter::new(3, 0, Duration::ZERO);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(limiter.acquire(soon()).await.unwrap());
    }
    limiter.resize(1);
    assert_eq!((limiter.stats().size, limiter.stats().free), (1, 0));
    held.truncate(1);
    limiter.acquire(soon()).await.unwrap_err();
    held.clear();
    assert_eq!(limiter.stats().free, 1);
    let _one = limiter.acquire(soon()).await.unwrap();
    limiter.resize(0);
    limiter.resize(3);
    assert_eq!((limiter.stats().size, limiter.stats().free), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_and_a_refusal_press() {
    let limiter = Limiter::new(4, 1, Duration::from_secs(1));
    assert_ne!(limiter.room(), 0);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(limiter.acquire(soon()).await.unwrap());
    }
    assert_eq!(limiter.room(), 0);
    let before = Instant::now();
    tokio::select! {
        _ = limiter.acquire(soon()) => panic!("a turn"),
        () = limiter.pressed_hard() => {}
    }
    assert_eq!(before.elapsed().as_millis() / 10, 10);
    assert!(limiter.pressed().now_or_never().is_some());
    tokio::select! {
        _ = limiter.acquire(soon()) => panic!("a turn"),
        () = limiter.pressed() => {}
    }
    assert_eq!(before.elapsed().as_millis() / 10, 11);
    let (one, other) = tokio::join!(limiter.acquire(soon()), limiter.acquire(soon()));
    assert!(one.is_err() && other.is_err());
    limiter.pressed().await;
    held.pop();
    assert_ne!(limiter.room(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_age_limit() {
    let limiter = Limiter::new(1, 4, Duration::from_millis(50));
    let _held = limiter.acquire(soon()).await.unwrap();
    let before = Instant::now();
    limiter.acquire(soon()).await.unwrap_err();
    assert_eq!(before.elapsed().as_millis() / 10, 5);
    assert_eq!(limiter.stats().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_served_in_time_is_refused_at_once_and_told_when_to_come_again() {
    let limiter = Limiter::new(1, 100, Duration::from_secs(10));
    for _ in 0..3 {
        let _permit = limiter.acquire(soon()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let _held = limiter.acquire(soon()).await.unwrap();
    let before = Instant::now();
    let deadline = before + Duration::from_secs(1);
    let refused = limiter.acquire(deadline).await.unwrap_err();
    assert_eq!(refused.code, RemoteError::OVERLOADED);
    assert_eq!(
        (Instant::now(), refused.retry_after_ms),
        (before, Some(2000))
    );
    // Who can wait for longer does.
    let mut wait = Box::pin(limiter.acquire(before + Duration::from_secs(3)));
    assert!(futures::poll!(&mut wait).is_pending());
    let late = limiter.acquire(before + Duration::from_secs(3)).await;
    assert_eq!(late.unwrap_err().retry_after_ms, Some(4000));
}

#[tokio::test(start_paused = true)]
async fn what_waited_until_its_time_had_passed_does_not_begin() {
    let limiter = Limiter::new(1, 100, Duration::from_secs(1));
    let arrived = Instant::now();
    tokio::time::advance(Duration::from_secs(2)).await;
    let claim = Claim {
        arrived,
        deadline: arrived + Duration::from_secs(1),
        source: None,
    };
    let refused = limiter.admit(claim).await.unwrap_err();
    assert_eq!(refused.code, RemoteError::DEADLINE);
    assert_eq!(limiter.stats().free, 1);
}
