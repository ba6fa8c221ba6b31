//! `wash link put`.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use lattice_core::config::is_secret_name;
use lattice_core::host::{HostInventory, is_ours};
use lattice_core::link::{LinkState, LinkStatus};
use lattice_core::{Link, Locality};
use serde_json::Value;

use super::rules::RuleArgs;
use super::target::Package;
use crate::commands::get::json;
use crate::connection::{ConnectionArgs, Gone, Lattice, Search};
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
/// When the state of a link is known at the latest: providers have five seconds.
const LATEST: Duration = Duration::from_secs(6);
/// How often it is looked whether all of a link is stored, and how long after the time before.
const ASKED: u32 = 10;
const ASKED_AGAIN: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let (skip_wait, connection) = (args.skip_wait, args.connection.clone());
    let link = wanted(args)?;
    let (source, target) = (&link.source_id, &link.target);
    let spinner = ui.spinner("Storing the link");
    let lattice = Lattice::connect(&connection).await?;
    let mut reports = LinkReports::listen(&lattice).await?;
    let before = stored(&lattice, &link).await;
    let put = lattice.client.put_link(&link).await;
    let what = format!("could not link `{source}` to `{target}`");
    put.map_err(|error| lattice.explain(what, &error))?;
    let told = match before {
        _ if skip_wait => Vec::new(),
        Some(before) => before,
        None => {
            // The link is stored; not knowing whom to wait for does not change that.
            let hosts = lattice.look_at(None, Search::Quick).await;
            let ends = provider_ends(&hosts.unwrap_or_default(), &link);
            // However long answers may take: who has said nothing by then is not going to.
            let within = lattice.settings.wait(REPORTS).min(LATEST);
            reports.collect(&link, &ends, within).await
        }
    };
    let lost = lost(&lattice, &link).await;
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
    if let Some(lost) = lost {
        let text = format!("the link is stored without its {lost}, which its host does not know");
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

/// The link that is asked for.
fn wanted(args: Args) -> Result<Link> {
    let source = resolve::entity_id(&args.source)?;
    let target = resolve::entity_id(&args.target)?;
    let package = Package::parse(&args.package)?.with(&args.interfaces);
    if package.interfaces.is_empty() {
        return Err(CliError::new(Code::Usage, "the link names no interface")
            .hint("add `--interface NAME`, or write `namespace:package/interface`"));
    }
    let rules = args.rules.read(&package)?;
    Ok(Link {
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
    })
}

/// The state of the very same link, if it is stored: providers do not speak up about a link that
/// they have already. Whoever may only put links does not learn of that, and waits; and so does
/// whoever learns nothing but what hosts had to say that are gone.
async fn stored(lattice: &Lattice, link: &Link) -> Option<Vec<LinkStatus>> {
    let links = lattice.client.links().await.unwrap_or_default();
    let mut same = links.into_iter().find_map(|mut stored| {
        let status = std::mem::take(&mut stored.status);
        (stored == *link).then_some(Link { status, ..stored })
    })?;
    let was_reported = !same.status.is_empty();
    let one = std::slice::from_mut(&mut same);
    Gone::default().leave_out(lattice, one).await;
    let is_known = !was_reported || !same.status.is_empty();
    is_known.then_some(same.status)
}

/// What is not stored with a link: an old host leaves it out without a word.
///
/// One answer does not settle it. A host hears late of what another one has stored, and one of 1.9 shows
/// no locality even where there is one.
async fn lost(lattice: &Lattice, link: &Link) -> Option<&'static str> {
    if link.rules.is_empty() && link.locality.is_default() {
        return None;
    }
    let mut lost = None;
    for asked in 0..ASKED {
        if asked > 0 {
            tokio::time::sleep(ASKED_AGAIN).await;
        }
        // Whoever may not read the links does not learn more.
        let Ok(links) = lattice.client.links().await else {
            break;
        };
        if let Some(stored) = links.iter().find(|stored| link.replaces(stored)) {
            lost = left_out(link, stored);
            if lost.is_none() {
                break;
            }
        }
    }
    lost
}

fn left_out(link: &Link, stored: &Link) -> Option<&'static str> {
    if !link.rules.is_empty() && stored.rules != link.rules {
        return Some("rules");
    }
    let is_other = !link.locality.is_default() && stored.locality != link.locality;
    is_other.then_some("locality")
}

/// The copies of providers at both ends of which something will be said, as of those of our hosts. Of
/// one of the 1.9 generation only the host says something, if it does not get at a secret.
fn provider_ends(hosts: &[HostInventory], link: &Link) -> Vec<LinkEnd> {
    let at_an_end = |id: &String| *id == link.source_id || *id == link.target;
    let has_secrets = link.config_names().any(is_secret_name);
    let ours = hosts.iter().filter(|host| is_ours(&host.version));
    ours.flat_map(|host| {
        let providers = host.providers.iter();
        let telling = providers.filter(|it| at_an_end(&it.id) && (has_secrets || !it.legacy));
        telling.map(|provider| (provider.id.clone(), host.host_id.clone()))
    })
    .collect()
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

#[cfg(test)]
mod tests {
    use lattice_core::host::ProviderDescription;

    use super::*;

    fn link() -> Link {
        Link {
            source_id: "counter".into(),
            target: "kv".into(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            interfaces: vec!["store".into()],
            source_config: vec![],
            target_config: vec![],
            locality: Locality::default(),
            rules: lattice_core::LinkRules::default(),
            status: vec![],
        }
    }

    #[test]
    fn only_ends_that_will_say_something_are_waited_for() {
        let host = |id: &str, version: &str, legacy: bool| HostInventory {
            host_id: id.into(),
            version: version.into(),
            providers: vec![
                ProviderDescription {
                    id: "kv".into(),
                    legacy,
                    ..ProviderDescription::default()
                },
                ProviderDescription {
                    id: "other".into(),
                    ..ProviderDescription::default()
                },
            ],
            ..HostInventory::default()
        };
        let hosts = [
            host("NA", "1.9.2+lattice-0.1.0", false),
            host("NB", "1.9.2+lattice-0.1.0", true),
            host("NC", "1.9.2", false),
        ];
        let ends = provider_ends(&hosts, &link());
        assert_eq!(ends, [("kv".to_owned(), "NA".to_owned())]);
        let with_secret = Link {
            target_config: vec!["SECRET_password".into()],
            ..link()
        };
        assert_eq!(provider_ends(&hosts, &with_secret).len(), 2);
    }

    #[test]
    fn what_was_not_asked_for_is_not_missed() {
        let wanted = Link {
            locality: Locality::Spread,
            ..link()
        };
        assert_eq!(left_out(&wanted, &link()), Some("locality"));
        assert_eq!(left_out(&wanted, &wanted), None);
        assert_eq!(left_out(&link(), &wanted), None);
    }
}
