//! Subjects and patterns that mean the same messages.

/// Whether there is a subject that two subjects or patterns of NATS both mean.
///
/// ```
/// use lattice_core::subject::overlap;
///
/// assert!(overlap("orders.*", "*.new"));
/// assert!(!overlap("orders.>", "orders"));
/// ```
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
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
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        /// A subject is meant by two patterns only if they overlap.
        #[test]
        fn what_both_mean_is_in_both(
            subject in "[ab](\\.[ab]){0,3}",
            one in "([ab*](\\.[ab*]){0,3}(\\.>)?|>)",
            other in "([ab*](\\.[ab*]){0,3}(\\.>)?|>)",
        ) {
            if overlap(&subject, &one) && overlap(&subject, &other) {
                prop_assert!(overlap(&one, &other));
            }
        }
    }
}
