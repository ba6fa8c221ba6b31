//! The rules of a link that is put.

use lattice_core::LinkRules;
use lattice_core::rules::Rate;

use super::target::Package;
use crate::error::{CliError, Code, Result};

/// What calls through the link may do; the host of the calling component sees to it.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RuleArgs {
    /// Functions that may be called, such as `get,list-keys`; all others are refused
    #[arg(long, value_name = "FUNCTION", value_delimiter = ',')]
    allow: Vec<String>,
    /// Refuse what changes something: functions, statements in SQL, methods of HTTP
    #[arg(long)]
    read_only: bool,
    /// Bucket, container or queue that may be used, a `*` may end it; may be repeated. Not for SQL:
    /// there the user of the database and `databases` in the link's config say what is in reach
    #[arg(long, value_name = "NAME")]
    within: Vec<String>,
    /// What keys, objects, jobs and locks have to begin with; may be repeated
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// Subjects that messages may go to, such as `orders.*` or `orders.>`; may be repeated
    #[arg(long, value_name = "PATTERN")]
    subject: Vec<String>,
    /// Where HTTP requests may go, such as `api.example.com` or `GET https://*.example.com/v1`; may
    /// be repeated
    #[arg(long, value_name = "GRANT")]
    to: Vec<String>,
    /// The most calls of each host, such as `100/s`, `30/m` or `5/h`
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
}

impl RuleArgs {
    /// The rules, if they have a meaning for the interfaces of the link.
    pub(super) fn read(self, package: &Package) -> Result<LinkRules> {
        let rules = LinkRules {
            allow: self.allow,
            read_only: self.read_only,
            within: self.within,
            prefix: self.prefix,
            subject: self.subject,
            to: self.to,
            rate: self.rate,
            ..LinkRules::default()
        };
        let checked = rules.check(&package.namespace, &package.package, &package.interfaces);
        checked.map_err(|error| {
            CliError::new(Code::Usage, "a rule of the link cannot be kept")
                .hint(error.hint())
                .caused_by(&error)
        })?;
        Ok(rules)
    }
}
