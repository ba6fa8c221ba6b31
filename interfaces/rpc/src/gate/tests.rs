//! What a gate promises.

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;

const MOMENT: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(10);

/// A member whose calls only compute, or compute for so much of their time.
fn member(gate: &Gate, name: &str, share: f64) -> Seat {
    let seat = gate.join(name);
    for _ in 0..200 {
        seat.learn(Spent {
            busy: SOON.mul_f64(share),
            whole: SOON,
            ..Spent::default()
        });
    }
    seat
}

/// Presses the gate until it lets in no more than the floor.
fn press(gate: &Gate) {
    (0..20).for_each(|_| gate.inner.heed(true));
    assert_eq!(gate.inner.limit.load(Ordering::Relaxed), gate.inner.floor);
}

async fn waits(seat: &Seat) -> bool {
    timeout(MOMENT, seat.enter(None)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn an_open_gate_lets_everyone_in() {
    let gate = Gate::new(2);
    let one = member(&gate, "one", 1.0);
    let turns: Vec<_> = (0..1000).map(|_| one.try_enter().unwrap()).collect();
    assert_eq!(one.load(), 1000 * WHOLE);
    drop(turns);
    assert_eq!(gate.inner.load.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pressed_gate_keeps_all_cores_at_work_and_no_more() {
    let gate = Gate::new(2);
    let one = member(&gate, "one", 1.0);
    press(&gate);
    let turns = [one.try_enter().unwrap(), one.enter(None).await];
    assert!(one.try_enter().is_none() && waits(&one).await);
    let (turn, ()) = tokio::join!(one.enter(None), async {
        sleep(MOMENT).await;
        drop(turns);
    });
    assert_eq!(gate.inner.waiting.load(Ordering::Relaxed), 0);
    drop(turn);
    assert_eq!(gate.inner.load.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_others_are_hardly_a_load() {
    let gate = Gate::new(2);
    let patient = member(&gate, "patient", 0.01);
    press(&gate);
    let turns: Vec<_> = (0..200).map(|_| patient.try_enter().unwrap()).collect();
    assert_eq!(turns.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_gate_widens_while_calls_wait_and_opens_after_a_second() {
    let gate = Gate::new(1);
    let one = member(&gate, "one", 1.0);
    press(&gate);
    let _turn = one.try_enter().unwrap();
    let (turn, ()) = tokio::join!(timeout(SOON, one.enter(None)), async {
        sleep(50 * MOMENT).await;
        gate.inner.heed(false);
    });
    turn.unwrap();
    assert!(one.is_engaged());
    sleep(CALM).await;
    gate.inner.heed(false);
    assert!(!one.is_engaged());
}

#[tokio::test(start_paused = true)]
async fn a_flood_holds_up_no_other_component() {
    let gate = Gate::new(4);
    let flood = member(&gate, "flood", 1.0);
    let quiet = member(&gate, "quiet", 1.0);
    press(&gate);
    let _turns: Vec<_> = (0..4).map(|_| flood.try_enter().unwrap()).collect();
    assert!(waits(&flood).await);
    // Half of the limit is its own, whoever has it.
    let _own = [quiet.enter(None).await, quiet.enter(None).await];
    assert!(waits(&quiet).await && waits(&flood).await);
}

#[tokio::test(start_paused = true)]
async fn the_next_turn_is_of_who_has_least() {
    let gate = Gate::new(4);
    let seats = [("flood", 0), ("some", 1), ("few", 2)];
    let seats = seats.map(|(name, _)| Arc::new(member(&gate, name, 1.0)));
    press(&gate);
    let mut held: Vec<_> = (0..4).map(|_| seats[0].try_enter().unwrap()).collect();
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        for (number, seat) in seats.iter().enumerate() {
            let seat = Arc::clone(seat);
            waiting.spawn(async move { (number, seat.enter(None).await) });
        }
    }
    let mut turns = [0; 3];
    for round in 0..57 {
        tokio::task::yield_now().await;
        held.remove(0);
        let (number, turn) = timeout(SOON, waiting.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        held.push(turn);
        turns[number] += usize::from(round >= 9);
    }
    assert!(turns.iter().all(|turns| *turns >= 12), "{turns:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_component_of_this_host_does_not_wait() {
    let gate = Gate::new(1);
    let outer = member(&gate, "outer", 1.0);
    let inner = member(&gate, "inner", 1.0);
    press(&gate);
    let _turns = [outer.enter(None).await, inner.enter(None).await];
    assert!(waits(&inner).await);
    inner.enter(Some("outer")).await;
    assert!(
        timeout(MOMENT, inner.enter(Some("elsewhere")))
            .await
            .is_err()
    );
    drop(outer);
    assert!(timeout(MOMENT, inner.enter(Some("outer"))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn where_nothing_moves_calls_are_let_in_one_by_one() {
    let gate = Gate::new(1);
    let one = member(&gate, "one", 1.0);
    press(&gate);
    let _endless = one.enter(None).await;
    let look = async {
        gate.inner.heed(true);
        sleep(MOMENT).await;
        gate.inner.heed(true);
    };
    let (turn, ()) = tokio::join!(timeout(SOON, one.enter(None)), look);
    turn.unwrap();
    assert!(waits(&one).await);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_leaves_nothing_behind() {
    let gate = Gate::new(1);
    let one = Arc::new(member(&gate, "one", 1.0));
    press(&gate);
    let turn = one.enter(None).await;
    let mut waiting = JoinSet::new();
    for _ in 0..10 {
        let one = Arc::clone(&one);
        waiting.spawn(async move { drop(timeout(5 * MOMENT, one.enter(None)).await) });
    }
    sleep(MOMENT).await;
    assert_eq!(gate.inner.waiting.load(Ordering::Relaxed), 10);
    waiting.join_all().await;
    drop(turn);
    assert_eq!(gate.inner.waiting.load(Ordering::Relaxed), 0);
    assert_eq!(gate.inner.load.load(Ordering::Relaxed), 0);
    one.try_enter().unwrap();
}

#[tokio::test]
async fn threads_are_watched_while_there_is_much_to_do() {
    let gate = Gate::new(1);
    let one = member(&gate, "one", 1.0);
    let threads = Threads {
        handle: tokio::runtime::Handle::current(),
        target: Duration::from_millis(2),
    };
    let _watched = gate.watch(threads, None);
    let turns: Vec<_> = (0..4).map(|_| one.try_enter().unwrap()).collect();
    let mut busy = JoinSet::new();
    for _ in 0..4 {
        busy.spawn(async {
            loop {
                let until = Instant::now() + 2 * MOMENT;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let engaged = async {
        while !one.is_engaged() {
            sleep(10 * MOMENT).await;
        }
    };
    timeout(SOON, engaged).await.unwrap();
    busy.shutdown().await;
    drop(turns);
    let open = async {
        while one.is_engaged() {
            sleep(10 * MOMENT).await;
        }
    };
    timeout(SOON, open).await.unwrap();
}
