//! `--help-markdown`: all flags as a table.

use std::io::{self, Write};

use clap::{Arg, Args, Command};

use super::args::HostArgs;

pub(crate) fn print() -> io::Result<()> {
    io::stdout().lock().write_all(table().as_bytes())
}

fn table() -> String {
    let command = HostArgs::augment_args(Command::new("lattice-host"));
    let mut text = String::from("| Flag | Environment | Default | Meaning |\n|---|---|---|---|\n");
    for arg in command
        .get_arguments()
        .filter(|arg| arg.get_id() != "help_markdown")
    {
        text.push_str(&row(arg));
    }
    text
}

fn row(arg: &Arg) -> String {
    let long = arg.get_long().map(|name| format!("`--{name}`"));
    let short = arg.get_short().map(|name| format!("`-{name}`"));
    let flag = [long, short]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ");
    let variable = arg.get_env().map(|name| format!("`{}`", name.display()));
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.display())
        .collect();
    let default = defaults.first().map(|value| format!("`{value}`"));
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!(
        "| {flag} | {} | {} | {} |\n",
        variable.unwrap_or_default(),
        default.unwrap_or_default(),
        help.replace('|', "\\|")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_the_1_x_host_is_in_the_table() {
        let table = table();
        for flag in [
            "trace-level",
            "log-level",
            "nats-host",
            "nats-port",
            "nats-jwt",
            "nats-seed",
            "nats-creds",
            "lattice",
            "host-seed",
            "provider-shutdown-delay-ms",
            "allow-latest",
            "allowed-insecure",
            "js-domain",
            "config-service-enabled",
            "allow-file-load",
            "enable-structured-logging",
            "label",
            "ctl-host",
            "ctl-tls",
            "ctl-topic-prefix",
            "rpc-host",
            "rpc-tls",
            "rpc-timeout-ms",
            "policy-topic",
            "policy-changes-topic",
            "policy-timeout-ms",
            "max-execution-time-ms",
            "max-linear-memory-bytes",
            "max-component-size-bytes",
            "max-components",
            "max-core-instances-per-component",
            "secrets-topic",
            "oci-registry",
            "oci-user",
            "oci-password",
            "enable-observability",
            "enable-traces",
            "enable-metrics",
            "enable-logs",
            "override-observability-endpoint",
            "override-traces-endpoint",
            "override-metrics-endpoint",
            "override-logs-endpoint",
            "observability-protocol",
            "flame-graph",
            "tls-ca-path",
            "heartbeat-interval-seconds",
            "feature",
            "http-admin",
            "enable-component-auction",
            "enable-provider-auction",
        ] {
            assert!(table.contains(&format!("`--{flag}`")), "{flag}");
        }
    }
}
