//! One module per command; the folders mirror the command tree.

pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod claims;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod ctx;
pub(crate) mod down;
pub(crate) mod get;
pub(crate) mod host;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod label;
pub(crate) mod later;
pub(crate) mod link;
pub(crate) mod par;
pub(crate) mod policy;
pub(crate) mod scale;
pub(crate) mod secrets;
pub(crate) mod secrets_backend;
pub(crate) mod several;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod up;
pub(crate) mod update;
pub(crate) mod version;
