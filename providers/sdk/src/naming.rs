//! What the things of a link are called in a backend that others may use as well.

use sha2::{Digest as _, Sha256};

use crate::link::ProviderLink;
use crate::session::Session;

/// How much of a name's readable part is kept.
const READABLE: usize = 48;
/// How many bytes tell names apart; nobody finds two ids with the same ones.
const MARK: usize = 10;

impl Session {
    /// The name of what `link` keeps in a backend, such as how far a component was told: letters,
    /// digits and `_`, so that every backend takes it.
    ///
    /// It begins with who is at the other end, for people, and ends with a hash of the lattice, this
    /// provider's id and the link, so that two links never have the same: not those of two lattices
    /// with one backend, and not those of two providers to one component, which are told apart.
    /// Copies of one provider have the same.
    #[must_use]
    pub fn name_in_backend(&self, link: &ProviderLink) -> String {
        name(self.lattice().as_str(), self.id().as_str(), link)
    }
}

fn name(lattice: &str, own: &str, link: &ProviderLink) -> String {
    let (peer, link_name) = (link.peer.as_str(), link.name.as_str());
    let (namespace, package) = (link.namespace.as_str(), link.package.as_str());
    let mut hasher = Sha256::new();
    for part in [lattice, own, namespace, package, peer, link_name] {
        // With its length, as names may hold any character.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let readable = format!("{peer}_{link_name}");
    let readable: String = readable.chars().map(plain).take(READABLE).collect();
    let hash = hasher.finalize();
    let mark: String = hash[..MARK].iter().map(|b| format!("{b:02x}")).collect();
    format!("lattice_{readable}_{mark}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::link::LinkRole;
    use crate::link::tests::bare;

    fn link(package: &str, peer: &str, name: &str) -> ProviderLink {
        bare(LinkRole::Source, ("wasi", package), peer, name)
    }

    #[test]
    fn a_name_tells_people_whose_it_is_and_stays() {
        let kept = name("shop", "kv", &link("keyvalue", "my-cart", "a.b"));
        assert_eq!(kept, "lattice_my_cart_a_b_0dee591e3238bc73f9f0");
    }

    #[test]
    fn whatever_differs_of_a_link_makes_another_name() {
        let names = [
            name("a", "kv", &link("keyvalue", "cart", "b")),
            name("b", "kv", &link("keyvalue", "cart", "b")),
            name("a", "kv2", &link("keyvalue", "cart", "b")),
            name("a", "kv", &link("messaging", "cart", "b")),
            name("a", "kv", &link("keyvalue", "car-t", "b")),
            name("a", "kv", &link("keyvalue", "car_t", "b")),
            name("a", "kv", &link("keyvalue", "cart", "b2")),
            name("ak", "v", &link("keyvalue", "cart", "b")),
            name("a", "kv", &link("keyvalue", "cart_b", "b")),
            name("a", "kv", &link("keyvalue", "cart", "b_b")),
        ];
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn a_name_is_short_and_plain() {
        let long = "ü.".repeat(80);
        let name = name("a", "kv", &link("keyvalue", "cart", &long));
        assert!(name.len() < 80, "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    }
}
