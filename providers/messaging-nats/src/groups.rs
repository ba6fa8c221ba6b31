//! Whether links share messages by their queue groups.

use crate::settings::Subscription;

/// Whether no message comes to both of two links: a server gives it to one subscription of each queue
/// group, whatever the subjects that those name.
pub(crate) fn agree(one: &[Subscription], other: &[Subscription]) -> bool {
    one.iter().all(|a| {
        let mut others = other.iter();
        others.all(|b| a.group == b.group || !overlap(&a.subject, &b.subject))
    })
}

/// Whether there is a subject that both mean.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
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
    fn subjects_overlap_where_one_message_may_be_of_both() {
        for (one, other, wanted) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.b", "a", false),
            ("a.*", "*.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("*.x.>", "a.y.z", false),
        ] {
            assert_eq!(overlap(one, other), wanted, "{one}, {other}");
            assert_eq!(overlap(other, one), wanted, "{one}, {other}");
        }
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
