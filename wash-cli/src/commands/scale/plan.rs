//! Decides which hosts get a copy of a provider and which lose theirs.

use lattice_core::StringMap;
use lattice_core::host::HostInventory;
use lattice_core::reference::without_scheme;

use crate::resolve::fits;

/// How many copies are wanted on the hosts that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This many, on any of them.
    Replicas(usize),
    /// One on each.
    PerHost,
}

/// What is done on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Keep,
    Start,
    Stop,
}

impl Action {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) host: String,
    pub(super) name: String,
    pub(super) action: Action,
}

/// All steps, and how many copies were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) desired: usize,
    pub(super) steps: Vec<Step>,
    /// Copies for which there is no host.
    pub(super) missing: usize,
}

/// A host runs the id with another image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherImage {
    pub(super) host: String,
    pub(super) image: String,
}

/// Plans for provider `id` with `image` on the hosts that have every label in `constraints`.
/// Copies that run stay where possible; new ones go to the least busy hosts.
pub(super) fn plan(
    inventories: &[HostInventory],
    constraints: &StringMap,
    id: &str,
    image: &str,
    wanted: Wanted,
) -> Result<Plan, OtherImage> {
    let mut running = Vec::new();
    let mut free = Vec::new();
    for host in inventories
        .iter()
        .filter(|host| fits(&host.labels, constraints))
    {
        match host.providers.iter().find(|provider| provider.id == id) {
            Some(provider) => {
                let found = provider.image_ref.as_deref().unwrap_or_default();
                let same = found.is_empty() || without_scheme(found) == without_scheme(image);
                if !same && wanted != Wanted::Replicas(0) {
                    return Err(OtherImage {
                        host: host.host_id.clone(),
                        image: found.to_owned(),
                    });
                }
                running.push(host);
            }
            None => free.push(host),
        }
    }
    let load = |host: &&HostInventory| {
        (
            host.components.len() + host.providers.len(),
            host.host_id.clone(),
        )
    };
    free.sort_by_key(load);
    // The busiest lose their copy first.
    running.sort_by_key(load);
    let desired = match wanted {
        Wanted::Replicas(count) => count,
        Wanted::PerHost => running.len() + free.len(),
    };
    let keep = running.len().min(desired);
    let start = (desired - keep).min(free.len());
    let step = |host: &&HostInventory, action| Step {
        host: host.host_id.clone(),
        name: host.friendly_name.clone(),
        action,
    };
    let steps = running[..keep]
        .iter()
        .map(|host| step(host, Action::Keep))
        .chain(free[..start].iter().map(|host| step(host, Action::Start)))
        .chain(running[keep..].iter().map(|host| step(host, Action::Stop)))
        .collect();
    Ok(Plan {
        desired,
        steps,
        missing: desired - keep - start,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_core::host::{ComponentDescription, ProviderDescription};

    fn host(id: &str, zone: &str, runs: bool, busy: usize) -> HostInventory {
        let provider = ProviderDescription {
            id: "kv".into(),
            image_ref: Some("/bin/kv".into()),
            ..ProviderDescription::default()
        };
        HostInventory {
            host_id: id.into(),
            labels: [("zone".to_owned(), zone.to_owned())].into(),
            providers: if runs { vec![provider] } else { vec![] },
            components: vec![ComponentDescription::default(); busy],
            ..HostInventory::default()
        }
    }

    fn steps(hosts: &[HostInventory], zone: Option<&str>, wanted: Wanted) -> (Vec<String>, usize) {
        let constraints: StringMap = zone
            .map(|zone| ("zone".to_owned(), zone.to_owned()))
            .into_iter()
            .collect();
        let plan = plan(hosts, &constraints, "kv", "file:///bin/kv", wanted).unwrap();
        let steps = plan
            .steps
            .iter()
            .map(|step| format!("{} {}", step.action.word(), step.host))
            .collect();
        (steps, plan.missing)
    }

    #[test]
    fn new_copies_go_to_the_least_busy_hosts() {
        let hosts = [
            host("A", "x", true, 0),
            host("B", "x", false, 5),
            host("C", "x", false, 1),
        ];
        let (steps, missing) = steps(&hosts, None, Wanted::Replicas(2));
        assert_eq!(
            (steps, missing),
            (vec!["keep A".to_owned(), "start C".to_owned()], 0)
        );
    }

    #[test]
    fn surplus_copies_stop_on_the_busiest_hosts() {
        let hosts = [host("A", "x", true, 9), host("B", "x", true, 0)];
        assert_eq!(
            steps(&hosts, None, Wanted::Replicas(1)).0,
            ["keep B", "stop A"]
        );
        assert_eq!(
            steps(&hosts, None, Wanted::Replicas(0)).0,
            ["stop B", "stop A"]
        );
    }

    #[test]
    fn only_hosts_that_fit_are_touched() {
        let hosts = [
            host("A", "x", true, 0),
            host("B", "y", true, 0),
            host("C", "y", false, 0),
        ];
        assert_eq!(
            steps(&hosts, Some("y"), Wanted::PerHost).0,
            ["keep B", "start C"]
        );
        assert_eq!(steps(&hosts, Some("y"), Wanted::Replicas(0)).0, ["stop B"]);
    }

    #[test]
    fn copies_without_a_host_are_counted() {
        let hosts = [host("A", "x", false, 0)];
        assert_eq!(
            steps(&hosts, None, Wanted::Replicas(3)),
            (vec!["start A".to_owned()], 2)
        );
    }

    #[test]
    fn another_image_under_the_same_id_is_not_taken_for_a_copy() {
        let hosts = [host("A", "x", true, 0)];
        let none = StringMap::new();
        let other = plan(&hosts, &none, "kv", "file:///bin/other", Wanted::PerHost).unwrap_err();
        assert_eq!(other.image, "/bin/kv");
        assert!(
            plan(
                &hosts,
                &none,
                "kv",
                "file:///bin/other",
                Wanted::Replicas(0)
            )
            .is_ok()
        );
    }
}
