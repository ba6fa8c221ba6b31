//! What is looked at before anything starts, and what is told of flags without effect.

use lattice_claims::KeyKind;

use super::Args;
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
        let host = &self.host;
        let flags = [
            ("--label", !self.labels.is_empty()),
            ("--label-each", !self.label_each.is_empty()),
            ("--log-level", host.log_level.is_some()),
            ("--cluster-seed", host.cluster_seed.is_some()),
            ("--host-seed", host.host_seed.is_some()),
            ("--host-path", host.host_path.is_some()),
            ("--host-log-path", host.host_log_path.is_some()),
            ("--policy-topic", host.policy_topic.is_some()),
            ("--secrets-topic", host.secrets_topic.is_some()),
            ("--require-signed", host.require_signed),
            ("--trusted-issuer", !host.trusted_issuers.is_empty()),
        ];
        let given = flags.into_iter().filter(|(_, given)| *given);
        given.map(|(flag, _)| flag).collect()
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
    }
}
