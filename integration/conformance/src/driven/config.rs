//! What a component sees of its config, while the named configs behind it change.

use anyhow::{Context as _, Result};
use lattice_integration::until;
use serde_json::{Value, json};

use super::load::{End, Load};
use super::web::{ask, get};
use super::{Driven, cases};
use crate::fault::Strike;
use crate::ground::Ground;

/// The component, and the shapes of the interface that it imports.
const GUEST: &str = "suite-config";
const SHAPES: [&str; 3] = [
    "store@0.2.0-draft",
    "runtime@0.2.0-draft",
    "store@0.2.0-rc.1",
];

pub(crate) const CASES: &[Driven] = cases![
    even_slow {
        "every published shape reads the same config" => shapes,
        "a component without a config sees nothing, and no error" => nothing,
        "an empty value is a value" => empty,
        "keys and values may be any text" => texts,
        "the next call sees a change" => change,
        "a key that was taken away is gone" => removal,
        "of several configs the later ones win" => precedence,
        "what a later config gives up is the earlier one's again" => precedence_given_up,
        "a config that is deleted counts as empty" => deletion,
    }
    killing {
        "a config is read while NATS is away, and changes are seen when it is back" => outage,
        "what is stored after an outage is there for components that start then" => afterwards,
    }
];

/// What has to be seen: `None` for a key that is not there.
type Seen<'a> = &'a [(&'a str, Option<&'a str>)];

/// Stores configs and starts a component with them; they are named after it.
async fn start(ground: &Ground, id: &str, configs: &[Value]) -> Result<Vec<String>> {
    let names: Vec<_> = (0..configs.len()).map(|at| format!("{id}-{at}")).collect();
    for (name, values) in names.iter().zip(configs) {
        ground.lattice.config(name, values.clone()).await?;
    }
    let named: Vec<_> = names.iter().map(String::as_str).collect();
    ground.run_with(id, GUEST, &named).await?;
    Ok(names)
}

/// Has the component look through every shape.
async fn sees(ground: &Ground, id: &str, seen: Seen<'_>) -> Result<()> {
    let count = seen.iter().filter(|(_, value)| value.is_some()).count();
    let mut settings = vec![("count".to_owned(), count.to_string())];
    settings.extend(seen.iter().map(|(key, value)| match value {
        Some(value) => (format!("has:{key}"), (*value).to_owned()),
        None => (format!("lacks:{key}"), String::new()),
    }));
    for shape in SHAPES {
        let told = ground.tell(id, shape, &settings).await;
        told.with_context(|| shape.to_owned())?;
    }
    Ok(())
}

/// The same, once a change has reached the host. That takes no call and no restart.
async fn comes_to_see(ground: &Ground, id: &str, seen: Seen<'_>) -> Result<()> {
    until(async || sees(ground, id, seen).await).await
}

async fn shapes(ground: &Ground) -> Result<()> {
    let values = json!({ "colour": "green", "size": "7" });
    start(ground, "shapes", &[values]).await?;
    let seen = [
        ("colour", Some("green")),
        ("size", Some("7")),
        ("weight", None),
    ];
    sees(ground, "shapes", &seen).await
}

async fn nothing(ground: &Ground) -> Result<()> {
    start(ground, "nothing", &[]).await?;
    sees(ground, "nothing", &[("colour", None), ("", None)]).await
}

async fn empty(ground: &Ground) -> Result<()> {
    start(ground, "empty", &[json!({ "colour": "" })]).await?;
    sees(ground, "empty", &[("colour", Some("")), ("size", None)]).await
}

async fn texts(ground: &Ground) -> Result<()> {
    let long = "ä".repeat(50_000);
    let key = "a key.with/odd*signs > ü \"quoted\"";
    start(ground, "texts", &[json!({ key: "a\nb\tc", "long": long })]).await?;
    let seen = [
        (key, Some("a\nb\tc")),
        ("long", Some(long.as_str())),
        ("LONG", None),
    ];
    sees(ground, "texts", &seen).await
}

async fn change(ground: &Ground) -> Result<()> {
    let names = start(ground, "change", &[json!({ "colour": "green" })]).await?;
    sees(ground, "change", &[("colour", Some("green"))]).await?;
    for colour in ["red", "blue", "green"] {
        let values = json!({ "colour": colour });
        ground.lattice.config(&names[0], values).await?;
        comes_to_see(ground, "change", &[("colour", Some(colour))]).await?;
    }
    Ok(())
}

async fn removal(ground: &Ground) -> Result<()> {
    let both = json!({ "colour": "green", "size": "7" });
    let names = start(ground, "removal", &[both]).await?;
    let one = json!({ "size": "7" });
    ground.lattice.config(&names[0], one).await?;
    let seen = [("colour", None), ("size", Some("7"))];
    comes_to_see(ground, "removal", &seen).await
}

async fn precedence(ground: &Ground) -> Result<()> {
    let configs = [
        json!({ "colour": "green", "size": "7" }),
        json!({ "colour": "red", "weight": "1" }),
        json!({ "weight": "2" }),
    ];
    start(ground, "precedence", &configs).await?;
    let seen = [
        ("colour", Some("red")),
        ("size", Some("7")),
        ("weight", Some("2")),
    ];
    sees(ground, "precedence", &seen).await
}

async fn precedence_given_up(ground: &Ground) -> Result<()> {
    let configs = [json!({ "colour": "green" }), json!({ "colour": "red" })];
    let names = start(ground, "giving", &configs).await?;
    sees(ground, "giving", &[("colour", Some("red"))]).await?;
    // A change of the earlier one does not show while the later one has the key.
    let blue = json!({ "colour": "blue" });
    ground.lattice.config(&names[0], blue).await?;
    let other = json!({ "size": "7" });
    ground.lattice.config(&names[1], other).await?;
    let seen = [("colour", Some("blue")), ("size", Some("7"))];
    comes_to_see(ground, "giving", &seen).await
}

async fn deletion(ground: &Ground) -> Result<()> {
    let configs = [json!({ "colour": "green" }), json!({ "size": "7" })];
    let names = start(ground, "deletion", &configs).await?;
    let operation = format!("config.del.{}", names[0]);
    ground.lattice.ctl_ok(&operation, Value::Null).await?;
    let seen = [("colour", None), ("size", Some("7"))];
    comes_to_see(ground, "deletion", &seen).await
}

async fn outage(strike: &mut Strike<'_>) -> Result<()> {
    let green = json!({ "colour": "green" });
    let names = start(strike.ground, "outage", &[green]).await?;
    // The server is in the component's host too, so that requests need no NATS.
    let address = strike.ground.lattice.serve_http(0, "outage").await?;
    let load = asked(address, "/colour", "green").await?;
    strike.down().await?;
    load.until_well().await?;
    strike.up().await?;
    load.until_as_before().await?;
    drop(load);
    let ground = &*strike.ground;
    let red = json!({ "colour": "red" });
    until(async || ground.lattice.config(&names[0], red.clone()).await).await?;
    comes_to_see(ground, "outage", &[("colour", Some("red"))]).await
}

/// Has a component tell a value all the time.
async fn asked(address: String, path: &'static str, value: &'static str) -> Result<Load> {
    Load::begin(move || {
        let address = address.clone();
        async move {
            match ask(&address, get(path)).await {
                Ok(answer) if answer.status == 200 && answer.text() == value => End::Well,
                // Nothing of this is away, and what it knows it knows.
                Ok(answer) => End::Broken(format!("{} {}", answer.status, answer.text())),
                Err(error) => End::Broken(format!("{error:#}")),
            }
        }
    })
    .await
}

async fn afterwards(strike: &mut Strike<'_>) -> Result<()> {
    strike.down().await?;
    strike.up().await?;
    let ground = &*strike.ground;
    let blue = json!({ "colour": "blue" });
    // The first words after the outage may still be lost.
    until(async || ground.lattice.config("later-0", blue.clone()).await).await?;
    ground.run_with("later", GUEST, &["later-0"]).await?;
    comes_to_see(ground, "later", &[("colour", Some("blue"))]).await
}
