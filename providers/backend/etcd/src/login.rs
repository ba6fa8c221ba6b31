//! The token of a user.

use std::sync::Arc;

use http::HeaderValue;
use lattice_core::provider::SecretText;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::error::EtcdError;

/// A user, and the token that etcd gave for the password.
#[derive(Debug)]
pub(crate) struct Login {
    user: String,
    password: SecretText,
    /// Held while a token is fetched, so that many requests fetch one.
    token: Mutex<Option<Token>>,
}

/// A token of etcd.
#[derive(Debug, Clone)]
pub(crate) struct Token(Arc<SecretText>);

/// What is asked for a token.
#[derive(Serialize)]
pub(crate) struct Credentials<'a> {
    name: &'a str,
    password: &'a str,
}

/// What comes back.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    pub(crate) token: String,
}

impl Login {
    pub(crate) fn new(user: String, password: SecretText) -> Self {
        Self {
            user,
            password,
            token: Mutex::default(),
        }
    }

    pub(crate) fn request(&self) -> Credentials<'_> {
        Credentials {
            name: &self.user,
            password: self.password.expose(),
        }
    }

    /// The token, fetched if there is none.
    pub(crate) async fn token<F>(&self, fetch: impl FnOnce() -> F) -> Result<Token, EtcdError>
    where
        F: Future<Output = Result<String, EtcdError>>,
    {
        let mut token = self.token.lock().await;
        if let Some(token) = &*token {
            return Ok(token.clone());
        }
        let fresh = Token(Arc::new(SecretText::new(fetch().await?)));
        Ok(token.insert(fresh).clone())
    }

    /// Forgets a token, unless there is a newer one already.
    pub(crate) async fn forget(&self, old: &Token) {
        let mut token = self.token.lock().await;
        if token
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(&now.0, &old.0))
        {
            *token = None;
        }
    }
}

impl Token {
    /// The token as a header; none when it cannot be one, which etcd then says.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.0.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
