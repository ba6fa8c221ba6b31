//! Starts services for a person, shows them, and ends them.
#![allow(
    clippy::print_stdout,
    reason = "a command-line tool talks to its user on stdout"
)]

mod standing;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use lattice_services::{Kind, Service};

use standing::Standing;

/// The services that tests run against, for trying things by hand.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask services")]
struct Program {
    /// Where they keep their data and what is known of them.
    #[arg(long, env = "LATTICE_SERVICES_DIR", hide = true)]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start services on free loopback ports; all that are named, or every one.
    Up {
        /// nats, nats-2.9, redis, postgres, mariadb, etcd, rabbitmq, mosquitto, moto, azurite, kafka.
        #[arg(value_parser = kind)]
        kinds: Vec<Kind>,
    },
    /// End services and remove their data; all that are named, or every one.
    Down {
        /// As for `up`.
        #[arg(value_parser = kind)]
        kinds: Vec<Kind>,
    },
    /// Show what runs, and where.
    Status,
}

fn kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| {
        let names = Kind::ALL.map(Kind::name).join(", ");
        format!("the services are {names}")
    })
}

fn or_all(kinds: Vec<Kind>) -> Vec<Kind> {
    if kinds.is_empty() {
        return Kind::ALL.to_vec();
    }
    kinds
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let program = Program::parse();
    match run(program).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  caused by: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(program: Program) -> Result<()> {
    let dir = &program.dir;
    match program.command {
        Command::Up { kinds } => {
            for kind in or_all(kinds) {
                up(dir, kind).await?;
            }
        }
        Command::Down { kinds } => {
            for kind in or_all(kinds) {
                standing::end(&dir.join(kind.name()))?;
            }
        }
        Command::Status => {
            for kind in Kind::ALL {
                let state = match Standing::of(&dir.join(kind.name()))? {
                    Some(standing) if standing.runs() => kind.url(standing.ports[0]),
                    Some(_) => "ended by itself".to_owned(),
                    None => "not started".to_owned(),
                };
                println!("{:<10} {state}", kind.name());
            }
        }
    }
    Ok(())
}

async fn up(dir: &std::path::Path, kind: Kind) -> Result<()> {
    let folder = dir.join(kind.name());
    if let Some(standing) = Standing::of(&folder)?
        && standing.runs()
    {
        println!("{:<10} {}", kind.name(), kind.url(standing.ports[0]));
        return Ok(());
    }
    standing::end(&folder)?;
    let mut service = Service::reserve_in(kind, &folder)?;
    let starting = service.start_again().await;
    starting.with_context(|| format!("{} did not start", kind.name()))?;
    println!("{:<10} {}", kind.name(), service.url());
    let ports = service.ports().to_vec();
    Standing::new(ports, service.detach())?.write(&folder)
}
