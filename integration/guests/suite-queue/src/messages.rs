//! Messages go in and come out.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::queue::types::{Error, Message, Outcome};
use crate::bindings::lattice::queue::{consumer, producer};
use crate::kit::{Good as _, Kit, LONG_MS, bodies, text};
use crate::{Case, ensure, same};

pub(crate) const CASES: &[Case] = &[
    ("what-is-sent-is-received-as-it-was", as_it_was),
    ("an-empty-body-is-a-message", empty_body),
    ("an-acknowledged-message-is-gone", gone),
    ("an-empty-queue-gives-nothing-in-time", nothing),
    ("no-more-are-received-than-asked-for", no_more),
    ("many-messages-all-come-once", many),
    ("send-many-tells-of-each", each),
    ("sending-none-does-nothing", none),
];

fn as_it_was(kit: &Kit) -> Result<(), Failure> {
    let message = Message {
        body: (0..=u8::MAX).cycle().take(3000).collect(),
        content_type: Some("application/x-test; v=1".into()),
        attributes: vec![
            ("plain".into(), "value".into()),
            ("Odd.name_1-x".into(), "ключ 🔑 100%\r\nline".into()),
            ("spaces".into(), " both ends ".into()),
        ],
        ..text("")
    };
    let id = kit.send(&message)?;
    let got = kit.one(LONG_MS)?;
    same!(got.id, id);
    same!(got.attempt, 1);
    same!(got.message.body, message.body);
    same!(got.message.content_type, message.content_type);
    let sorted = |message: &Message| message.attributes.iter().cloned().collect::<BTreeSet<_>>();
    same!(sorted(&got.message), sorted(&message));
    ensure!(
        !got.receipt.is_empty() && got.receipt != id,
        "the receipt is no secret"
    );
    kit.settle(&got, &Outcome::Ack)
}

fn empty_body(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text(""))?;
    let got = kit.one(LONG_MS)?;
    same!(got.message.body, Vec::<u8>::new());
    kit.settle(&got, &Outcome::Ack)
}

fn gone(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("once"))?;
    // A lease so short that it would be over by the second receive.
    let got = kit.one(1000)?;
    kit.settle(&got, &Outcome::Ack)?;
    for _ in 0..3 {
        same!(kit.receive(1, LONG_MS)?, Vec::new());
    }
    Ok(())
}

fn nothing(kit: &Kit) -> Result<(), Failure> {
    // The queue is there once something was sent.
    kit.send(&text("first"))?;
    same!(kit.all(1)?.len(), 1);
    let began = Instant::now();
    let got = consumer::receive(&kit.queue, 1, 0, None).good("receive")?;
    same!(got, Vec::new());
    ensure!(
        began.elapsed() < Duration::from_secs(2),
        "waited without being told to"
    );
    let got = consumer::receive(&kit.queue, 1, 1500, None).good("receive")?;
    same!(got, Vec::new());
    let took = began.elapsed();
    ensure!(
        took >= Duration::from_millis(900),
        "came back after {took:?}"
    );
    ensure!(took < Duration::from_secs(6), "came back after {took:?}");
    Ok(())
}

fn no_more(kit: &Kit) -> Result<(), Failure> {
    for n in 0..5 {
        kit.send(&text(&n.to_string()))?;
    }
    same!(kit.receive(0, LONG_MS)?, Vec::new());
    let mut all = Vec::new();
    for _ in 0..20 {
        let got = kit.receive(2, LONG_MS)?;
        ensure!(got.len() <= 2, "asked for two, got {}", got.len());
        all.extend(got);
        if all.len() >= 5 {
            break;
        }
    }
    same!(bodies(&all), ["0", "1", "2", "3", "4"]);
    for delivery in &all {
        kit.settle(delivery, &Outcome::Ack)?;
    }
    Ok(())
}

fn many(kit: &Kit) -> Result<(), Failure> {
    let messages: Vec<_> = (0..100).map(|n| text(&format!("{n:03}"))).collect();
    let sent = producer::send_many(&kit.queue, &messages).good("send many")?;
    same!(sent.len(), 100);
    let ids: BTreeSet<_> = sent
        .into_iter()
        .map(|id| id.good("send one of many"))
        .collect::<Result<_, _>>()?;
    same!(ids.len(), 100);
    let got = kit.all(100)?;
    let expected: Vec<_> = (0..100).map(|n| format!("{n:03}")).collect();
    same!(bodies(&got), expected);
    let receipts: BTreeSet<_> = got.iter().map(|delivery| &delivery.receipt).collect();
    same!(receipts.len(), 100);
    same!(kit.receive(10, LONG_MS)?, Vec::new());
    Ok(())
}

fn each(kit: &Kit) -> Result<(), Failure> {
    let bad = Message {
        attributes: vec![("no name".into(), String::new())],
        ..text("bad")
    };
    let messages = [text("a"), bad, text("b")];
    let sent = producer::send_many(&kit.queue, &messages).good("send many")?;
    same!(sent.len(), 3);
    ensure!(
        sent[0].is_ok() && sent[2].is_ok(),
        "good ones were refused: {sent:?}"
    );
    ensure!(matches!(sent[1], Err(Error::Invalid(_))), "{:?}", sent[1]);
    same!(bodies(&kit.all(2)?), ["a", "b"]);
    Ok(())
}

fn none(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("one"))?;
    let sent = producer::send_many(&kit.queue, &[]).good("send none")?;
    same!(sent.len(), 0);
    same!(kit.all(1)?.len(), 1);
    Ok(())
}
