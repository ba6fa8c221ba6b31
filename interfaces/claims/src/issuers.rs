//! Whose signatures count: accounts that are named, and those that an operator vouches for.

use std::collections::BTreeSet;

use crate::claims::{Claims, SignerMetadata};
use crate::keys::{KeyError, KeyKind, PublicKey};
use crate::token::{self, TokenError};

/// Why a key or a token cannot be one of those that others are trusted by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// The key is none.
    #[error("`{text}` is not a public key")]
    Key {
        /// The text.
        text: String,
        /// Why not.
        source: KeyError,
    },
    /// The key is of a kind that vouches for nobody.
    #[error("`{text}` is the key of neither an account nor an operator")]
    Kind {
        /// The key.
        text: String,
    },
    /// The token is not signed by who it names.
    #[error("the token of an account or operator does not hold")]
    Token(#[from] TokenError),
    /// The token is about something else.
    #[error("the token is about `{subject}`, which is neither an account nor an operator")]
    Subject {
        /// What it is about.
        subject: String,
    },
}

/// Why a signer is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTrusted {
    /// Nobody who is trusted vouches for it.
    #[error("no trusted issuer is it or vouches for it")]
    Unknown,
    /// Who vouches for it does so no longer.
    #[error("the token of account `{account}`, which vouches for it, expired at epoch second {at}")]
    Expired {
        /// The account.
        account: String,
        /// When its token expired.
        at: u64,
    },
    /// Who vouches for it does not do so yet.
    #[error(
        "the token of account `{account}`, which vouches for it, is not yet usable, it becomes \
         valid at epoch second {at}"
    )]
    NotYet {
        /// The account.
        account: String,
        /// When its token becomes valid.
        at: u64,
    },
}

/// A token by which one key vouches for others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Voucher {
    issuer: String,
    subject: String,
    signers: Vec<String>,
    expires: Option<u64>,
    not_before: Option<u64>,
}

impl Voucher {
    /// Whether it stands for this signer.
    fn names(&self, key: &str) -> bool {
        self.subject == key || self.signers.iter().any(|signer| signer == key)
    }

    fn in_time(&self, now: u64) -> Result<(), NotTrusted> {
        let account = || self.subject.clone();
        if let Some(at) = self.expires.filter(|at| *at < now) {
            return Err(NotTrusted::Expired {
                account: account(),
                at,
            });
        }
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Err(NotTrusted::NotYet {
                account: account(),
                at,
            });
        }
        Ok(())
    }
}

/// The keys that are trusted, and the tokens by which they vouch for others.
///
/// An account that is named signs components and providers; so do the `valid_signers` of a token
/// that it has signed about itself. An operator that is named signs tokens of accounts, and so do
/// the `valid_signers` of a token that it has signed about itself; the accounts of such tokens and
/// their `valid_signers` then sign components and providers. Nothing else counts: an account
/// vouches for no other account, and an operator signs no component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedIssuers {
    keys: BTreeSet<String>,
    accounts: Vec<Voucher>,
    operators: Vec<Voucher>,
}

impl TrustedIssuers {
    /// Trusts a key of an account or of an operator.
    ///
    /// # Errors
    ///
    /// Refuses texts that are no such key.
    pub fn trust(&mut self, text: &str) -> Result<(), IssuerError> {
        let key = PublicKey::parse(text).map_err(|source| IssuerError::Key {
            text: text.to_owned(),
            source,
        })?;
        if !matches!(key.kind(), KeyKind::Account | KeyKind::Operator) {
            return Err(IssuerError::Kind {
                text: text.to_owned(),
            });
        }
        self.keys.insert(key.as_text());
        Ok(())
    }

    /// Takes in the token of an account or an operator. Its signature is checked now, its times
    /// whenever it is asked for, and it means nothing unless a trusted key has signed it.
    ///
    /// # Errors
    ///
    /// Refuses tokens that are forged, or about anything else.
    pub fn add_token(&mut self, token: &str) -> Result<(), IssuerError> {
        let claims: Claims<SignerMetadata> = token::verify_signature(token)?;
        let subject = PublicKey::parse(&claims.subject).map(|key| key.kind());
        let vouchers = match subject {
            Ok(KeyKind::Account) => &mut self.accounts,
            Ok(KeyKind::Operator) => &mut self.operators,
            _ => {
                let subject = claims.subject.chars().take(80).collect();
                return Err(IssuerError::Subject { subject });
            }
        };
        vouchers.push(Voucher {
            issuer: claims.issuer,
            subject: claims.subject,
            signers: claims
                .metadata
                .and_then(|metadata| metadata.valid_signers)
                .unwrap_or_default(),
            expires: claims.expires,
            not_before: claims.not_before,
        });
        Ok(())
    }

    /// Whether nobody is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether there are tokens by which somebody vouches for others.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        !self.accounts.is_empty() || !self.operators.is_empty()
    }

    /// Whether components and providers signed by `issuer` are trusted at `now`.
    ///
    /// # Errors
    ///
    /// Says why not; a chain that has run out is told from one that never was.
    pub fn check(&self, issuer: &str, now: u64) -> Result<(), NotTrusted> {
        if !is_of(KeyKind::Account, issuer) {
            return Err(NotTrusted::Unknown);
        }
        if self.keys.contains(issuer) {
            return Ok(());
        }
        let mut why = NotTrusted::Unknown;
        for account in self.accounts.iter().filter(|token| token.names(issuer)) {
            let found = self.anchored(account, now);
            match found.and_then(|()| account.in_time(now)) {
                Ok(()) => return Ok(()),
                // A stranger's token says nothing, also not that it has run out.
                Err(NotTrusted::Unknown) => {}
                Err(late) => why = late,
            }
        }
        Err(why)
    }

    /// Whether a trusted key has signed the token of an account.
    fn anchored(&self, account: &Voucher, now: u64) -> Result<(), NotTrusted> {
        let issuer = &account.issuer;
        if self.keys.contains(issuer)
            && (is_of(KeyKind::Operator, issuer) || *issuer == account.subject)
        {
            return Ok(());
        }
        if !is_of(KeyKind::Operator, issuer) {
            return Err(NotTrusted::Unknown);
        }
        let of_itself = |token: &&Voucher| {
            token.issuer == token.subject
                && self.keys.contains(&token.subject)
                && token.names(issuer)
        };
        let mut why = NotTrusted::Unknown;
        for operator in self.operators.iter().filter(of_itself) {
            match operator.in_time(now) {
                Ok(()) => return Ok(()),
                Err(late) => why = late,
            }
        }
        Err(why)
    }
}

fn is_of(kind: KeyKind, key: &str) -> bool {
    PublicKey::parse(key).is_ok_and(|key| key.kind() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    const NOW: u64 = 1_800_000_000;

    struct Keys {
        operator: SigningKey,
        helper: SigningKey,
        account: SigningKey,
        signer: SigningKey,
        stranger: SigningKey,
    }

    fn keys() -> Keys {
        let new = SigningKey::generate;
        Keys {
            operator: new(KeyKind::Operator),
            helper: new(KeyKind::Operator),
            account: new(KeyKind::Account),
            signer: new(KeyKind::Account),
            stranger: new(KeyKind::Account),
        }
    }

    fn token(
        issuer: &SigningKey,
        subject: &SigningKey,
        signers: &[&SigningKey],
        times: (Option<u64>, Option<u64>),
    ) -> String {
        let metadata = SignerMetadata {
            name: None,
            valid_signers: Some(signers.iter().map(|key| key.public_key()).collect()),
        };
        let mut claims = Claims::new(subject.public_key(), metadata, NOW);
        (claims.not_before, claims.expires) = times;
        claims.sign(issuer).unwrap()
    }

    fn trusting(keys: &[&SigningKey], tokens: &[String]) -> TrustedIssuers {
        let mut trusted = TrustedIssuers::default();
        for key in keys {
            trusted.trust(&key.public_key()).unwrap();
        }
        for token in tokens {
            trusted.add_token(token).unwrap();
        }
        trusted
    }

    const EVER: (Option<u64>, Option<u64>) = (None, None);

    #[test]
    fn accounts_that_are_named_are_trusted_and_no_others() {
        let k = keys();
        let trusted = trusting(&[&k.account], &[]);
        assert_eq!(trusted.check(&k.account.public_key(), NOW), Ok(()));
        for other in [&k.stranger, &k.operator] {
            assert_eq!(
                trusted.check(&other.public_key(), NOW),
                Err(NotTrusted::Unknown)
            );
        }
        assert_eq!(trusted.check("nonsense", NOW), Err(NotTrusted::Unknown));
    }

    #[test]
    fn an_operator_vouches_for_accounts_and_their_signers() {
        let k = keys();
        let chain = [token(&k.operator, &k.account, &[&k.signer], EVER)];
        let trusted = trusting(&[&k.operator], &chain);
        for key in [&k.account, &k.signer] {
            assert_eq!(trusted.check(&key.public_key(), NOW), Ok(()));
        }
        // It signs accounts, and no components.
        for key in [&k.operator, &k.stranger] {
            assert!(trusted.check(&key.public_key(), NOW).is_err());
        }
    }

    #[test]
    fn a_signing_key_of_the_operator_vouches_as_the_operator_does() {
        let k = keys();
        let account = token(&k.helper, &k.account, &[], EVER);
        let operator = token(&k.operator, &k.operator, &[&k.helper], EVER);
        let without = trusting(&[&k.operator], std::slice::from_ref(&account));
        assert!(without.check(&k.account.public_key(), NOW).is_err());
        let with = trusting(&[&k.operator], &[account.clone(), operator]);
        assert_eq!(with.check(&k.account.public_key(), NOW), Ok(()));
        // Nobody makes himself a helper of the operator.
        let forged = token(&k.helper, &k.helper, &[&k.helper], EVER);
        let forged = trusting(&[&k.operator], &[account, forged]);
        assert!(forged.check(&k.account.public_key(), NOW).is_err());
    }

    #[test]
    fn an_account_names_further_signers_of_its_own_and_no_other_account() {
        let k = keys();
        let own = token(&k.account, &k.account, &[&k.signer], EVER);
        let trusted = trusting(&[&k.account], &[own]);
        assert_eq!(trusted.check(&k.signer.public_key(), NOW), Ok(()));
        let other = token(&k.account, &k.stranger, &[&k.signer], EVER);
        let trusted = trusting(&[&k.account], &[other]);
        for key in [&k.stranger, &k.signer] {
            assert!(trusted.check(&key.public_key(), NOW).is_err());
        }
    }

    #[test]
    fn tokens_of_strangers_count_for_nothing() {
        let k = keys();
        let own = token(&k.stranger, &k.stranger, &[], EVER);
        let trusted = trusting(&[&k.account, &k.operator], &[own]);
        let found = trusted.check(&k.stranger.public_key(), NOW);
        assert_eq!(found, Err(NotTrusted::Unknown));
    }

    #[test]
    fn a_chain_that_has_run_out_is_told_from_one_that_never_was() {
        let k = keys();
        let check = |times| {
            let chain = [token(&k.operator, &k.account, &[], times)];
            trusting(&[&k.operator], &chain).check(&k.account.public_key(), NOW)
        };
        assert!(matches!(
            check((None, Some(NOW - 1))),
            Err(NotTrusted::Expired { .. })
        ));
        assert!(matches!(
            check((Some(NOW + 1), None)),
            Err(NotTrusted::NotYet { .. })
        ));
        assert_eq!(check((Some(NOW), Some(NOW))), Ok(()));
    }

    #[test]
    fn what_vouches_for_nobody_is_refused_by_name() {
        let mut trusted = TrustedIssuers::default();
        let host = SigningKey::generate(KeyKind::Host);
        assert!(matches!(
            trusted.trust(&host.public_key()),
            Err(IssuerError::Kind { .. })
        ));
        assert!(matches!(trusted.trust("A"), Err(IssuerError::Key { .. })));
        let k = keys();
        let about_host = token(&k.operator, &host, &[], EVER);
        assert!(matches!(
            trusted.add_token(&about_host),
            Err(IssuerError::Subject { .. })
        ));
        let genuine = token(&k.operator, &k.account, &[], EVER);
        let other = token(&k.operator, &k.signer, &[], EVER);
        let (head, _) = genuine.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        assert!(matches!(
            trusted.add_token(&format!("{head}.{signature}")),
            Err(IssuerError::Token(_))
        ));
        assert!(trusted.is_empty() && !trusted.has_tokens());
    }
}
