//! The options of a connection, the same wherever a program takes them.
//!
//! [`connection_options!`](crate::connection_options) declares them for a program's command line;
//! what they say is a [`Given`]. The names are those that 1.x gave them, which differ between
//! programs in two places; the rest is ours.

use std::path::PathBuf;

use lattice_core::provider::SecretText;

use super::{ClientCert, ConnectionError, Login, addresses};

/// What was said of one connection. Nothing is required, and nothing in it is empty.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The host of the server, or its address with a scheme.
    pub host: Option<String>,
    /// The port of the server.
    pub port: Option<u16>,
    /// Addresses of servers, instead of host and port.
    pub urls: Vec<String>,
    /// A user token.
    pub jwt: Option<SecretText>,
    /// The seed that signs for it, or that of an nkey.
    pub seed: Option<SecretText>,
    /// A file with both.
    pub creds: Option<PathBuf>,
    /// A token that all share.
    pub token: Option<SecretText>,
    /// Whether TLS is required.
    pub tls: Option<bool>,
    /// Whether TLS comes first.
    pub tls_first: Option<bool>,
    /// The certificate to show, and its key.
    pub client: Option<ClientCert>,
}

impl Given {
    /// Whether it says who connects.
    #[must_use]
    pub fn names_login(&self) -> bool {
        self.jwt.is_some() || self.seed.is_some() || self.creds.is_some() || self.token.is_some()
    }

    /// Who connects: a token with its seed, or a seed, goes before a file, as 1.x hosts have it, and
    /// both before what all share.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::NoSeed`] for a user token alone.
    pub fn login(&self) -> Result<Login, ConnectionError> {
        if self.jwt.is_some() || self.seed.is_some() {
            let (jwt, seed) = (self.jwt.clone(), self.seed.clone());
            return Login::of(&jwt.unwrap_or_default(), &seed.unwrap_or_default());
        }
        let of_file = self.creds.clone().map(Login::CredsFile);
        let shared = || self.token.clone().map(Login::Token);
        Ok(of_file.or_else(shared).unwrap_or_default())
    }

    /// The same without what is empty, as variables are that somebody wanted to unset.
    #[must_use]
    pub fn tidy(self) -> Self {
        let urls = self.urls.iter().flat_map(|url| addresses(url)).collect();
        let told = |text: Option<SecretText>| text.filter(|text| !text.is_empty());
        Self {
            host: self.host.filter(|host| !host.is_empty()),
            urls,
            jwt: told(self.jwt),
            seed: told(self.seed),
            creds: self.creds.filter(|path| !path.as_os_str().is_empty()),
            token: told(self.token),
            ..self
        }
    }
}

/// Declares the options of one connection as a `clap::Args`, with `given(&self)` for what they say.
///
/// `flag` and `variable` are what the names of the options and of their variables begin with. The
/// credentials file and TLS that comes first have names of their own, since 1.x has other ones in
/// its shell than in its host. The calling crate depends on `clap`.
#[macro_export]
macro_rules! connection_options {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident {
            heading: $heading:literal,
            flag: $flag:literal,
            variable: $variable:literal,
            purpose: $purpose:literal,
            host: $host_help:literal $($host_short:literal)?,
            port: $port_help:literal $($port_short:literal)?,
            creds: $creds:literal | $other_creds:literal, $creds_variable:literal,
            tls_first: $first_variable:literal,
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, clap::Args)]
        #[command(next_help_heading = $heading)]
        $vis struct $name {
            /// The server.
            #[arg(id = concat!($flag, "_host"), value_name = "HOST", $(short = $host_short,)?
                long = concat!($flag, "-host"), env = concat!($variable, "_HOST"),
                hide_env_values = true, help = $host_help)]
            $vis host: Option<String>,
            /// Its port.
            #[arg(id = concat!($flag, "_port"), value_name = "PORT", $(short = $port_short,)?
                long = concat!($flag, "-port"), env = concat!($variable, "_PORT"),
                help = $port_help)]
            $vis port: Option<u16>,
            /// Several servers.
            #[arg(id = concat!($flag, "_url"), value_name = "URL", long = concat!($flag, "-url"),
                env = concat!($variable, "_URL"), hide_env_values = true, value_delimiter = ',',
                help = concat!("Addresses of NATS servers for ", $purpose, " instead of host and \
                    port, comma-separated or repeated: one that is there is enough"))]
            $vis url: Vec<String>,
            /// A user token.
            #[arg(id = concat!($flag, "_jwt"), value_name = "JWT", long = concat!($flag, "-jwt"),
                env = concat!($variable, "_JWT"), hide_env_values = true,
                help = concat!("User token for ", $purpose))]
            $vis jwt: Option<String>,
            /// Who signs for it.
            #[arg(id = concat!($flag, "_seed"), value_name = "SEED", long = concat!($flag, "-seed"),
                env = concat!($variable, "_SEED"), hide_env_values = true,
                help = "Seed that belongs to the token, or that of a plain nkey")]
            $vis seed: Option<String>,
            /// A file with both.
            #[arg(id = concat!($flag, "_creds"), value_name = "FILE", long = $creds,
                alias = $other_creds, env = $creds_variable,
                help = concat!("File with token and seed for ", $purpose))]
            $vis creds: Option<std::path::PathBuf>,
            /// A token that all share.
            #[arg(id = concat!($flag, "_token"), value_name = "TOKEN",
                long = concat!($flag, "-token"), env = concat!($variable, "_TOKEN"),
                hide_env_values = true,
                help = concat!("Token that everybody shares who may connect for ", $purpose))]
            $vis token: Option<String>,
            /// Whether TLS is required.
            #[arg(id = concat!($flag, "_tls"), long = concat!($flag, "-tls"),
                env = concat!($variable, "_TLS"), num_args = 0..=1, require_equals = true,
                value_name = "BOOL", default_missing_value = "true",
                value_parser = clap::builder::BoolishValueParser::new(),
                help = concat!("Require TLS for ", $purpose))]
            $vis tls: Option<bool>,
            /// Whether TLS comes first.
            #[arg(id = concat!($flag, "_tls_first"), long = concat!($flag, "-tls-first"),
                env = $first_variable, num_args = 0..=1, value_name = "BOOL",
                default_missing_value = "true",
                value_parser = clap::builder::BoolishValueParser::new(),
                help = concat!("Start TLS before the server says anything for ", $purpose))]
            $vis tls_first: Option<bool>,
            /// The certificate to show.
            #[arg(id = concat!($flag, "_tls_cert"), value_name = "FILE",
                long = concat!($flag, "-tls-cert"), env = concat!($variable, "_TLS_CERT"),
                requires = concat!($flag, "_tls_key"),
                help = concat!("Certificate to show to the server, a PEM file, for ", $purpose))]
            $vis tls_cert: Option<std::path::PathBuf>,
            /// Its private key.
            #[arg(id = concat!($flag, "_tls_key"), value_name = "FILE",
                long = concat!($flag, "-tls-key"), env = concat!($variable, "_TLS_KEY"),
                requires = concat!($flag, "_tls_cert"), help = "Private key of that certificate")]
            $vis tls_key: Option<std::path::PathBuf>,
        }

        impl $name {
            /// What they say.
            $vis fn given(&self) -> $crate::connection::options::Given {
                let secret = |text: &Option<String>| text.clone().map(Into::into);
                let pair = self.tls_cert.clone().zip(self.tls_key.clone());
                $crate::connection::options::Given {
                    host: self.host.clone(),
                    port: self.port,
                    urls: self.url.clone(),
                    jwt: secret(&self.jwt),
                    seed: secret(&self.seed),
                    creds: self.creds.clone(),
                    token: secret(&self.token),
                    tls: self.tls,
                    tls_first: self.tls_first,
                    client: pair.map(|(cert, key)| $crate::connection::ClientCert { cert, key }),
                }
                .tidy()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::super::Creds;
    use super::*;

    fn secret(text: &str) -> Option<SecretText> {
        Some(SecretText::new(text))
    }

    #[test]
    fn a_token_with_its_seed_goes_before_a_file_and_a_file_before_what_all_share() {
        let all = Given {
            jwt: secret("eyJ"),
            seed: secret("SU"),
            creds: Some("u.creds".into()),
            token: secret("t"),
            ..Given::default()
        };
        let (jwt, seed) = (SecretText::new("eyJ"), SecretText::new("SU"));
        let own = Login::Jwt(Creds { jwt, seed });
        assert_eq!(all.login().unwrap(), own);
        let filed = Given {
            jwt: None,
            seed: None,
            ..all.clone()
        };
        assert_eq!(filed.login().unwrap(), Login::CredsFile("u.creds".into()));
        let shared = Given {
            creds: None,
            ..filed
        };
        assert_eq!(shared.login().unwrap(), Login::Token(SecretText::new("t")));
        let unsigned = Given { seed: None, ..all };
        let refused = unsigned.login().unwrap_err();
        assert!(matches!(refused, ConnectionError::NoSeed), "{refused}");
        assert_eq!(Given::default().login().unwrap(), Login::Nobody);
    }

    #[test]
    fn what_is_empty_was_not_said() {
        let given = Given {
            host: Some(String::new()),
            urls: vec!["nats://a:4222, b:4222".to_owned(), String::new()],
            jwt: secret(""),
            creds: Some(PathBuf::new()),
            ..Given::default()
        }
        .tidy();
        assert_eq!(given.urls, ["nats://a:4222", "b:4222"]);
        assert_eq!(given.host, None);
        assert!(!given.names_login());
    }
}
