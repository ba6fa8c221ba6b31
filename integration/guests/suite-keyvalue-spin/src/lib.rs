//! Conformance guest: `wasi:keyvalue@0.2.0-draft2` as components of Spin have it, where that differs from the proposal.

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-keyvalue-spin/suite-keyvalue-spin",
        path: [
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use bindings::wasi::keyvalue::batch::{delete_many, get_many};
use bindings::wasi::keyvalue::store::{Error, open};

struct Suite;

/// The one case.
const CASE: &str = "many keys come with what they hold";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(format!("the store answered with an error: {error:?}"))
    }
}

impl Guest for Suite {
    fn cases() -> Vec<String> {
        vec![CASE.to_owned()]
    }

    fn run(name: String, _settings: Vec<Setting>) -> Result<(), Failure> {
        match name == CASE {
            true => many_keys(),
            false => Err(Failure::Failed(format!("there is no case `{name}`"))),
        }
    }
}

fn many_keys() -> Result<(), Failure> {
    let bucket = open("default")?;
    let held = [("spin-a", "1"), ("spin-empty", "")];
    for (key, value) in held {
        bucket.set(key, value.as_bytes())?;
    }
    let keys = ["spin-empty", "spin-never", "spin-a"].map(str::to_owned);
    let got = get_many(&bucket, &keys)?;
    delete_many(&bucket, &keys)?;
    let wanted = [Some(&b""[..]), None, Some(&b"1"[..])];
    let wanted = keys.iter().zip(wanted);
    let is_same = got.len() == keys.len()
        && got
            .iter()
            .zip(wanted)
            .all(|((key, value), (asked, held))| key == asked && value.as_deref() == held);
    match is_same {
        true => Ok(()),
        false => Err(Failure::Failed(format!("get-many gave {got:?}"))),
    }
}

bindings::export!(Suite with_types_in bindings);
