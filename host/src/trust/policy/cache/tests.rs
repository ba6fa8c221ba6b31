//! Tests of what is remembered, and for how long.

use lattice_core::policy::{PolicyComponent, PolicyHost, PolicySubject};
use tokio::time::advance;

use super::*;

const KEEP: Duration = Duration::from_secs(60);

fn request(id: &str) -> PolicyRequest {
    PolicyRequest {
        request_id: id.to_owned(),
        kind: PolicyKind::StartComponent,
        version: "v1".to_owned(),
        host: PolicyHost::default(),
        request: PolicySubject::Component(PolicyComponent::default()),
    }
}

fn response(id: &str, permitted: bool) -> PolicyResponse {
    PolicyResponse {
        request_id: id.to_owned(),
        permitted,
        message: None,
    }
}

fn said(id: &str, permitted: bool) -> Decision {
    Decision::said(response(id, permitted), KEEP, 0)
}

fn key(text: &str) -> Arc<str> {
    Arc::from(text)
}

#[tokio::test(start_paused = true)]
async fn a_decision_holds_for_a_while_and_for_the_labels_it_was_made_for() {
    let cache = Cache::new(KEEP);
    let entry = cache.entry(&key("a"));
    cache.asks(&entry, &request("1"), 0);
    assert_eq!(entry.decision(0), None);
    entry.answered("1", said("1", true));
    let found = cache.find(&key("a")).unwrap();
    assert_eq!(found.decision(0).unwrap().outcome(), Ok(()));
    assert_eq!(found.decision(1), None);
    advance(KEEP).await;
    assert_eq!(found.decision(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_is_kept_for_ever_is_kept_for_long() {
    let cache = Cache::new(Duration::MAX);
    let entry = cache.entry(&key("a"));
    cache.asks(&entry, &request("1"), 0);
    entry.answered("1", Decision::said(response("1", true), cache.keep(), 0));
    advance(LONGEST / 2).await;
    assert_eq!(entry.decision(0).unwrap().outcome(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_counts_for_who_came_before_the_question() {
    let cache = Cache::new(Duration::ZERO);
    let entry = cache.entry(&key("a"));
    let before = entry.asked();
    cache.asks(&entry, &request("1"), 0);
    let after = entry.asked();
    assert_eq!(entry.decision_since(before, 0), None, "there is no answer");
    entry.answered("1", Decision::said(response("1", true), Duration::ZERO, 0));
    assert_eq!(entry.decision(0), None);
    let shared = entry.decision_since(before, 0).unwrap();
    assert_eq!(shared.outcome(), Ok(()));
    assert_eq!(entry.decision_since(after, 0), None);
    assert_eq!(entry.decision_since(before, 1), None, "of other labels");
}

#[tokio::test(start_paused = true)]
async fn that_nobody_answered_is_soon_forgotten() {
    let denied = Denied::NoService { topic: "p".into() };
    let entry = Entry::default();
    entry.state.lock().decision = Some(Decision::unanswered(denied, 0));
    assert!(entry.decision(0).unwrap().outcome().is_err());
    advance(UNANSWERED).await;
    assert_eq!(entry.decision(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_change_takes_the_place_of_the_answer_it_names() {
    let cache = Cache::new(KEEP);
    let entry = cache.entry(&key("a"));
    cache.asks(&entry, &request("1"), 0);
    entry.answered("1", said("1", true));
    let asked = cache.change(response("1", false)).unwrap();
    assert_eq!(asked.kind, PolicyKind::StartComponent);
    assert!(entry.decision(0).unwrap().outcome().is_err());
    assert_eq!(cache.change(response("2", true)), None);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_before_the_answer_counts() {
    let cache = Cache::new(KEEP);
    let entry = cache.entry(&key("a"));
    cache.asks(&entry, &request("1"), 0);
    cache.change(response("1", false)).unwrap();
    let holds = entry.answered("1", said("1", true));
    assert!(holds.outcome().is_err());
    assert!(entry.decision(0).unwrap().outcome().is_err());
}

#[tokio::test(start_paused = true)]
async fn requests_of_the_past_change_nothing() {
    let cache = Cache::new(KEEP);
    let entry = cache.entry(&key("a"));
    cache.asks(&entry, &request("1"), 0);
    entry.answered("1", said("1", false));
    cache.asks(&entry, &request("2"), 0);
    assert_eq!(cache.change(response("1", true)), None);
    assert!(entry.answered("1", said("1", true)).outcome().is_ok());
    assert_eq!(entry.decision(0), None, "the answer is to another request");
    assert_eq!(cache.requests.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_make_room() {
    let cache = Cache::new(KEEP);
    for n in 0..=MAX_DECISIONS {
        let (name, id) = (key(&n.to_string()), n.to_string());
        let entry = cache.entry(&name);
        cache.asks(&entry, &request(&id), 0);
        entry.answered(&id, said(&id, true));
        drop(entry);
        advance(Duration::from_millis(1)).await;
    }
    let entries = cache.entries.read().len();
    assert!(entries <= MAX_DECISIONS && entries > MAX_DECISIONS / 2);
    assert!(cache.find(&key("0")).is_none());
    assert!(cache.find(&key(&MAX_DECISIONS.to_string())).is_some());
    assert!(cache.requests.lock().len() <= MAX_DECISIONS);
}

#[tokio::test(start_paused = true)]
async fn what_is_about_one_component_is_forgotten_alone() {
    let cache = Cache::new(KEEP);
    for name in ["call\na\nx", "call\na\ny", "call\nab\nx"] {
        cache.entry(&key(name));
    }
    cache.forget("call\na\n");
    let left: Vec<_> = cache.entries.read().keys().cloned().collect();
    assert_eq!(left, [key("call\nab\nx")]);
}
