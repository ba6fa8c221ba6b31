//! Texts without the secrets that they may repeat.
//!
//! What is told of a link is an event and a line of the log, and errors of settings and of backends quote what
//! they were given.

use std::borrow::Cow;

use lattice_core::provider::SecretMap;
use percent_encoding::percent_decode_str;

use crate::link::text_of;

/// The shortest part of a secret that is looked for: what is shorter, such as a number, stands in
/// many texts.
const SHORTEST: usize = 4;

/// What stands in the place of a secret.
const HIDDEN: &str = "(a secret)";

/// A text without what the secrets say: as a whole, and their lines, the items of their lists, and the
/// password of an address, as it is written there and as the backend is told it.
pub(crate) fn redact(text: String, secrets: &[&SecretMap]) -> String {
    let all = secrets.iter().flat_map(|map| map.values());
    let parts = all.filter_map(text_of).flat_map(parts_of);
    let mut parts: Vec<_> = parts.filter(|part| part.len() >= SHORTEST).collect();
    // One may be part of another.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
        .into_iter()
        .fold(text, |text, part| text.replace(&*part, HIDDEN))
}

fn parts_of(secret: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let lines = secret.lines().map(str::trim);
    let list = secret.split(',').map(str::trim);
    let written = list.chain(lines).chain([secret]);
    written.flat_map(|part| {
        let login = login_of(part);
        let password = login.map(|login| login.split_once(':').map_or(login, |(_, rest)| rest));
        let decoded = password.map(|password| percent_decode_str(password).decode_utf8_lossy());
        [Some(part), password]
            .into_iter()
            .flatten()
            .map(Cow::Borrowed)
            .chain(decoded)
    })
}

/// What stands before the host of an address: a name and a password, or a token.
fn login_of(address: &str) -> Option<&str> {
    let rest = address.split_once("://")?.1;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password that is not written as it should be may have a `/` in it.
    let (login, _) = rest[..end]
        .rsplit_once('@')
        .or_else(|| rest.rsplit_once('@'))?;
    Some(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_core::provider::SecretValue;

    fn secrets(all: &[(&str, &str)]) -> SecretMap {
        let one = |(name, value): &(&str, &str)| {
            ((*name).to_owned(), SecretValue::String((*value).to_owned()))
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn what_is_told_of_a_link_shows_no_secret() {
        let of_link = secrets(&[
            ("url", "redis://me:staple@127.0.0.1:6379"),
            ("subscriptions", "orders.new, bad subject"),
            ("number", "7"),
            ("cluster", "nats://a:first@one:4222,nats://b:other@two:4222"),
            ("token", "nats://sesame@three:4222"),
            ("query", "redis://me:reader@four/?to=a@b"),
        ]);
        let of_provider = secrets(&[
            ("database", "postgres://me:p%40ss%2Fword@db/cart"),
            (
                "key",
                "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIE\n-----END KEY-----\n",
            ),
        ]);
        let said = |text: &str| redact(text.to_owned(), &[&of_link, &of_provider]);
        assert_eq!(
            said("`redis://me:staple@127.0.0.1:6379` is no address"),
            "`(a secret)` is no address"
        );
        assert_eq!(said("AUTH staple failed"), "AUTH (a secret) failed");
        assert_eq!(said("`bad subject` is none"), "`(a secret)` is none");
        for secret in ["first", "other", "sesame", "reader"] {
            assert_eq!(said(&format!("no {secret} here")), "no (a secret) here");
        }
        assert_eq!(
            said("password p@ss/word refused"),
            "password (a secret) refused"
        );
        assert_eq!(said("no p%40ss%2Fword"), "no (a secret)");
        assert_eq!(said("line MC4CAQAwBQYDK2VwBCIE"), "line (a secret)");
        let other = "no answer from 127.0.0.1:6379 within 7 s";
        assert_eq!(said(other), other);
    }
}
