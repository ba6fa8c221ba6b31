//! Sessions of a group's members that are gone for longer than a restart takes. Brokers such as
//! Mosquitto go on giving them their share of the messages, so that the others have them unsubscribed.
//! What they hold stays with the broker, for the copy that takes them up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::{BoxError, Shared};

use crate::held::{Held, LetGo, MOST};
use crate::publisher::{Claim, Publisher};

/// How often it is looked after the others. Who does not answer twice is gone.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is known of another member's session.
struct Neighbour {
    claim: Claim,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Somebody has it.
    Held,
    /// Nobody has answered for it, for the first time.
    Silent,
    /// It was let go already: to do so again would keep it from expiring.
    Gone(LetGo),
}

/// Looks after the sessions of the group whose members are gone.
pub(crate) async fn look_after(held: &Held, publisher: &Arc<Shared<Publisher>>) {
    let mut neighbours = HashMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = look(held, publisher, &mut neighbours).await {
            tracing::debug!(%error, "could not look after the MQTT sessions of a group");
        }
    }
}

/// Looks at those behind the own one, up to one that is held: who has that looks further. Behind the
/// last are the first.
async fn look(
    held: &Held,
    publisher: &Arc<Shared<Publisher>>,
    neighbours: &mut HashMap<u32, Neighbour>,
) -> Result<(), BoxError> {
    let Some(own) = held.number() else {
        return Ok(());
    };
    let mut is_end = false;
    for number in (own + 1..=MOST).chain(0..own) {
        if is_end && number > own {
            continue;
        }
        let neighbour = neighbours.entry(number).or_insert_with(|| Neighbour {
            claim: Claim::new(publisher, &held.numbered(Some(number)).client_id()),
            seen: Seen::Held,
        });
        neighbour.seen = look_at(held, number, neighbour).await?;
        match neighbour.seen {
            Seen::Held | Seen::Silent => return Ok(()),
            Seen::Gone(LetGo::Absent) => is_end = true,
            Seen::Gone(_) => {}
        }
    }
    Ok(())
}

async fn look_at(held: &Held, number: u32, neighbour: &Neighbour) -> Result<Seen, BoxError> {
    if neighbour.seen == Seen::Silent {
        return Ok(match held.let_go(Some(number), &neighbour.claim).await? {
            LetGo::Held => Seen::Held,
            gone => Seen::Gone(gone),
        });
    }
    let is_free = neighbour.claim.is_free().await?;
    Ok(match neighbour.seen {
        _ if !is_free => Seen::Held,
        Seen::Gone(gone) => Seen::Gone(gone),
        Seen::Held | Seen::Silent => Seen::Silent,
    })
}
