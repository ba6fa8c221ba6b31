//! `wash link del`.

use std::io::{BufRead, Write};

use lattice_core::{Link, LinkKey};
use serde_json::{Value, json};

use super::target::Package;
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Delete a link
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wash link del [OPTIONS] <SOURCE> <NAMESPACE> <PACKAGE>\n       \
    wash link del [OPTIONS] <SOURCE> <NAMESPACE:PACKAGE>\n       \
    wash link del [OPTIONS] --all"
)]
pub(crate) struct Args {
    /// Id of the entity that imports the interfaces
    #[arg(required_unless_present = "all")]
    source: Option<String>,
    /// `wasi:keyvalue`, or namespace and package as in `wasi keyvalue`
    #[arg(required_unless_present = "all", value_name = "PACKAGE")]
    package: Vec<String>,
    /// Name of the link
    #[arg(short = 'l', long = "link-name", default_value = "default")]
    link_name: String,
    /// Delete every link of the lattice
    #[arg(long, conflicts_with_all = ["source", "package"])]
    all: bool,
    /// Do not ask
    #[arg(long, visible_alias = "yes")]
    force: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    match &args.source {
        Some(source) => one(&args, source, ui).await,
        None => all(&args, ui).await,
    }
}

async fn one(args: &Args, source: &str, ui: &Ui) -> Result<Output> {
    let source = resolve::entity_id(source)?;
    let package = Package::parse(&args.package)?;
    let key = LinkKey::new(
        source.as_str(),
        &package.namespace,
        &package.package,
        &args.link_name,
    )
    .map_err(|error| CliError::new(Code::Usage, error.to_string()))?;
    let spinner = ui.spinner("Deleting the link");
    let lattice = Lattice::connect(&args.connection).await?;
    let links = links(&lattice).await?;
    let existed = links.iter().any(|link| is(link, &key));
    let deleted = lattice.client.delete_link(&key).await;
    let what = format!("could not delete the link {key}");
    deleted.map_err(|error| lattice.explain(what, &error))?;
    drop(spinner);
    let name = format!(
        "{source}:{}:{}, link name: {}",
        key.namespace, key.package, key.name
    );
    let text = if existed {
        format!(
            "Deleted link for {source} on {}:{} ({}) successfully",
            key.namespace, key.package, key.name
        )
    } else {
        format!("There was no such link ({name}); nothing was deleted")
    };
    let data = fields([
        ("result", Value::from(text.as_str())),
        ("source_id", source.as_str().into()),
        ("wit_namespace", key.namespace.as_str().into()),
        ("wit_package", key.package.as_str().into()),
        ("link_name", key.name.as_str().into()),
        ("existed", existed.into()),
    ]);
    Ok(Output::new(text, data))
}

async fn links(lattice: &Lattice) -> Result<Vec<Link>> {
    let links = lattice.client.links().await;
    links.map_err(|error| lattice.explain("could not read the links", &error))
}

fn is(link: &Link, key: &LinkKey) -> bool {
    link.source_id == key.source.as_str()
        && link.wit_namespace == key.namespace.as_str()
        && link.wit_package == key.package.as_str()
        && link.name == key.name.as_str()
}

async fn all(args: &Args, ui: &Ui) -> Result<Output> {
    let lattice = Lattice::connect(&args.connection).await?;
    let links = links(&lattice).await?;
    if !links.is_empty() && !args.force {
        confirm(links.len(), lattice.settings.lattice.as_str(), ui)?;
    }
    let spinner = ui.spinner("Deleting the links");
    let mut deleted: Vec<Value> = Vec::new();
    for link in &links {
        let key = link.key().map_err(|error| {
            CliError::new(
                Code::BadReply,
                "the lattice holds a link that cannot be named",
            )
            .caused_by(&error)
        })?;
        let result = lattice.client.delete_link(&key).await;
        if let Err(error) = result {
            let what = format!("could not delete the link {key}");
            return Err(lattice
                .explain(what, &error)
                .data(fields([("deleted", deleted.into())])));
        }
        deleted.push(json!({
            "source_id": link.source_id,
            "wit_namespace": link.wit_namespace,
            "wit_package": link.wit_package,
            "link_name": link.name,
        }));
    }
    drop(spinner);
    let text = format!("Deleted {} links", deleted.len());
    Ok(Output::new(text, fields([("deleted", deleted.into())])))
}

/// Asks on a terminal; elsewhere nobody could answer.
fn confirm(count: usize, lattice: &str, ui: &Ui) -> Result<()> {
    let refused = |text: &str| {
        CliError::new(Code::NeedsConfirmation, text.to_owned())
            .hint("add `--force` to delete without a question")
    };
    if !ui.interactive() {
        return Err(refused("deleting every link needs a confirmation"));
    }
    let question = format!("Delete all {count} links of lattice `{lattice}`? [y/N] ");
    let io = |error| CliError::io("could not ask for a confirmation", &error);
    let mut stderr = std::io::stderr().lock();
    stderr
        .write_all(question.as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(io)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(io)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("nothing was deleted")),
    }
}
