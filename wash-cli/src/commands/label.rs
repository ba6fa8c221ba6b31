//! `wash label`: labels of a host.

use serde_json::{Value, json};

use crate::connection::{ConnectionArgs, Lattice};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};

/// Set or delete labels of a host
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Host: its id, the start of its id, or a part of its name
    host: String,
    /// Labels as `key=value`, separated by commas or blanks; a bare key has an empty value
    #[arg(required = true, value_delimiter = ',', value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Delete the labels with these keys instead
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let labels = parse(&args)?;
    let spinner = ui.spinner("Asking the host");
    let lattice = Lattice::connect(&args.connection).await?;
    let host = lattice.find_host(&args.host).await?;
    let mut processed: Vec<Value> = Vec::new();
    for (key, value) in &labels {
        let (result, what) = if args.delete {
            let what = format!("could not delete label `{key}` of host `{host}`");
            (lattice.client.delete_label(&host, key).await, what)
        } else {
            let what = format!("could not set label `{key}` of host `{host}`");
            (lattice.client.put_label(&host, key, value).await, what)
        };
        if let Err(error) = result {
            let done = fields([
                ("deleted", args.delete.into()),
                ("processed", processed.into()),
            ]);
            return Err(lattice.explain(what, &error).data(done));
        }
        processed.push(json!([key, value]));
    }
    drop(spinner);
    let shown: Vec<String> = labels
        .iter()
        .map(|(key, value)| {
            if args.delete {
                key.clone()
            } else {
                format!("{key}={value}")
            }
        })
        .collect();
    let verb = if args.delete {
        "unlabeled with"
    } else {
        "labeled with"
    };
    let text = format!("Host {host} {verb} {}", shown.join(", "));
    let data = fields([
        ("deleted", args.delete.into()),
        ("processed", processed.into()),
    ]);
    Ok(Output::new(text, data))
}

/// A bare key will do, as in 1.x.
fn parse(args: &Args) -> Result<Vec<(String, String)>> {
    args.labels
        .iter()
        .map(|label| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            if key.is_empty() {
                return Err(CliError::new(
                    Code::Usage,
                    format!("`{label}` names no label"),
                ));
            }
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}
