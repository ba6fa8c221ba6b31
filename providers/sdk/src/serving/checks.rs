//! What looks at the parameters of a call before generated code decodes them.

use std::sync::Arc;

use bytes::Bytes;
use lattice_codec::{DecodeError, Reader};

use super::Server;
use crate::error::ServeError;

/// Looks at the parameters of a call before generated code decodes them.
///
/// The generated decoder of a list of records or tuples makes room for as many items as the
/// caller claims to send. A function with such a parameter checks the claim here first, as
/// [`Reader::count`] does. With the feature `wit`, `Server::checked_by` does so for all functions.
pub type Check = fn(&mut Reader) -> Result<(), DecodeError>;

/// Walks over all parameters of one function.
pub(super) type Walk = Arc<dyn Fn(&mut Reader) -> Result<(), DecodeError> + Send + Sync>;

/// Finds what walks over the parameters of a function, or why it is not to be served.
type Types = Box<dyn Fn(&str, &str) -> Result<Walk, ServeError> + Send + Sync>;

/// What looks at the parameters of the functions of a [`Server`].
#[derive(Default)]
pub(super) struct Checks {
    own: Vec<(&'static str, &'static str, Check)>,
    types: Option<Types>,
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").finish_non_exhaustive()
    }
}

impl Checks {
    /// What looks at the parameters of each of these functions.
    pub(super) fn of_all(&self, functions: &[(&str, &str)]) -> Result<Vec<Looks>, ServeError> {
        self.all_are_of(functions)?;
        functions
            .iter()
            .map(|(instance, function)| self.of(instance, function))
            .collect()
    }

    fn of(&self, instance: &str, function: &str) -> Result<Looks, ServeError> {
        let mut own = self.own.iter();
        let own = own.find(|(of, name, _)| (*of, *name) == (instance, function));
        let walk = match &self.types {
            Some(types) => Some(types(instance, function)?),
            None => None,
        };
        Ok(Looks {
            own: own.map(|(_, _, check)| *check),
            walk,
        })
    }

    /// A check that is of no function leaves one unchecked.
    fn all_are_of(&self, functions: &[(&str, &str)]) -> Result<(), ServeError> {
        let mut own = self.own.iter();
        let stray = own.find(|(of, function, _)| !functions.contains(&(*of, *function)));
        match stray {
            Some((instance, function, _)) => Err(ServeError::Unknown {
                instance: (*instance).to_owned(),
                function: (*function).to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// What looks at the parameters of one function.
pub(super) struct Looks {
    own: Option<Check>,
    walk: Option<Walk>,
}

impl Looks {
    /// Refuses parameters that generated code is not to see.
    pub(super) fn at(&self, params: Bytes) -> Result<(), DecodeError> {
        if let Some(check) = self.own {
            check(&mut Reader::new(params.clone()))?;
        }
        let Some(walk) = &self.walk else {
            return Ok(());
        };
        let mut reader = Reader::new(params);
        walk(&mut reader)?;
        // Generated code leaves what follows its last parameter as it is, and answers.
        reader.finish()
    }
}

impl Server {
    /// Has `check` look at the parameters of a function, which is named as in the WIT package.
    #[must_use]
    pub fn checking(
        mut self,
        instance: &'static str,
        function: &'static str,
        check: Check,
    ) -> Self {
        self.checks.own.push((instance, function, check));
        self
    }

    /// Has the parameters of every call looked at before generated code decodes them, which makes
    /// room for as many items of a list as its caller claims, and takes no note of what is left over.
    /// A call that does not fit the types is refused as
    /// [`BAD_REQUEST`](crate::RemoteError::BAD_REQUEST).
    ///
    /// Each text is a WIT package that needs none but those before it, such as
    /// `include_str!("../wit/greet.wit")`. All interfaces that are served have to be among them. A second call
    /// replaces the texts of the first. Calls that are answered without generated code ([`Server::lane`])
    /// are not looked at.
    ///
    /// # Errors
    ///
    /// [`ServeError::Wit`] for a text that is no such package.
    #[cfg(feature = "wit")]
    pub fn checked_by<'a>(
        mut self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ServeError> {
        let known = super::wit::Known::new(texts)?;
        let types: Types =
            Box::new(move |instance: &str, function: &str| known.walk(instance, function));
        self.checks.types = Some(types);
        Ok(self)
    }
}
