//! Flags that say what may run here, and whom the host asks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use lattice_claims::issuers::{IssuerError, TrustedIssuers};
use lattice_core::InvalidId;
use lattice_core::subject::TopicPrefix;

use crate::config::{PolicyConfig, TrustConfig};

/// Whose components and providers run here.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Trust")]
pub struct TrustArgs {
    /// Refuse components and providers that are not signed
    #[arg(long, env = "LATTICE_REQUIRE_SIGNED", value_parser = BoolishValueParser::new())]
    pub require_signed: bool,
    /// Run only what this key has signed: an account (`A…`), or an operator (`O…`) whose accounts
    /// sign; may be repeated, or comma-separated. Refuses what is not signed, too
    #[arg(
        long = "trusted-issuer",
        env = "LATTICE_TRUSTED_ISSUERS",
        value_delimiter = ',',
        value_name = "KEY"
    )]
    pub trusted_issuers: Vec<String>,
    /// Token by which an operator names an account, or an account its further keys: the token, a
    /// file with tokens, or a folder of `.jwt` files; may be repeated, or comma-separated
    #[arg(
        long = "account-token",
        env = "LATTICE_ACCOUNT_TOKENS",
        value_delimiter = ',',
        value_name = "TOKEN|PATH"
    )]
    pub account_tokens: Vec<String>,
    /// Run what is not signed beside what trusted issuers have signed (default: true, unless
    /// signatures are required or an issuer is named)
    #[arg(long, env = "LATTICE_ALLOW_UNSIGNED", num_args = 0..=1,
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub allow_unsigned: Option<bool>,
    /// Subject of a policy service, which is asked before anything starts or is called
    #[arg(long, env = "WASMCLOUD_POLICY_TOPIC")]
    pub policy_topic: Option<String>,
    /// Subject at which the policy service tells of decisions that it has changed
    #[arg(long, env = "WASMCLOUD_POLICY_CHANGES_TOPIC")]
    pub policy_changes_topic: Option<String>,
    /// Milliseconds that a decision may take (default: 1000); without one in time it is no
    #[arg(long, env = "WASMCLOUD_POLICY_TIMEOUT", value_parser = clap::value_parser!(u64).range(1..))]
    pub policy_timeout_ms: Option<u64>,
    /// Seconds for which a decision holds before it is asked for again (default: 60)
    #[arg(long, env = "LATTICE_POLICY_CACHE_SECONDS",
        value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    pub policy_cache_seconds: Option<u64>,
}

/// Why the flags about trust make no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustSettingsError {
    /// A name breaks a rule.
    #[error(transparent)]
    Topic(#[from] InvalidId),
    /// An issuer is no key that can be trusted.
    #[error("`--trusted-issuer` names no issuer")]
    Issuer(#[source] IssuerError),
    /// Two flags contradict each other.
    #[error("`--require-signed` and `--allow-unsigned` contradict each other")]
    Both,
    /// Tokens vouch for accounts, and nobody is trusted who could have signed them.
    #[error("`--account-token` has no effect without `--trusted-issuer`")]
    NobodyTrusted,
    /// A file cannot be read.
    #[error("could not read account tokens from `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A token is none.
    #[error("{from} is no token of an account or operator")]
    Token {
        /// Where it stands.
        from: String,
        /// What is wrong with it.
        source: IssuerError,
    },
}

impl TrustSettingsError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Topic(error) => error.hint(),
            Self::Issuer(_) => {
                "name the public key of an account (`A…`) or an operator (`O…`), 56 characters; \
                 `wash inspect FILE` shows who signed a file"
            }
            Self::Both => "leave one of them out",
            Self::NobodyTrusted => "name the operator that signed the tokens",
            Self::Read { .. } => "check the path and its permissions",
            Self::Token { .. } => "make one with `wash claims token account`",
        }
    }
}

/// The rules for what runs here.
pub(super) fn trust(args: &TrustArgs) -> Result<TrustConfig, TrustSettingsError> {
    if args.require_signed && args.allow_unsigned == Some(true) {
        return Err(TrustSettingsError::Both);
    }
    let mut issuers = TrustedIssuers::default();
    for text in filled(&args.trusted_issuers) {
        issuers.trust(text).map_err(TrustSettingsError::Issuer)?;
    }
    for text in filled(&args.account_tokens) {
        add_tokens(&mut issuers, text)?;
    }
    if issuers.is_empty() && issuers.has_tokens() {
        return Err(TrustSettingsError::NobodyTrusted);
    }
    Ok(TrustConfig {
        require_signed: args.require_signed,
        allow_unsigned: args.allow_unsigned,
        issuers,
    })
}

fn filled(texts: &[String]) -> impl Iterator<Item = &str> {
    let texts = texts.iter().map(|text| text.trim());
    texts.filter(|text| !text.is_empty())
}

/// How the JSON of a token's header begins in its text form.
const TOKEN_BEGINS: &str = "eyJ";
const TOKEN_FILE: &str = "jwt";

fn add_tokens(issuers: &mut TrustedIssuers, text: &str) -> Result<(), TrustSettingsError> {
    if text.starts_with(TOKEN_BEGINS) {
        return add(issuers, text, || {
            "the value of `--account-token`".to_owned()
        });
    }
    let path = Path::new(text);
    let failed = |source| TrustSettingsError::Read {
        path: path.to_owned(),
        source,
    };
    if !path.is_dir() {
        return add_file(issuers, path);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.retain(|file| file.extension().is_some_and(|end| end == TOKEN_FILE));
    files.sort();
    files.iter().try_for_each(|file| add_file(issuers, file))
}

fn add_file(issuers: &mut TrustedIssuers, path: &Path) -> Result<(), TrustSettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| TrustSettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    for token in text.split_whitespace() {
        add(issuers, token, || format!("`{}`", path.display()))?;
    }
    Ok(())
}

fn add(
    issuers: &mut TrustedIssuers,
    token: &str,
    from: impl FnOnce() -> String,
) -> Result<(), TrustSettingsError> {
    issuers
        .add_token(token)
        .map_err(|source| TrustSettingsError::Token {
            from: from(),
            source,
        })
}

/// The policy service, and warnings about flags that have no effect without one.
pub(super) fn policy(
    args: &TrustArgs,
) -> Result<(Option<PolicyConfig>, Vec<String>), TrustSettingsError> {
    let topic = |text: &Option<String>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(TopicPrefix::new).transpose()
    };
    let changes_topic = topic(&args.policy_changes_topic)?;
    let Some(topic) = topic(&args.policy_topic)? else {
        let given = [
            (changes_topic.is_some(), "--policy-changes-topic"),
            (args.policy_timeout_ms.is_some(), "--policy-timeout-ms"),
            (
                args.policy_cache_seconds.is_some(),
                "--policy-cache-seconds",
            ),
        ];
        let warnings = given
            .into_iter()
            .filter(|(given, _)| *given)
            .map(|(_, flag)| format!("`{flag}` has no effect without `--policy-topic`"));
        return Ok((None, warnings.collect()));
    };
    let defaults = PolicyConfig::new(topic);
    let config = PolicyConfig {
        changes_topic,
        timeout: args
            .policy_timeout_ms
            .map_or(defaults.timeout, Duration::from_millis),
        keep: args
            .policy_cache_seconds
            .map_or(defaults.keep, Duration::from_secs),
        ..defaults
    };
    Ok((Some(config), Vec::new()))
}

#[cfg(test)]
mod tests {
    use lattice_claims::{Claims, KeyKind, SigningKey};

    use super::*;

    fn args(issuers: &[&str], tokens: &[&str]) -> TrustArgs {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        TrustArgs {
            trusted_issuers: texts(issuers),
            account_tokens: texts(tokens),
            ..TrustArgs::default()
        }
    }

    fn chain() -> (String, String, String) {
        let operator = SigningKey::generate(KeyKind::Operator);
        let account = SigningKey::generate(KeyKind::Account).public_key();
        let metadata = lattice_claims::SignerMetadata::default();
        let mut claims = Claims::new(account.clone(), metadata, 1);
        let token = claims.sign(&operator).unwrap();
        (operator.public_key(), account, token)
    }

    #[test]
    fn each_combination_says_what_becomes_of_unsigned_files() {
        let (operator, ..) = chain();
        let unsigned = |args: TrustArgs| trust(&args).map(|rules| rules.allows_unsigned());
        assert!(unsigned(args(&[], &[])).unwrap());
        assert!(!unsigned(args(&[&operator], &[])).unwrap());
        let mut both = args(&[&operator], &[]);
        both.allow_unsigned = Some(true);
        assert!(unsigned(both.clone()).unwrap());
        both.require_signed = true;
        assert!(matches!(
            unsigned(both.clone()),
            Err(TrustSettingsError::Both)
        ));
        both.allow_unsigned = Some(false);
        assert!(!unsigned(both).unwrap());
        let mut refused = args(&[], &[]);
        refused.allow_unsigned = Some(false);
        assert!(!unsigned(refused).unwrap());
    }

    #[test]
    fn tokens_come_as_they_are_in_files_and_in_folders() {
        let (operator, account, token) = chain();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.jwt");
        std::fs::write(&file, format!("{token}\n")).unwrap();
        std::fs::write(dir.path().join("README"), "no token").unwrap();
        let (file, folder) = (file.display().to_string(), dir.path().display().to_string());
        for given in [token.as_str(), &file, &folder] {
            let rules = trust(&args(&[&operator], &[given])).unwrap();
            assert_eq!(rules.issuers.check(&account, 1), Ok(()), "{given}");
        }
        let nobody = trust(&args(&[], &[&token])).unwrap_err();
        assert!(matches!(nobody, TrustSettingsError::NobodyTrusted));
        let none = trust(&args(&[&operator], &["/nowhere/a.jwt"])).unwrap_err();
        assert!(none.to_string().contains("/nowhere/a.jwt"), "{none}");
        let cut = trust(&args(&[&operator], &[&token[..40]])).unwrap_err();
        assert!(matches!(cut, TrustSettingsError::Token { .. }));
        let key = trust(&args(&["AKEY"], &[])).unwrap_err();
        assert!(matches!(key, TrustSettingsError::Issuer(_)));
    }

    #[test]
    fn a_policy_needs_a_subject_that_is_one() {
        let mut args = args(&[], &[]);
        args.policy_timeout_ms = Some(5);
        let (none, warnings) = policy(&args).unwrap();
        assert!(none.is_none() && warnings[0].contains("--policy-timeout-ms"));
        args.policy_topic = Some("shop.policy".into());
        args.policy_changes_topic = Some("shop.policy.changes".into());
        let (config, warnings) = policy(&args).unwrap();
        let config = config.unwrap();
        assert!(warnings.is_empty());
        assert_eq!(config.timeout, Duration::from_millis(5));
        assert_eq!(config.keep, Duration::from_secs(60));
        assert_eq!(
            config.changes_topic.unwrap().as_str(),
            "shop.policy.changes"
        );
        args.policy_topic = Some("shop.*".into());
        assert!(matches!(policy(&args), Err(TrustSettingsError::Topic(_))));
    }
}
