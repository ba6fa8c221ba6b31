//! `wash scale provider`: copies of a provider on the hosts that fit.

use futures::future::join_all;
use lattice_control::types::StartProviderCommand;
use lattice_core::{ComponentId, HostId};
use serde_json::{Map, Value, json};

use super::plan::{Action, OtherImage, Plan, Step, Wanted, plan};
use crate::commands::stop::stop_provider;
use crate::connection::{ConnectionArgs, Lattice, Search};
use crate::error::{CliError, Code, Result};
use crate::events::{PROVIDER_WAIT, Watch};
use crate::output::{Cell, Output, Style, Table, Tone, Ui, fields};
use crate::resolve;

/// Set on how many hosts a provider runs
///
/// Starts and stops copies on the hosts that have the labels asked for; copies on other hosts are
/// left alone. Hosts that join later are not followed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The provider: a file or a reference
    provider_ref: String,
    /// Its id, the same for all copies
    provider_id: String,
    /// How many copies to run; 0 stops all
    #[arg(
        long,
        required_unless_present = "per_host",
        conflicts_with = "per_host"
    )]
    replicas: Option<usize>,
    /// Run one copy on each host that fits
    #[arg(long = "per-host")]
    per_host: bool,
    /// Label a host must have; may be repeated
    #[arg(short = 'c', long = "constraint", value_name = "KEY=VALUE")]
    constraints: Vec<String>,
    /// Named config for new copies; may be repeated
    #[arg(long = "config")]
    config: Vec<String>,
    /// Do not wait until copies have started or stopped
    #[arg(long = "skip-wait", visible_alias = "no-wait")]
    skip_wait: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How one step went.
struct Done {
    step: Step,
    result: Result<()>,
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let id = resolve::entity_id(&args.provider_id)?;
    let image = resolve::image_ref(&args.provider_ref)?;
    let constraints = resolve::pairs(&args.constraints)?;
    let wanted = match args.replicas {
        Some(count) if !args.per_host => Wanted::Replicas(count),
        _ => Wanted::PerHost,
    };
    let spinner = ui.spinner(format!("Scaling provider {id}"));
    let lattice = Lattice::connect(&args.connection).await?;
    let inventories = lattice.look_at(None, Search::Full).await?;
    if inventories.is_empty() {
        return Err(lattice.no_hosts());
    }
    let plan = plan(&inventories, &constraints, id.as_str(), &image, wanted)
        .map_err(|other| other_image(&id, &image, &other))?;
    let done = carry_out(&lattice, &plan, &args, &id, &image).await;
    drop(spinner);
    report(&plan, &done, &id, args.skip_wait, ui.style())
}

fn other_image(id: &ComponentId, image: &str, other: &OtherImage) -> CliError {
    let text = format!(
        "provider `{id}` runs with another image on host `{}`",
        other.host
    );
    CliError::new(Code::Refused, text)
        .cause(format!("it runs `{}`, not `{image}`", other.image))
        .hint(format!(
            "stop it first with `wash stop provider {id} --host-id {}`",
            other.host
        ))
}

async fn carry_out(
    lattice: &Lattice,
    plan: &Plan,
    args: &Args,
    id: &ComponentId,
    image: &str,
) -> Vec<Done> {
    join_all(plan.steps.iter().map(|step| async move {
        let result = carry_out_one(lattice, step, args, id, image).await;
        Done {
            step: step.clone(),
            result,
        }
    }))
    .await
}

async fn carry_out_one(
    lattice: &Lattice,
    step: &Step,
    args: &Args,
    id: &ComponentId,
    image: &str,
) -> Result<()> {
    let host = HostId::new(&step.host).map_err(|error| {
        CliError::new(Code::BadReply, "a host answered with a wrong id").caused_by(&error)
    })?;
    match step.action {
        Action::Keep => Ok(()),
        Action::Stop => stop_provider(lattice, &host, id, !args.skip_wait).await,
        Action::Start => {
            let mut watch = Watch::providers(lattice, lattice.settings.wait(PROVIDER_WAIT)).await?;
            let command = StartProviderCommand {
                provider_id: id.to_string(),
                provider_ref: image.to_owned(),
                config: args.config.clone(),
                ..StartProviderCommand::default()
            };
            let reply = lattice.client.start_provider(&host, command).await;
            let what = format!("could not start provider `{id}` on host `{host}`");
            reply.map_err(|error| lattice.explain(what, &error))?;
            if args.skip_wait {
                Ok(())
            } else {
                watch.provider_started(&host, id.as_str()).await
            }
        }
    }
}

fn report(
    plan: &Plan,
    done: &[Done],
    id: &ComponentId,
    asked: bool,
    style: Style,
) -> Result<Output> {
    let running = done.iter().filter(|done| runs_now(done)).count();
    let hosts: Vec<Value> = done.iter().map(|done| document(done, asked)).collect();
    let data: Map<String, Value> = fields([
        ("provider_id", id.as_str().into()),
        ("desired", plan.desired.into()),
        ("running", running.into()),
        ("hosts", hosts.into()),
    ]);
    let failures: Vec<&CliError> = done
        .iter()
        .filter_map(|done| done.result.as_ref().err())
        .collect();
    if failures.is_empty() && plan.missing == 0 {
        let text = if done.is_empty() {
            format!("Provider [{id}] runs nowhere, as wanted")
        } else {
            table(done, asked, style)
        };
        return Ok(Output::new(text, data));
    }
    let nothing_done = done
        .iter()
        .all(|done| done.result.is_err() || done.step.action == Action::Keep);
    let text = format!(
        "provider `{id}` runs on {running} hosts instead of {}",
        plan.desired
    );
    let code = match failures.first() {
        // What failed alike everywhere, and changed nothing, is one failure and not part of a success.
        Some(first) if nothing_done && alike(&failures) => first.code(),
        None if nothing_done && running == 0 && plan.desired > 0 => Code::NoHostFits,
        _ => Code::Partial,
    };
    let hint = failures.iter().find_map(|failure| failure.hint_text());
    let hint = hint
        .unwrap_or("a host runs a provider id only once; start more hosts or relax `--constraint`");
    let mut error = CliError::new(code, text).hint(hint);
    for failure in &failures {
        error = error.cause(failure.to_string());
    }
    if plan.missing > 0 {
        error = error.cause(format!("{} hosts that fit are missing", plan.missing));
    }
    Err(error.data(data))
}

fn alike(failures: &[&CliError]) -> bool {
    let mut codes = failures.iter().map(|failure| failure.code());
    let first = codes.next();
    codes.all(|code| Some(code) == first)
}

fn runs_now(done: &Done) -> bool {
    match done.step.action {
        Action::Keep => true,
        Action::Start => done.result.is_ok(),
        Action::Stop => done.result.is_err(),
    }
}

fn state(done: &Done, asked: bool) -> (Tone, &'static str) {
    match (&done.result, done.step.action) {
        (Err(_), _) => (Tone::Bad, "failed"),
        (Ok(()), Action::Keep) => (Tone::Good, "running"),
        (Ok(()), Action::Start | Action::Stop) if asked => (Tone::Warn, "requested"),
        (Ok(()), Action::Start) => (Tone::Good, "running"),
        (Ok(()), Action::Stop) => (Tone::Dim, "stopped"),
    }
}

fn table(done: &[Done], asked: bool, style: Style) -> String {
    let mut table = Table::new(["Host", "Name", "Before", "After", "State"]);
    for done in done {
        let before = usize::from(done.step.action != Action::Start).to_string();
        let after = usize::from(done.step.action != Action::Stop).to_string();
        let (tone, word) = state(done, asked);
        table.row([
            done.step.host.clone().into(),
            done.step.name.clone().into(),
            before.into(),
            after.into(),
            Cell::state(tone, word),
        ]);
    }
    table.render(style)
}

fn document(done: &Done, asked: bool) -> Value {
    let mut document = json!({
        "host_id": done.step.host,
        "action": done.step.action.word(),
        "state": state(done, asked).1,
    });
    if let Err(error) = &done.result {
        document["reason"] = error.to_string().into();
    }
    document
}
