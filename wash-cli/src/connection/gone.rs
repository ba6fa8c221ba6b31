//! What hosts have left behind that are gone: the states of links outlast a host that was killed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use lattice_control::ClientError;
use lattice_core::{HostId, Link};

use super::Lattice;
use super::lattice::ASKED_AT_ONCE;

/// How long a host may take to show that it is there. Of one that is not, NATS says so at once; one that
/// is silent counts as there.
const IS_THERE: Duration = Duration::from_secs(1);
/// When it is asked once more: a host may be about to connect again.
const ONCE_MORE: Duration = Duration::from_millis(250);

/// Which of the hosts that have reported something are gone, as far as they were asked.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    asked: HashMap<String, bool>,
}

impl Gone {
    /// With these hosts, which have answered something.
    pub(crate) fn knowing<'a>(there: impl IntoIterator<Item = &'a str>) -> Self {
        let there = there.into_iter();
        Self {
            asked: there.map(|id| (id.to_owned(), false)).collect(),
        }
    }

    /// Leaves out of the links what was reported by hosts that are gone.
    pub(crate) async fn leave_out(&mut self, lattice: &Lattice, links: &mut [Link]) {
        let reports = links.iter().flat_map(|link| &link.status);
        let unknown: BTreeSet<String> = reports
            .map(|status| &status.host_id)
            .filter(|id| !self.asked.contains_key(*id))
            .cloned()
            .collect();
        let answers: Vec<(String, bool)> = stream::iter(unknown)
            .map(|id| async move {
                let is_gone = is_gone(lattice, &id).await;
                (id, is_gone)
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await;
        self.asked.extend(answers);
        for link in links {
            let is_gone = |id: &String| self.asked.get(id).is_some_and(|is_gone| *is_gone);
            link.status.retain(|status| !is_gone(&status.host_id));
        }
    }
}

async fn is_gone(lattice: &Lattice, id: &str) -> bool {
    let Ok(id) = HostId::new(id) else {
        return false;
    };
    if !is_unheard(lattice, &id).await {
        return false;
    }
    tokio::time::sleep(ONCE_MORE).await;
    is_unheard(lattice, &id).await
}

/// Whether nobody listens who has this id.
async fn is_unheard(lattice: &Lattice, id: &HostId) -> bool {
    let answer = tokio::time::timeout(IS_THERE, lattice.client.inventory(id)).await;
    matches!(answer, Ok(Err(ClientError::NoResponders { .. })))
}
