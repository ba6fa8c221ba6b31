//! Options of 1.x that name parts `wash up` no longer fetches or starts.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;

use crate::error::{CliError, Code, Result};

/// Accepted, so that scripts of 1.x run on; each use says what it does now.
#[derive(Debug, clap::Args)]
pub(super) struct LegacyArgs {
    #[arg(long, hide = true, env = "NATS_VERSION", value_name = "VERSION")]
    nats_version: Option<String>,
    #[arg(long, hide = true, env = "WASMCLOUD_VERSION", value_name = "VERSION")]
    wasmcloud_version: Option<String>,
    #[arg(long, hide = true)]
    wasmcloud_start_only: bool,
    #[arg(long, hide = true)]
    disable_wadm: bool,
    #[arg(long, hide = true, env = "WADM_VERSION", value_name = "VERSION")]
    wadm_version: Option<String>,
    #[arg(long, hide = true, value_name = "DOMAIN")]
    wadm_js_domain: Option<String>,
    #[arg(long, hide = true, env = "WADM_MANIFEST", value_name = "FILE")]
    wadm_manifest: Option<PathBuf>,
    #[arg(long, hide = true, env = "WASMCLOUD_ENABLE_IPV6",
        value_parser = FalseyValueParser::new())]
    enable_ipv6: bool,
}

impl LegacyArgs {
    /// One line for each option that does not do what it did; an error for what cannot be left out.
    pub(super) fn notes(&self) -> Result<Vec<&'static str>> {
        if let Some(manifest) = &self.wadm_manifest {
            // To start everything but the application would look like success.
            let text = format!("could not deploy `{}`", manifest.display());
            return Err(CliError::new(Code::NotSupported, text)
                .cause("applications are not managed yet, so there is nothing to deploy it to")
                .hint(
                    "leave out `--wadm-manifest`; start its parts with `wash start` and connect \
                     them with `wash link put`",
                ));
        }
        let notes = [
            (
                self.nats_version.is_some(),
                "`--nats-version` chooses nothing: nothing is downloaded, the nats-server of this \
                 machine is started; name another one with `--nats-server PATH`",
            ),
            (
                self.wasmcloud_version.is_some(),
                "`--wasmcloud-version` chooses nothing: hosts are this program; name another one \
                 with `--host-path PATH`",
            ),
            (
                self.wasmcloud_start_only,
                "`--wasmcloud-start-only` changes nothing: hosts are never downloaded",
            ),
            (
                self.wadm_version.is_some(),
                "`--wadm-version` chooses nothing: applications are not managed yet",
            ),
            (
                self.wadm_js_domain.is_some(),
                "`--wadm-js-domain` changes nothing: applications are not managed yet",
            ),
            (
                self.enable_ipv6,
                "`--enable-ipv6` changes nothing: addresses of IPv6 are taken wherever one may stand",
            ),
        ];
        let used = notes.into_iter().filter(|(used, _)| *used);
        Ok(used.map(|(_, note)| note).collect())
    }
}
