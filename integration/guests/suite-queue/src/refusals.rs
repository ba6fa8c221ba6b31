//! What can never be right is refused by name.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::queue::types::{Error, Message, Outcome};
use crate::bindings::lattice::queue::{consumer, producer};
use crate::kit::{Good as _, Kit, LONG_MS, body, text};
use crate::{Case, ensure, same};

pub(crate) const CASES: &[Case] = &[
    ("a-name-that-no-queue-can-have-is-refused", names),
    ("an-attribute-that-cannot-be-is-refused", attributes),
    ("a-receipt-that-was-made-up-is-refused", made_up),
    ("a-receipt-of-another-queue-is-refused", other_queue),
    ("a-lease-of-nothing-is-refused", no_lease),
    (
        "a-message-that-is-too-large-is-refused-with-the-limit",
        too_large,
    ),
];

/// Bodies larger than this are not tried.
const LARGEST_TRIED: usize = 4 << 20;

fn names(_kit: &Kit) -> Result<(), Failure> {
    for bad in ["a b", "a/b", "../a", "ключ", "a*", "a>", "\0"] {
        let sent = producer::send(bad, &text(""), None);
        ensure!(matches!(&sent, Err(Error::Invalid(_))), "{bad:?}: {sent:?}");
        let got = consumer::receive(bad, 1, 0, None);
        ensure!(matches!(&got, Err(Error::Invalid(_))), "{bad:?}: {got:?}");
    }
    Ok(())
}

fn attributes(kit: &Kit) -> Result<(), Failure> {
    for names in [vec![""], vec!["a b"], vec!["a:b"], vec!["a", "A"]] {
        let attributes = names.iter().map(|name| ((*name).to_owned(), String::new()));
        let message = Message {
            attributes: attributes.collect(),
            ..text("")
        };
        let sent = producer::send(&kit.queue, &message, None);
        ensure!(
            matches!(&sent, Err(Error::Invalid(_))),
            "{names:?}: {sent:?}"
        );
    }
    Ok(())
}

fn made_up(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("mine"))?;
    let got = kit.one(LONG_MS)?;
    let mut turned: Vec<char> = got.receipt.chars().collect();
    turned.reverse();
    let turned: String = turned.into_iter().collect();
    for receipt in ["", "1", got.id.as_str(), turned.as_str(), &got.receipt[1..]] {
        let settled = consumer::settle(&kit.queue, receipt, &Outcome::Ack);
        let is_refused = matches!(&settled, Err(Error::Invalid(_) | Error::ReceiptExpired));
        ensure!(is_refused, "{receipt:?}: {settled:?}");
    }
    kit.settle(&got, &Outcome::Ack)
}

fn other_queue(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("mine"))?;
    let other = format!("{}-b", kit.queue);
    producer::send(&other, &text("theirs"), None).good("send to another queue")?;
    let mine = kit.one(LONG_MS)?;
    let settled = consumer::settle(&other, &mine.receipt, &Outcome::Ack);
    let is_refused = matches!(&settled, Err(Error::Invalid(_) | Error::ReceiptExpired));
    ensure!(is_refused, "{settled:?}");
    let theirs = kit.one_of(&other, LONG_MS)?;
    same!(
        (body(&mine).as_str(), body(&theirs).as_str()),
        ("mine", "theirs")
    );
    consumer::settle(&other, &theirs.receipt, &Outcome::Ack).good("settle")?;
    kit.settle(&mine, &Outcome::Ack)
}

fn no_lease(kit: &Kit) -> Result<(), Failure> {
    kit.send(&text("mine"))?;
    let got = consumer::receive(&kit.queue, 1, 0, Some(0));
    ensure!(matches!(&got, Err(Error::Invalid(_))), "{got:?}");
    let mine = kit.one(LONG_MS)?;
    let extended = consumer::extend(&kit.queue, &mine.receipt, 0);
    ensure!(matches!(&extended, Err(Error::Invalid(_))), "{extended:?}");
    kit.settle(&mine, &Outcome::Ack)
}

fn too_large(kit: &Kit) -> Result<(), Failure> {
    let most = kit.feature("max-message-bytes");
    let Some(most) = most.and_then(|most| most.parse::<usize>().ok()) else {
        return Err(Failure::Failed("no `max-message-bytes` is told".into()));
    };
    if most >= LARGEST_TRIED {
        return Err(Failure::Refused(format!(
            "messages may be longer than the {LARGEST_TRIED} bytes that this guest makes"
        )));
    }
    let large = Message {
        body: vec![b'x'; most + 1],
        ..text("")
    };
    let sent = producer::send(&kit.queue, &large, None);
    let Err(Error::TooLarge(room)) = sent else {
        return Err(Failure::Failed(format!("{} bytes: {sent:?}", most + 1)));
    };
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    ensure!(room <= most && room > 0, "told {room}, of {most}");
    let largest = Message {
        body: vec![b'y'; room],
        ..text("")
    };
    kit.send(&largest)?;
    let got = kit.one(LONG_MS)?;
    same!(got.message.body.len(), room);
    kit.settle(&got, &Outcome::Ack)
}
