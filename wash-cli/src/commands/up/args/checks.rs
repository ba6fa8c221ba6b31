//! What is looked at before anything starts, and what is told of flags without effect.

use lattice_claims::KeyKind;

use super::{Args, HostSettings};
use crate::error::{CliError, Code, Result};

impl Args {
    /// Looks at what a host would only refuse in its log.
    pub(in crate::commands::up) fn check(&self) -> Result<()> {
        let Some(seed) = &self.host.cluster_seed else {
            return Ok(());
        };
        let key = crate::keys::read_given(seed)?;
        key.expect_kind(KeyKind::Cluster).map_err(|error| {
            CliError::new(Code::Usage, "the cluster seed is not the seed of a cluster")
                .caused_by(&error)
                .hint("give one that begins with `SC`; `wash keys gen cluster` makes one")
        })?;
        Ok(())
    }

    /// The flags that say something about hosts that are started, and are given.
    pub(in crate::commands::up) fn for_new_hosts(&self) -> Vec<&'static str> {
        let labels = [
            ("--label", !self.labels.is_empty()),
            ("--label-each", !self.label_each.is_empty()),
        ];
        let flags = labels.into_iter().chain(self.host.flags());
        let given = flags.filter(|(_, given)| *given);
        given.map(|(flag, _)| flag).collect()
    }
}

impl HostSettings {
    /// All flags that only a host hears which is started, and whether they are given.
    fn flags(&self) -> [(&'static str, bool); 23] {
        [
            ("--isolated", self.isolated),
            ("--log-level", self.log_level.is_some()),
            (
                "--enable-structured-logging",
                self.enable_structured_logging.is_some(),
            ),
            ("--cluster-seed", self.cluster_seed.is_some()),
            ("--cluster-issuers", !self.cluster_issuers.is_empty()),
            ("--host-seed", self.host_seed.is_some()),
            ("--host-path", self.host_path.is_some()),
            ("--host-log-path", self.host_log_path.is_some()),
            ("--rpc-timeout-ms", self.rpc_timeout_ms.is_some()),
            ("--provider-delay", self.provider_delay.is_some()),
            (
                "--max-execution-time-ms",
                self.max_execution_time_ms.is_some(),
            ),
            ("--allow-latest", self.allow_latest.is_some()),
            ("--allowed-insecure", !self.allowed_insecure.is_empty()),
            // Allowed unless it is said otherwise.
            ("--allow-file-load", !self.allow_file_load),
            (
                "--config-service-enabled",
                self.config_service_enabled.is_some(),
            ),
            ("--policy-topic", self.policy_topic.is_some()),
            (
                "--policy-changes-topic",
                self.policy_changes_topic.is_some(),
            ),
            ("--policy-timeout-ms", self.policy_timeout_ms.is_some()),
            ("--secrets-topic", self.secrets_topic.is_some()),
            ("--require-signed", self.require_signed),
            ("--trusted-issuer", !self.trusted_issuers.is_empty()),
            ("--account-token", !self.account_tokens.is_empty()),
            ("--allow-unsigned", self.allow_unsigned.is_some()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parsed;

    fn args(line: &[&str]) -> Args {
        parsed(line).unwrap()
    }

    #[test]
    fn what_hosts_would_refuse_is_refused_at_once() {
        let error = args(&["--cluster-seed", "foo"]).check().unwrap_err();
        assert_eq!(error.code(), Code::Usage);
        assert!(args(&[]).check().is_ok());
        assert!(parsed::<Args>(&["--log-level", "nope"]).is_err());
        assert!(parsed::<Args>(&["--log-level", "INFO"]).is_ok());
    }

    #[test]
    fn flags_without_effect_on_hosts_that_run_are_named() {
        let given = args(&["-l", "a=b", "--log-level", "debug"]).for_new_hosts();
        assert_eq!(given, ["--label", "--log-level"]);
        let given = args(&["--isolated", "--allow-file-load=false"]).for_new_hosts();
        assert_eq!(given, ["--isolated", "--allow-file-load"]);
        assert!(args(&[]).for_new_hosts().is_empty());
    }
}
