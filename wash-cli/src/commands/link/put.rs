//! `wash link put`.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use lattice_core::host::is_ours;
use lattice_core::link::{LinkState, LinkStatus};
use lattice_core::{Link, Locality};
use serde_json::Value;

use super::rules::RuleArgs;
use super::target::Package;
use crate::commands::get::json;
use crate::connection::{ConnectionArgs, Lattice, Search};
use crate::error::{CliError, Code, Result};
use crate::events::{LinkEnd, LinkReports};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Store a link
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wash link put [OPTIONS] <SOURCE> <TARGET> <NAMESPACE:PACKAGE/INTERFACE>...\n       \
    wash link put [OPTIONS] <SOURCE> <TARGET> <NAMESPACE> <PACKAGE> --interface <NAME>..."
)]
pub(crate) struct Args {
    /// Id of the entity that imports the interfaces
    source: String,
    /// Id of the entity that answers the calls
    target: String,
    /// `wasi:keyvalue/store`, or namespace and package as in `wasi keyvalue`
    #[arg(required = true, value_name = "INTERFACE")]
    package: Vec<String>,
    /// Interface of the package; may be repeated
    #[arg(long = "interface", aliases = ["interfaces"], value_delimiter = ',')]
    interfaces: Vec<String>,
    /// Named config for the source; may be repeated
    #[arg(long = "source-config")]
    source_config: Vec<String>,
    /// Named config for the target; may be repeated
    #[arg(long = "target-config")]
    target_config: Vec<String>,
    /// Name of the link
    #[arg(short = 'l', long = "link-name", default_value = "default")]
    link_name: String,
    /// How near its calls stay: at the nearest server with room, shared among all servers, or on
    /// this machine or not at all
    #[arg(long, value_name = "LOCALITY", default_value_t, value_parser = localities())]
    locality: Locality,
    #[command(flatten)]
    rules: RuleArgs,
    /// Do not wait until the providers at its ends have taken it
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Reads a locality; clap lists them in the help and where another text is refused.
fn localities() -> impl TypedValueParser<Value = Locality> {
    PossibleValuesParser::new(Locality::ALL.map(Locality::as_str))
        .try_map(|text| text.parse::<Locality>())
}

/// How long providers may take to say whether they take a link.
const REPORTS: Duration = Duration::from_secs(3);

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let source = resolve::entity_id(&args.source)?;
    let target = resolve::entity_id(&args.target)?;
    let package = Package::parse(&args.package)?.with(&args.interfaces);
    if package.interfaces.is_empty() {
        return Err(CliError::new(Code::Usage, "the link names no interface")
            .hint("add `--interface NAME`, or write `namespace:package/interface`"));
    }
    let rules = args.rules.read(&package)?;
    let link = Link {
        source_id: source.to_string(),
        target: target.to_string(),
        name: args.link_name,
        wit_namespace: package.namespace,
        wit_package: package.package,
        interfaces: package.interfaces,
        source_config: args.source_config,
        target_config: args.target_config,
        locality: args.locality,
        rules,
        status: Vec::new(),
    };
    let spinner = ui.spinner("Storing the link");
    let lattice = Lattice::connect(&args.connection).await?;
    let mut reports = LinkReports::listen(&lattice).await?;
    let before = stored(&lattice, &link).await;
    let put = lattice.client.put_link(&link).await;
    let what = format!("could not link `{source}` to `{target}`");
    put.map_err(|error| lattice.explain(what, &error))?;
    let told = match before {
        _ if args.skip_wait => Vec::new(),
        Some(before) => before,
        None => {
            // The link is stored; not knowing whom to wait for does not change that.
            let ends = provider_ends(&lattice, &link).await.unwrap_or_default();
            reports
                .collect(&link, &ends, lattice.settings.wait(REPORTS))
                .await
        }
    };
    drop(spinner);
    let text = format!("Published link ({source}) -> ({target}) successfully");
    let mut data = fields([
        ("result", Value::from(text.as_str())),
        ("source_id", source.as_str().into()),
        ("target", target.as_str().into()),
        ("locality", link.locality.as_str().into()),
        ("status", json(&told)?),
    ]);
    if !link.rules.is_empty() {
        data.insert("rules".to_owned(), json(&link.rules)?);
    }
    if !link.rules.is_empty() && !keeps_rules(&lattice, &link).await {
        let text = "the link is stored without its rules, which its host does not know";
        return Err(CliError::new(Code::Refused, text)
            .hint("delete it with `wash link del`, or put it in a lattice of hosts of this version")
            .data(data));
    }
    let failed: Vec<&LinkStatus> = told
        .iter()
        .filter(|status| status.state == LinkState::Failed)
        .collect();
    if failed.is_empty() {
        Ok(Output::new(text, data))
    } else {
        Err(refused(&failed, data))
    }
}

/// The state of the very same link, if it is stored: providers do not speak up about a link that
/// they have already. Whoever may only put links does not learn of that, and waits.
async fn stored(lattice: &Lattice, link: &Link) -> Option<Vec<LinkStatus>> {
    let links = lattice.client.links().await.unwrap_or_default();
    links.into_iter().find_map(|mut stored| {
        let status = std::mem::take(&mut stored.status);
        (stored == *link).then_some(status)
    })
}

/// Whether the rules of a link are stored with it; an old host leaves them out without a word.
async fn keeps_rules(lattice: &Lattice, link: &Link) -> bool {
    let links = lattice.client.links().await.unwrap_or_default();
    let mut same = links.into_iter().filter(|stored| link.replaces(stored));
    same.all(|stored| stored.rules == link.rules)
}

/// The copies of providers at both ends that will say something, as those of our hosts do.
async fn provider_ends(lattice: &Lattice, link: &Link) -> Result<Vec<LinkEnd>> {
    let inventories = lattice.look_at(None, Search::Quick).await?;
    let at_an_end = |id: &String| *id == link.source_id || *id == link.target;
    Ok(inventories
        .iter()
        .filter(|host| is_ours(&host.version))
        .flat_map(|host| {
            let ids = host
                .providers
                .iter()
                .map(|provider| &provider.id)
                .filter(|id| at_an_end(id));
            ids.map(|id| (id.clone(), host.host_id.clone()))
        })
        .collect())
}

/// The link is stored all the same; providers may take it when what they miss is there.
pub(crate) fn refused(failed: &[&LinkStatus], data: serde_json::Map<String, Value>) -> CliError {
    let text = format!(
        "the link is stored, but provider `{}` does not take it",
        failed[0].endpoint
    );
    let mut error = CliError::new(Code::Refused, text);
    for status in failed {
        let reason = status.reason.as_deref().unwrap_or("no reason given");
        error = error.cause(format!(
            "{} on host {}: {reason}",
            status.endpoint, status.host_id
        ));
    }
    error
        .hint("the provider tries again when its config changes, or by itself; `wash get links` shows the state")
        .data(data)
}
