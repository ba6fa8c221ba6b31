//! Whether links share messages by their queue groups.

use lattice_core::subject::overlap;

use crate::settings::Subscription;

/// Whether no message comes to both of two links: a server gives it to one subscription of each queue
/// group, whatever the subjects that those name.
pub(crate) fn agree(one: &[Subscription], other: &[Subscription]) -> bool {
    one.iter().all(|a| {
        let mut others = other.iter();
        others.all(|b| a.group == b.group || !overlap(&a.subject, &b.subject))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are(texts: &[(&str, &str)]) -> Vec<Subscription> {
        let one = |(subject, group): &(&str, &str)| Subscription {
            subject: (*subject).to_owned(),
            group: (*group).to_owned(),
        };
        texts.iter().map(one).collect()
    }

    #[test]
    fn links_agree_where_no_message_comes_to_both() {
        let old = are(&[("a", "g"), ("b", "h")]);
        assert!(agree(&old, &old));
        assert!(agree(&old, &are(&[("a", "g"), ("c", "new")])));
        assert!(agree(&are(&[("a.*", "g")]), &are(&[("a.b", "g")])));
        assert!(!agree(&old, &are(&[("a", "h"), ("b", "g")])));
        assert!(!agree(&old, &are(&[("a", "g"), (">", "h")])));
        assert!(agree(&old, &[]));
    }
}
