//! Which links are for messages.

use crate::error::LinkError;
use crate::link::ProviderLink;

/// The packages that a link may be for. What travels through all of them is the same.
const PACKAGES: [(&str, &str); 3] = [
    ("wasmcloud", "messaging"),
    ("wasi", "messaging"),
    ("lattice", "messaging"),
];

/// Refuses a link that is not for messages.
///
/// A component that imports `wasi:messaging` may be linked by that package or by
/// `wasmcloud:messaging`, and so may one that exports its `incoming-handler`.
///
/// # Errors
///
/// [`LinkError`] says which packages `provider` serves.
pub fn check_package(link: &ProviderLink, provider: &str) -> Result<(), LinkError> {
    let is_ours = PACKAGES
        .iter()
        .any(|(namespace, package)| link.is_for(namespace, package));
    match is_ours {
        true => Ok(()),
        false => Err(LinkError::invalid(format!(
            "{provider} serves wasmcloud:messaging, wasi:messaging and lattice:messaging only"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkRole;
    use crate::link::tests::bare;

    fn link(role: LinkRole, namespace: &str, package: &str) -> ProviderLink {
        bare(role, (namespace, package), "cart", "default")
    }

    #[test]
    fn links_of_each_package_of_messages_are_taken_and_others_are_not() {
        for role in [LinkRole::Source, LinkRole::Target] {
            for namespace in ["wasi", "wasmcloud", "lattice"] {
                let link = link(role, namespace, "messaging");
                assert!(check_package(&link, "p").is_ok(), "{namespace}");
            }
            for (namespace, package) in [("wasi", "keyvalue"), ("my", "messaging")] {
                let refused = check_package(&link(role, namespace, package), "p").unwrap_err();
                assert!(refused.to_string().contains("wasi:messaging"), "{refused}");
            }
        }
    }
}
