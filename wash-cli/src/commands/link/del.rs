//! `wash link del`.

use lattice_control::types::DeleteLinkRequest;
use lattice_core::Link;
use serde_json::{Map, Value};

use super::target::Package;
use crate::commands::several;
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};
use crate::question::ask;
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
    // Links that 1.9 has stored may have names with which none would be put now.
    let request = DeleteLinkRequest {
        source_id: source.to_string(),
        name: args.link_name.trim().to_owned(),
        wit_namespace: package.namespace,
        wit_package: package.package,
    };
    let spinner = ui.spinner("Deleting the link");
    let lattice = Lattice::connect(&args.connection).await?;
    let links = links(&lattice).await?;
    let existed = links.iter().any(|link| request.means(link));
    delete(&lattice, &request).await?;
    drop(spinner);
    let (namespace, package) = (&request.wit_namespace, &request.wit_package);
    let name = &request.name;
    let text = if existed {
        format!("Deleted link for {source} on {namespace}:{package} ({name}) successfully")
    } else {
        format!(
            "There was no such link ({source}:{namespace}:{package}, link name: {name}); nothing was \
             deleted"
        )
    };
    let mut data = fields([("result", Value::from(text.as_str()))]);
    data.extend(named_fields(&request));
    data.insert("existed".to_owned(), existed.into());
    Ok(Output::new(text, data))
}

async fn links(lattice: &Lattice) -> Result<Vec<Link>> {
    let links = lattice.client.links().await;
    links.map_err(|error| lattice.explain("could not read the links", &error))
}

async fn delete(lattice: &Lattice, request: &DeleteLinkRequest) -> Result<()> {
    let deleted = lattice.client.delete_stored_link(request).await;
    let what = format!("could not delete the link {}", named(request));
    deleted.map_err(|error| lattice.explain(what, &error))?;
    Ok(())
}

/// The link as errors name it.
fn named(request: &DeleteLinkRequest) -> String {
    let DeleteLinkRequest {
        source_id,
        name,
        wit_namespace,
        wit_package,
    } = request;
    format!("{source_id} -> {wit_namespace}:{wit_package} ({name})")
}

/// The link in documents.
fn named_fields(request: &DeleteLinkRequest) -> Map<String, Value> {
    fields([
        ("source_id", request.source_id.as_str().into()),
        ("wit_namespace", request.wit_namespace.as_str().into()),
        ("wit_package", request.wit_package.as_str().into()),
        ("link_name", request.name.as_str().into()),
    ])
}

async fn all(args: &Args, ui: &Ui) -> Result<Output> {
    let lattice = Lattice::connect(&args.connection).await?;
    let links = links(&lattice).await?;
    if !links.is_empty() && !args.force {
        confirm(links.len(), lattice.settings.lattice.as_str(), ui)?;
    }
    let spinner = ui.spinner("Deleting the links");
    let mut deleted: Vec<Value> = Vec::new();
    let mut failures = Vec::new();
    for link in &links {
        let request = DeleteLinkRequest::of(link);
        match delete(&lattice, &request).await {
            Ok(()) => deleted.push(named_fields(&request).into()),
            Err(error) => {
                // Where nobody is there, each of the others would take the whole timeout to fail.
                let is_last = matches!(error.code(), Code::NatsUnreachable | Code::NoResponders);
                failures.push((request, error));
                if is_last {
                    break;
                }
            }
        }
    }
    drop(spinner);
    if !failures.is_empty() {
        return Err(not_all(links.len(), deleted, failures));
    }
    let text = format!("Deleted {} links", deleted.len());
    Ok(Output::new(text, fields([("deleted", deleted.into())])))
}

/// The error for links that were not deleted, with what was deleted all the same.
fn not_all(
    all: usize,
    deleted: Vec<Value>,
    mut failures: Vec<(DeleteLinkRequest, CliError)>,
) -> CliError {
    let reason = |(request, error): &(DeleteLinkRequest, CliError)| {
        let mut failed = named_fields(request);
        failed.insert("reason".to_owned(), error.to_string().into());
        Value::from(failed)
    };
    let failed: Vec<Value> = failures.iter().map(reason).collect();
    let error = if all == 1 {
        failures.remove(0).1
    } else {
        let left = all - deleted.len();
        let text = format!("{left} of {all} links were not deleted");
        several::in_part(text, deleted.is_empty(), &failures)
    };
    let deleted = ("deleted", Value::from(deleted));
    error.data(fields([deleted, ("failed", failed.into())]))
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
    match ask(&question)?.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("nothing was deleted")),
    }
}
