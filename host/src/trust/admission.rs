//! Whether an artifact may run here, from what its token says, the rules of the host and the time.

use lattice_claims::issuers::NotTrusted;
use lattice_claims::{Claims, ComponentClaims, ProviderClaims};
use lattice_core::ErrorCode;

use crate::config::TrustConfig;

/// A component or provider that is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Artifact<'a> {
    /// A part of the host's own program, which is trusted as that is.
    Builtin,
    /// A file without a token.
    Unsigned,
    /// A file with a token whose signature and hashes have been checked.
    Signed(Signed<'a>),
}

/// What a token says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signed<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) expires: Option<u64>,
    pub(crate) not_before: Option<u64>,
    /// Whether the token holds a hash that was compared with the file.
    pub(crate) bound: bool,
}

impl<'a> Signed<'a> {
    fn of<T>(claims: &'a Claims<T>, bound: bool) -> Artifact<'a> {
        Artifact::Signed(Self {
            issuer: &claims.issuer,
            expires: claims.expires,
            not_before: claims.not_before,
            bound,
        })
    }
}

impl<'a> Artifact<'a> {
    /// A component, with its claims if it has any.
    pub(crate) fn component(claims: Option<&'a ComponentClaims>) -> Self {
        claims.map_or(Self::Unsigned, |claims| {
            Signed::of(claims, claims.is_bound())
        })
    }

    /// A provider out of a file, with its claims if it has any.
    pub(crate) fn provider(claims: Option<&'a ProviderClaims>) -> Self {
        claims.map_or(Self::Unsigned, |claims| Signed::of(claims, true))
    }
}

/// Why an artifact may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is part of the host.
    Builtin,
    /// Nobody has signed it, or nobody knows whether this is what was signed, and that is allowed.
    Unsigned,
    /// Its token holds, and its issuer is accepted.
    Signed,
}

/// Why an artifact may not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// It has no token.
    #[error("it is not signed, and this host runs nothing that is not")]
    Unsigned,
    /// Its token has expired.
    #[error("token expired at epoch second {at}")]
    Expired {
        /// When.
        at: u64,
    },
    /// Its token does not hold yet.
    #[error("token not yet usable, it becomes valid at epoch second {at}")]
    NotYetUsable {
        /// When it will.
        at: u64,
    },
    /// Its token could have been taken from another file.
    #[error("its claims are of a format before revision 3, whose hash says nothing about the file")]
    Unbound,
    /// Who signed it is not trusted.
    #[error("its issuer `{issuer}` is not trusted by this host")]
    Issuer {
        /// Who signed it.
        issuer: String,
        /// Why they are not trusted.
        source: NotTrusted,
    },
}

impl Refusal {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Unsigned => ErrorCode::NotSigned,
            Self::Expired { .. } | Self::NotYetUsable { .. } | Self::Unbound => {
                ErrorCode::ClaimsInvalid
            }
            Self::Issuer { .. } => ErrorCode::IssuerNotTrusted,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unsigned => {
                "sign it with `wash claims sign` or `wash par create`, or start the host with \
                 `--allow-unsigned`"
            }
            Self::Expired { .. } => "sign it again; `wash inspect FILE` shows its claims",
            Self::NotYetUsable { .. } => {
                "wait until then, check the clock of the host, or sign it again without `--nbf`"
            }
            Self::Unbound => "sign it again with `wash claims sign`",
            Self::Issuer { .. } => {
                "have it signed by an account that the host trusts, or name this one with \
                 `--trusted-issuer`; accounts of a trusted operator need `--account-token`"
            }
        }
    }
}

/// Decides whether an artifact may run at `now`.
pub(crate) fn admit(
    artifact: &Artifact<'_>,
    rules: &TrustConfig,
    now: u64,
) -> Result<Admission, Refusal> {
    let signed = match artifact {
        Artifact::Builtin => return Ok(Admission::Builtin),
        Artifact::Unsigned if rules.allows_unsigned() => return Ok(Admission::Unsigned),
        Artifact::Unsigned => return Err(Refusal::Unsigned),
        Artifact::Signed(signed) => signed,
    };
    if let Some(at) = signed.expires.filter(|at| *at < now) {
        return Err(Refusal::Expired { at });
    }
    if let Some(at) = signed.not_before.filter(|at| *at > now) {
        return Err(Refusal::NotYetUsable { at });
    }
    if !signed.bound {
        // Its claims may be those of another file, so that they prove nothing.
        return match rules.allows_unsigned() && rules.issuers.is_empty() {
            true => Ok(Admission::Unsigned),
            false => Err(Refusal::Unbound),
        };
    }
    if !rules.issuers.is_empty() {
        let issuer = signed.issuer;
        rules
            .issuers
            .check(issuer, now)
            .map_err(|source| Refusal::Issuer {
                issuer: issuer.to_owned(),
                source,
            })?;
    }
    Ok(Admission::Signed)
}

#[cfg(test)]
mod tests {
    use lattice_claims::issuers::TrustedIssuers;
    use lattice_claims::{KeyKind, SigningKey};

    use super::*;

    const NOW: u64 = 1_000;

    /// No rule, signatures wanted, one issuer, one issuer and unsigned files.
    fn rules(trusted: &str) -> [TrustConfig; 4] {
        let mut issuers = TrustedIssuers::default();
        issuers.trust(trusted).unwrap();
        let rules = |require_signed, named: bool, allow_unsigned| TrustConfig {
            require_signed,
            allow_unsigned,
            issuers: if named {
                issuers.clone()
            } else {
                TrustedIssuers::default()
            },
        };
        [
            rules(false, false, None),
            rules(true, false, None),
            rules(false, true, None),
            rules(false, true, Some(true)),
        ]
    }

    fn account() -> String {
        SigningKey::generate(KeyKind::Account).public_key()
    }

    fn outcome(artifact: &Artifact<'_>, rules: &TrustConfig) -> &'static str {
        match admit(artifact, rules, NOW) {
            Ok(Admission::Builtin) => "builtin",
            Ok(Admission::Unsigned) => "unsigned",
            Ok(Admission::Signed) => "signed",
            Err(Refusal::Unsigned) => "not signed",
            Err(Refusal::Expired { .. }) => "expired",
            Err(Refusal::NotYetUsable { .. }) => "too early",
            Err(Refusal::Unbound) => "unbound",
            Err(Refusal::Issuer { .. }) => "stranger",
        }
    }

    #[test]
    fn each_artifact_meets_each_rule() {
        let (trusted, stranger) = (account(), account());
        let good = Signed {
            issuer: &trusted,
            expires: Some(NOW),
            not_before: Some(NOW),
            bound: true,
        };
        let table = [
            (Artifact::Builtin, ["builtin"; 4]),
            (
                Artifact::Unsigned,
                ["unsigned", "not signed", "not signed", "unsigned"],
            ),
            (Artifact::Signed(good), ["signed"; 4]),
            (
                Artifact::Signed(Signed {
                    issuer: &stranger,
                    ..good
                }),
                ["signed", "signed", "stranger", "stranger"],
            ),
            (
                Artifact::Signed(Signed {
                    expires: Some(NOW - 1),
                    ..good
                }),
                ["expired"; 4],
            ),
            (
                Artifact::Signed(Signed {
                    not_before: Some(NOW + 1),
                    ..good
                }),
                ["too early"; 4],
            ),
            (
                Artifact::Signed(Signed {
                    bound: false,
                    ..good
                }),
                ["unsigned", "unbound", "unbound", "unbound"],
            ),
        ];
        for (artifact, expected) in table {
            for (rules, expected) in rules(&trusted).iter().zip(expected) {
                assert_eq!(
                    outcome(&artifact, rules),
                    expected,
                    "{artifact:?} {rules:?}"
                );
            }
        }
    }

    #[test]
    fn refusals_begin_as_those_of_1_9_and_say_what_to_do() {
        let source = NotTrusted::Unknown;
        for (refusal, code, begins) in [
            (Refusal::Unsigned, ErrorCode::NotSigned, "it is not signed"),
            (
                Refusal::Expired { at: 1 },
                ErrorCode::ClaimsInvalid,
                "token expired",
            ),
            (
                Refusal::NotYetUsable { at: 1 },
                ErrorCode::ClaimsInvalid,
                "token not yet usable",
            ),
            (Refusal::Unbound, ErrorCode::ClaimsInvalid, "its claims"),
            (
                Refusal::Issuer {
                    issuer: "A".into(),
                    source,
                },
                ErrorCode::IssuerNotTrusted,
                "its issuer `A`",
            ),
        ] {
            assert_eq!(refusal.code(), code);
            assert!(refusal.to_string().starts_with(begins), "{refusal}");
            assert!(!refusal.hint().is_empty());
        }
    }

    #[test]
    fn claims_of_old_formats_are_bound_to_no_file() {
        let mut claims = ComponentClaims::new("M".into(), Default::default(), 1);
        let bound = |claims: &ComponentClaims| match Artifact::component(Some(claims)) {
            Artifact::Signed(signed) => signed.bound,
            _ => panic!("it is signed"),
        };
        assert!(bound(&claims));
        for revision in [None, Some(2)] {
            claims.revision = revision;
            assert!(!bound(&claims));
        }
        assert_eq!(Artifact::component(None), Artifact::Unsigned);
        assert_eq!(Artifact::provider(None), Artifact::Unsigned);
    }
}
