//! What is told of a denial.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::scene::{KEYVALUE, Road, Scene};

#[tokio::test]
async fn denials_are_events_that_name_rule_and_grant_and_do_not_flood() -> Result<()> {
    let of = Scene::start(Road::Socket).await?;
    of.link(
        "nobody",
        KEYVALUE,
        Road::Socket,
        json!({"prefix": ["orders/"]}),
    )
    .await?;
    for _ in 0..200 {
        of.refused("get", &["", "users/1"], "AccessDenied").await?;
    }
    let denial = of
        .denial("`--prefix 'users/1'` would let it through")
        .await?;
    ensure!(denial["code"] == "forbidden", "{denial}");
    ensure!(
        denial["operation"] == "wrpc:keyvalue/store@0.2.0-draft.get",
        "{denial}"
    );
    let error = denial["error"].as_str().unwrap_or_default();
    ensure!(
        error.starts_with("the rule `prefix` of the link `reach -> wasi:keyvalue (default)`"),
        "{error}"
    );
    // The others are counted, not told one by one.
    let all = of.lattice.events.all();
    let denials = all
        .iter()
        .filter(|event| event.name == "invocation_failed")
        .count();
    ensure!(denials < 50, "{denials} events");
    Ok(())
}
