//! What is told of a link whose error quotes secrets.

use super::*;

use lattice_core::provider::{SecretMap, SecretValue};

const OWN: &str = "correct-horse";
const OF_LINK: &str = "battery-staple";

#[tokio::test]
async fn what_is_told_of_a_link_that_fails_shows_no_secret_that_its_error_quotes() {
    let own = ("own".to_owned(), SecretValue::String(OWN.to_owned()));
    let mut host = Host::start_with_secrets(SecretMap::from([own])).await;
    let mut quoting = link("counter", "kv", &[("behave", "quote")]);
    let json = format!(r#"{{"of-link":{{"kind":"String","value":"{OF_LINK}"}}}}"#);
    let sealed = host.xkey.seal(json.as_bytes(), &host.provider_xkey);
    quoting.target_secrets = Some(sealed.unwrap());
    let answer = host.put_asking(&quoting).await;
    let report = host.report().await;
    assert_eq!(report.state, LinkState::Failed);
    // What the log and the event of the host are made of.
    let reason = report.reason.unwrap();
    assert_eq!(reason, "no user (a secret) with (a secret)");
    let health = host.health().await.links[0].reason.clone().unwrap();
    for told in [answer, health] {
        assert!(told.contains(&reason), "{told}");
        for secret in [OWN, OF_LINK] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
