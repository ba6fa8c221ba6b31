//! Chooses a host: the one that is named, or one that bids in an auction.

use std::time::Duration;

use lattice_control::types::{ComponentAuctionRequest, ProviderAuctionRequest};
use lattice_control::{ClientError, GatherOptions};
use lattice_core::host::HostInventory;
use lattice_core::{ComponentId, HostId, StringMap};

use crate::connection::{Lattice, Search};
use crate::error::{CliError, Code, Result};
use crate::resolve;

/// How long bids are waited for.
const AUCTION_MS: u64 = 2000;

/// Options of commands that may have to find a host.
#[derive(Debug, clap::Args)]
pub(crate) struct Auction {
    /// Host: its id, the start of its id, or a part of its name [default: one that bids]
    #[arg(long = "host-id")]
    pub(crate) host_id: Option<String>,
    /// Label a host must have; may be repeated
    #[arg(short = 'c', long = "constraint", value_name = "KEY=VALUE")]
    pub(crate) constraints: Vec<String>,
    /// How long to wait for bids, in milliseconds
    #[arg(long = "auction-timeout-ms", default_value_t = AUCTION_MS)]
    pub(crate) auction_timeout_ms: u64,
}

impl Auction {
    /// Any host will do.
    pub(crate) fn any() -> Self {
        Self {
            host_id: None,
            constraints: Vec::new(),
            auction_timeout_ms: AUCTION_MS,
        }
    }

    fn options(&self, lattice: &Lattice) -> GatherOptions {
        GatherOptions {
            timeout: Some(Duration::from_millis(self.auction_timeout_ms)),
            ..lattice.gather(Search::Quick)
        }
    }
}

/// The host for a component: the named one, one that runs it already, or the least busy bidder.
pub(crate) async fn component_host(
    lattice: &Lattice,
    auction: &Auction,
    id: &ComponentId,
    image: &str,
) -> Result<HostId> {
    let bidders = async |constraints, options| {
        let request = ComponentAuctionRequest {
            component_ref: image.to_owned(),
            component_id: id.to_string(),
            constraints,
        };
        let bids = lattice.client.auction_component(request, options).await?;
        Ok(bids.into_iter().map(|bid| bid.host_id).collect())
    };
    let runs_it = |inventory: &HostInventory| {
        let mut components = inventory.components.iter();
        components.any(|it| it.id == id.as_str())
    };
    named_or_bidder(lattice, auction, ("component", id), bidders, runs_it).await
}

/// The host for a provider: the named one or the least busy bidder.
pub(super) async fn provider_host(
    lattice: &Lattice,
    auction: &Auction,
    id: &ComponentId,
    image: &str,
) -> Result<HostId> {
    let bidders = async |constraints, options| {
        let request = ProviderAuctionRequest {
            provider_ref: image.to_owned(),
            provider_id: id.to_string(),
            constraints,
        };
        let bids = lattice.client.auction_provider(request, options).await?;
        Ok(bids.into_iter().map(|bid| bid.host_id).collect())
    };
    named_or_bidder(lattice, auction, ("provider", id), bidders, |_| false).await
}

/// The host that is named, or the least busy of those that `bidders` finds, preferred ones first.
async fn named_or_bidder(
    lattice: &Lattice,
    auction: &Auction,
    (kind, id): (&str, &ComponentId),
    bidders: impl AsyncFnOnce(StringMap, GatherOptions) -> Result<Vec<String>, ClientError>,
    preferred: impl Fn(&HostInventory) -> bool,
) -> Result<HostId> {
    if let Some(host) = lattice.find_host_if(auction.host_id.as_deref()).await? {
        return Ok(host);
    }
    let constraints = resolve::pairs(&auction.constraints)?;
    let bidders = bidders(constraints.clone(), auction.options(lattice)).await;
    let bidders = bidders.map_err(|error| lattice.explain("could not hold an auction", &error))?;
    if let Some(host) = choose(lattice, &bidders, preferred).await? {
        return Ok(host);
    }
    // Only a better text is at stake: who cannot be asked is left out.
    let inventories = match kind {
        "provider" => lattice.look_at(None, Search::Quick).await.ok(),
        _ => None,
    };
    let inventories = inventories.unwrap_or_default();
    Err(running_already(id, &constraints, &inventories)
        .unwrap_or_else(|| no_bids(kind, id, &constraints)))
}

/// Why no host bids for a provider that runs: each runs an id only once.
fn running_already(
    id: &ComponentId,
    constraints: &StringMap,
    inventories: &[HostInventory],
) -> Option<CliError> {
    let found = inventories
        .iter()
        .filter(|host| resolve::fits(&host.labels, constraints))
        .find_map(|host| {
            let provider = host.providers.iter().find(|it| it.id == id.as_str())?;
            Some((host, provider))
        });
    let (host, provider) = found?;
    let image = provider.image_ref.as_deref().unwrap_or("an unknown image");
    let text = format!(
        "provider `{id}` runs already on host `{}` ({})",
        host.host_id, host.friendly_name
    );
    let error = CliError::new(Code::NoHostFits, text).cause(format!("its image is `{image}`"));
    let error = match &provider.problem {
        Some(problem) => error.cause(problem.as_str()),
        None => error,
    };
    Some(error.hint(format!("stop it first with `wash stop provider {id}`")))
}

/// Whoever answers first is only closest; of all bidders the least busy one is taken.
async fn choose(
    lattice: &Lattice,
    bidders: &[String],
    preferred: impl Fn(&HostInventory) -> bool,
) -> Result<Option<HostId>> {
    let mut ranked: Vec<(bool, usize, HostId)> = Vec::new();
    let mut silent = None;
    let asked = bidders.iter().map(|bidder| async move {
        let id = HostId::new(bidder).ok()?;
        let inventory = lattice.client.inventory(&id).await;
        Some((id, inventory))
    });
    for (id, inventory) in futures::future::join_all(asked).await.into_iter().flatten() {
        match inventory {
            Ok(inventory) => {
                let load = inventory.components.len() + inventory.providers.len();
                ranked.push((!preferred(&inventory), load, id));
            }
            Err(error) => silent = Some(error),
        }
    }
    match (ranked.into_iter().min(), silent) {
        (Some((_, _, id)), _) => Ok(Some(id)),
        // Somebody would run it, and only the answer is missing.
        (None, Some(error @ ClientError::Timeout { .. })) => {
            Err(lattice.explain("could not look at the hosts that bid", &error))
        }
        (None, _) => Ok(None),
    }
}

fn no_bids(kind: &str, id: &ComponentId, constraints: &StringMap) -> CliError {
    let error = CliError::new(Code::NoHostFits, format!("no host can run {kind} `{id}`"));
    let wanted: Vec<String> = constraints
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let error = if wanted.is_empty() {
        error
    } else {
        error.cause(format!(
            "no host bids that has the labels {}",
            wanted.join(", ")
        ))
    };
    if kind == "provider" {
        error.hint(
            "a host runs a provider id only once; `wash get inventory` shows labels and providers",
        )
    } else {
        error.hint("`wash get inventory` shows the labels of the hosts; `wash label` sets them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_core::host::ProviderDescription;

    #[test]
    fn a_provider_that_runs_already_is_told_with_its_problem() {
        let id = ComponentId::new("kv3").unwrap();
        let host = HostInventory {
            host_id: "NA".into(),
            friendly_name: "icy-hill-1".into(),
            providers: vec![ProviderDescription {
                id: "kv3".into(),
                image_ref: Some("/bin/false".into()),
                problem: Some("it ends again and again".into()),
                ..ProviderDescription::default()
            }],
            ..HostInventory::default()
        };
        let hosts = [host];
        let error = running_already(&id, &StringMap::new(), &hosts).unwrap();
        assert_eq!(error.code(), Code::NoHostFits);
        let causes = ["its image is `/bin/false`", "it ends again and again"];
        assert_eq!(error.causes(), causes);
        assert!(
            error
                .hint_text()
                .unwrap()
                .contains("wash stop provider kv3")
        );
        let elsewhere = [("zone".to_owned(), "b".to_owned())].into();
        assert!(running_already(&id, &elsewhere, &hosts).is_none());
    }
}
