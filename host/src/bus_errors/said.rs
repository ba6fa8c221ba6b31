//! What a NATS server says of an error on a connection.

use lattice_core::event::BusRefused;

/// What the server says of a refusal: `Permissions Violation for Publish to "a.b"`, or
/// `Permissions Violation for Subscription to "a.b" using queue "q"`.
pub(super) fn read(text: &str) -> Option<BusRefused> {
    let what = text.split_once("Permissions Violation for ")?.1;
    let action = match what.split(' ').next()? {
        "Publish" => "publish",
        "Subscription" => "subscribe",
        _ => return None,
    };
    Some(BusRefused {
        action: action.to_owned(),
        subject: what.split('"').nth(1)?.to_owned(),
        ..BusRefused::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_from_what_the_server_says() {
        let told = |text: &str| read(text).map(|refused| (refused.action, refused.subject));
        let some = |action: &str, subject: &str| Some((action.to_owned(), subject.to_owned()));
        for (text, expected) in [
            (
                r#"Permissions Violation for Publish to "a.B""#,
                some("publish", "a.B"),
            ),
            (
                r#"Permissions Violation for Subscription to "a.>" using queue "q""#,
                some("subscribe", "a.>"),
            ),
            (
                r#"nats: Permissions Violation for Publish with Reply of "x""#,
                some("publish", "x"),
            ),
            ("Maximum Connections Exceeded", None),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
    }
}
