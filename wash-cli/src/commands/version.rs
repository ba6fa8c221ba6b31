//! `wash --version`.

use serde_json::Value;

use crate::output::{Output, fields};

pub(crate) fn run() -> Output {
    let wash = concat!("v", env!("CARGO_PKG_VERSION"));
    Output::new(
        format!("wash {wash}"),
        fields([("wash", Value::from(wash))]),
    )
}
