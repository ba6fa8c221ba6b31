//! `wash link put`.

use lattice_core::Link;
use serde_json::Value;

use super::target::Package;
use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};
use crate::resolve;

/// Store a link
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wash link put [OPTIONS] <SOURCE> <TARGET> <NAMESPACE:PACKAGE/INTERFACE>...\n       \
    wash link put [OPTIONS] <SOURCE> <TARGET> <NAMESPACE> <PACKAGE> --interface <NAME>..."
)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
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
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let source = resolve::entity_id(&args.source)?;
    let target = resolve::entity_id(&args.target)?;
    let package = Package::parse(&args.package)?.with(&args.interfaces);
    if package.interfaces.is_empty() {
        return Err(CliError::new(Code::Usage, "the link names no interface")
            .hint("add `--interface NAME`, or write `namespace:package/interface`"));
    }
    let link = Link {
        source_id: source.to_string(),
        target: target.to_string(),
        name: args.link_name,
        wit_namespace: package.namespace,
        wit_package: package.package,
        interfaces: package.interfaces,
        source_config: args.source_config,
        target_config: args.target_config,
        status: Vec::new(),
    };
    let spinner = ui.spinner("Storing the link");
    let lattice = Lattice::connect(&args.connection).await?;
    let stored = lattice.client.put_link(&link).await;
    let what = format!("could not link `{source}` to `{target}`");
    stored.map_err(|error| lattice.explain(what, &error))?;
    drop(spinner);
    let text = format!("Published link ({source}) -> ({target}) successfully");
    let data = fields([
        ("result", Value::from(text.as_str())),
        ("source_id", source.as_str().into()),
        ("target", target.as_str().into()),
    ]);
    Ok(Output::new(text, data))
}
