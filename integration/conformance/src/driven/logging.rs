//! What a host writes of what its components log. The host of these cases writes JSON.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lattice_integration::until;
use serde_json::{Value, json};

use super::{Driven, cases};
use crate::ground::Ground;

/// The component, and the names of the interface that it imports.
const GUEST: &str = "suite-logging";
const NAMES: [&str; 2] = ["logging", "logging@0.1.0-draft"];

pub(crate) const CASES: &[Driven] = cases![
    plain {
        "a line has its level, context, component, host and call" => structure,
        "all lines of a call have one number, and other calls others" => calls,
        "texts are written as they are, on one line" => texts,
        "levels below the host's are left out until the config asks for them" => levels,
        "a level that is changed holds from the next call on" => change,
        "with `off` nothing is written" => silence,
        "a rate that is exceeded leaves lines out and says how many" => rate,
        "a value that means nothing is named, and lines are written" => nonsense,
    }
];

/// Has a component log lines, each a level and `context|message`.
async fn log(ground: &Ground, id: &str, name: &str, lines: &[(&str, &str)]) -> Result<()> {
    let pair = |(level, line): &(&str, &str)| ((*level).to_owned(), (*line).to_owned());
    let settings: Vec<_> = lines.iter().map(pair).collect();
    ground.tell(id, name, &settings).await
}

/// The lines of a component, as the host has written them, in order.
fn lines(ground: &Ground, id: &str) -> Vec<Value> {
    let log = ground.lattice.hosts[0].log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| field(line, "component") == id)
        .collect()
}

/// A field of a line, wherever the writer of JSON puts fields.
fn field(line: &Value, name: &str) -> String {
    let value = line.get(name).or_else(|| line["fields"].get(name));
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn messages(ground: &Ground, id: &str) -> Vec<String> {
    let lines = lines(ground, id);
    lines.iter().map(|line| field(line, "message")).collect()
}

/// The lines of a component up to one with this message.
async fn up_to(ground: &Ground, id: &str, message: &str) -> Result<Vec<Value>> {
    until(async || {
        let lines = lines(ground, id);
        let is_it = |line: &Value| field(line, "message").contains(message);
        let at = lines.iter().position(is_it);
        let at = at.with_context(|| format!("no `{message}` in {:?}", messages(ground, id)))?;
        Ok(lines[..=at].to_vec())
    })
    .await
}

/// Waits until a config that was changed is in force: of two lines that are logged in turn, only
/// the latter is written.
async fn settled(ground: &Ground, id: &str, first: (&str, bool), last: &str) -> Result<()> {
    let mut round = 0;
    until(async || {
        round += 1;
        let (lower, upper) = (format!("lower {round}."), format!("upper {round}."));
        let written = [(first.0, lower.as_str()), (last, upper.as_str())];
        log(ground, id, NAMES[0], &written).await?;
        let lines = up_to(ground, id, &upper).await?;
        let seen = lines
            .iter()
            .any(|line| field(line, "message").contains(&lower));
        ensure!(seen == first.1, "`{}` is written: {seen}", first.0);
        Ok(())
    })
    .await
}

async fn structure(ground: &Ground) -> Result<()> {
    ground.run_with("structure", GUEST, &[]).await?;
    for (at, name) in NAMES.into_iter().enumerate() {
        let message = format!("message {at}.");
        let line = format!("shop::cart|{message}");
        log(ground, "structure", name, &[("warn", &line)]).await?;
        let lines = up_to(ground, "structure", &message).await?;
        let line = lines.last().context("no line")?;
        let host = ground.lattice.host(0).to_owned();
        for (key, wanted) in [
            ("level", "WARN"),
            ("component", "structure"),
            ("host", host.as_str()),
            ("context", "shop::cart"),
        ] {
            let found = field(line, key);
            ensure!(found == wanted, "{name}: `{key}` is `{found}` in {line}");
        }
        ensure!(!field(line, "call").is_empty(), "{name}: no call in {line}");
        ensure!(!field(line, "timestamp").is_empty(), "no time in {line}");
    }
    Ok(())
}

async fn calls(ground: &Ground) -> Result<()> {
    ground.run_with("calls", GUEST, &[]).await?;
    let both = [("info", "|first"), ("error", "|second")];
    log(ground, "calls", NAMES[0], &both).await?;
    log(ground, "calls", NAMES[1], &[("info", "|last.")]).await?;
    let lines = up_to(ground, "calls", "last.").await?;
    ensure!(lines.len() == 3, "{} lines", lines.len());
    let calls: BTreeSet<_> = lines.iter().map(|line| field(line, "call")).collect();
    ensure!(calls.len() == 2, "{calls:?}");
    ensure!(field(&lines[0], "call") == field(&lines[1], "call"));
    Ok(())
}

async fn texts(ground: &Ground) -> Result<()> {
    ground.run_with("texts", GUEST, &[]).await?;
    let odd = "tab\t, quote \", bräche\nand {\"level\":\"FORGED\"} \u{1b}[31m";
    let line = format!("con\ntext|{odd}");
    log(
        ground,
        "texts",
        NAMES[0],
        &[("info", &line), ("info", "|end.")],
    )
    .await?;
    let lines = up_to(ground, "texts", "end.").await?;
    ensure!(lines.len() == 2, "{lines:?}");
    ensure!(field(&lines[0], "level") == "INFO", "{}", lines[0]);
    let message = field(&lines[0], "message");
    ensure!(message.contains("FORGED"), "{message}");
    ensure!(!message.contains(['\n', '\u{1b}']), "{message:?}");
    ensure!(message.contains("bräche"), "{message}");
    Ok(())
}

async fn levels(ground: &Ground) -> Result<()> {
    let level = |level: &str| json!({ "log_level": level });
    ground.lattice.config("levels", level("trace")).await?;
    ground.run_with("levels", GUEST, &["levels"]).await?;
    ground.run_with("plain", GUEST, &[]).await?;
    let all = [
        ("trace", "|trace"),
        ("debug", "|debug"),
        ("info", "|info"),
        ("critical", "|critical."),
    ];
    for (id, wanted) in [("levels", 4), ("plain", 2)] {
        log(ground, id, NAMES[0], &all).await?;
        let lines = up_to(ground, id, "critical.").await?;
        ensure!(lines.len() == wanted, "{id}: {lines:?}");
    }
    Ok(())
}

async fn change(ground: &Ground) -> Result<()> {
    let level = |level: &str| json!({ "log_level": level });
    ground.lattice.config("change", level("warn")).await?;
    ground.run_with("change", GUEST, &["change"]).await?;
    settled(ground, "change", ("info", false), "warn").await?;
    ground.lattice.config("change", level("debug")).await?;
    settled(ground, "change", ("debug", true), "warn").await?;
    ground.lattice.config("change", level("error")).await?;
    settled(ground, "change", ("warn", false), "critical").await
}

async fn silence(ground: &Ground) -> Result<()> {
    let off = json!({ "log_level": "off" });
    ground.lattice.config("silence", off).await?;
    ground.run_with("silence", GUEST, &["silence"]).await?;
    log(ground, "silence", NAMES[0], &[("critical", "|unheard")]).await?;
    // What another component logs after that is there, so that this would be.
    ground.run_with("after-silence", GUEST, &[]).await?;
    log(ground, "after-silence", NAMES[0], &[("info", "|heard.")]).await?;
    up_to(ground, "after-silence", "heard.").await?;
    let found = messages(ground, "silence");
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

async fn rate(ground: &Ground) -> Result<()> {
    const LOGGED: usize = 500;
    let slow = json!({ "log_rate": "20" });
    ground.lattice.config("rate", slow).await?;
    ground.run_with("rate", GUEST, &["rate"]).await?;
    let many = [("repeat", LOGGED.to_string())];
    let mut settings: Vec<_> = many.map(|(key, value)| (key.to_owned(), value)).to_vec();
    settings.push(("info".to_owned(), "|many".to_owned()));
    ground.tell("rate", NAMES[0], &settings).await?;
    // All are accounted for: written, or counted among those that are left out.
    until(async || {
        let found = messages(ground, "rate");
        let is_line = |text: &&String| text.contains("many") && left_out(text).is_none();
        let written = found.iter().filter(is_line).count();
        let counts = found.iter().filter_map(|text| left_out(text));
        let left_out: usize = counts.sum();
        ensure!(written <= 60, "{written} lines were written");
        ensure!(written >= 20, "{written} lines were written");
        ensure!(
            written + left_out == LOGGED,
            "{written} written and {left_out} counted of {LOGGED}"
        );
        Ok(())
    })
    .await
}

/// How many lines a line says were left out.
fn left_out(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once("left out ")?;
    rest.split(' ').next()?.parse().ok()
}

async fn nonsense(ground: &Ground) -> Result<()> {
    let loud = json!({ "log_level": "loud" });
    ground.lattice.config("nonsense", loud).await?;
    ground.run_with("nonsense", GUEST, &["nonsense"]).await?;
    log(ground, "nonsense", NAMES[0], &[("info", "|end.")]).await?;
    up_to(ground, "nonsense", "end.").await?;
    let lines = up_to(ground, "nonsense", "`log_level` = `loud`").await?;
    ensure!(!lines.is_empty());
    Ok(())
}
