//! One module per command; the folders mirror the command tree.

pub(crate) mod build;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod ctx;
pub(crate) mod down;
pub(crate) mod get;
pub(crate) mod host;
pub(crate) mod inspect;
pub(crate) mod label;
pub(crate) mod link;
pub(crate) mod scale;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod up;
pub(crate) mod update;
pub(crate) mod version;
