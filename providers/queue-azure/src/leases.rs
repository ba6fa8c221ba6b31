//! Which leases have ended, and by what Azure knows a delivery now.
//!
//! Azure lets a message be deleted whose lease has ended, as long as nobody else has received it. So
//! a receipt says when its lease ends. When a lease is extended Azure gives another receipt; that one
//! is known here by the first.

use std::time::Duration;

use lattice_provider_sdk::queue::{DatedReceipt, LeaseState, LeaseTable};

/// The leases that this process gave, each with what Azure knows the delivery by now. Those that there
/// is no room for cannot be extended.
#[derive(Debug, Default)]
pub(crate) struct Leases(LeaseTable<String>);

/// A message under a lease that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The number of the message.
    pub(crate) id: String,
    /// What Azure knows the delivery by.
    pub(crate) pop: String,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotHeld {
    /// It has ended, or the message was settled.
    Over,
    /// The text is no receipt.
    Foreign,
}

impl Leases {
    /// The lease of a receipt ends then, and this is what Azure knows it by. Without room it is not
    /// known, and ends when the receipt says.
    pub(crate) fn put(&self, receipt: &str, pop: &str, lease: Duration) {
        self.0.put(receipt, pop.to_owned(), lease);
    }

    /// The message was settled, or its receipt is of no use any more.
    pub(crate) fn settle(&self, receipt: &str) {
        // Remembered for as long as the text itself would say that the lease lasts.
        let dated = DatedReceipt::read(receipt);
        let left = dated.map_or(Duration::ZERO, |dated| dated.left());
        self.0.put_settled(receipt, left);
    }

    /// The message of a receipt.
    pub(crate) fn held(&self, receipt: &str) -> Result<Held, NotHeld> {
        let dated = DatedReceipt::read(receipt).ok_or(NotHeld::Foreign)?;
        let (id, first) = dated.own.split_once(':').ok_or(NotHeld::Foreign)?;
        let pop = match self.0.state(receipt, &dated) {
            LeaseState::Lasts(pop) => pop,
            // A copy that has ended gave it; had it been extended, Azure would refuse it.
            LeaseState::AsGiven => first.to_owned(),
            LeaseState::Over | LeaseState::Doubtful => return Err(NotHeld::Over),
        };
        let id = id.to_owned();
        Ok(Held { id, pop })
    }
}

/// The receipt of a delivery.
pub(crate) fn receipt(id: &str, pop: &str, lease: Duration) -> String {
    DatedReceipt::write(format_args!("{id}:{pop}"), lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn leases_end_and_have_new_receipts_when_extended() {
        let leases = Leases::default();
        let text = receipt("7", "a:b=", LEASE);
        let held = |pop: &str| {
            Ok(Held {
                id: "7".to_owned(),
                pop: pop.to_owned(),
            })
        };
        assert_eq!(leases.held(&text), held("a:b="));
        leases.put(&text, "a:b=", Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        leases.put(&text, "c", Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(leases.held(&text), held("c"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(leases.held(&text), Err(NotHeld::Over));
    }

    #[test]
    fn what_was_settled_is_not_held() {
        let leases = Leases::default();
        let text = receipt("7", "a", LEASE);
        leases.settle(&text);
        assert_eq!(leases.held(&text), Err(NotHeld::Over));
        assert_eq!(leases.held("1:7:a"), Err(NotHeld::Over));
        for bad in ["", "x", "x:7:a", "99999999999999:7"] {
            assert_eq!(leases.held(bad), Err(NotHeld::Foreign), "{bad}");
        }
    }
}
