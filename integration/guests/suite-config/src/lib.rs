//! Conformance guest: what a component sees of its config.
//!
//! A case is one of the published shapes of `wasi:config`. The driver says what has to be seen:
//!
//! | setting | meaning |
//! | --- | --- |
//! | `has:KEY` | the key has this value |
//! | `lacks:KEY` | there is no such key |
//! | `count` | there are so many keys |
//!
//! It answers HTTP requests as well, with the value of the key in the path.

mod web;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({
        world: "lattice:suite-config/suite-config",
        path: [
            "../../../interfaces/wit/wasi-io-0.2.6",
            "../../../interfaces/wit/wasi-clocks-0.2.6",
            "../../../interfaces/wit/wasi-random-0.2.6",
            "../../../interfaces/wit/wasi-filesystem-0.2.6",
            "../../../interfaces/wit/wasi-sockets-0.2.6",
            "../../../interfaces/wit/wasi-cli-0.2.6",
            "../../../interfaces/wit/wasi-http-0.2.6",
            "../../../interfaces/wit/wasi-config-0.2.0-rc.1",
            "../suite-wit",
            "wit",
        ],
        generate_all,
    });
}

use bindings::exports::lattice::conformance::suite::{Failure, Guest, Setting};
use bindings::wasi::config0_2_0_draft::{runtime, store};
use bindings::wasi::config0_2_0_rc_1::store as candidate;

struct Suite;

/// One published shape.
struct Shape {
    name: &'static str,
    get: fn(&str) -> Result<Option<String>, String>,
    all: fn() -> Result<Vec<(String, String)>, String>,
}

/// The error of an interface in words.
fn words<T>(answer: Result<T, impl std::fmt::Debug>) -> Result<T, String> {
    answer.map_err(|error| format!("{error:?}"))
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "store@0.2.0-draft",
        get: |key| words(store::get(key)),
        all: || words(store::get_all()),
    },
    Shape {
        name: "runtime@0.2.0-draft",
        get: |key| words(runtime::get(key)),
        all: || words(runtime::get_all()),
    },
    Shape {
        name: "store@0.2.0-rc.1",
        get: |key| words(candidate::get(key)),
        all: || words(candidate::get_all()),
    },
];

impl Shape {
    fn check(&self, settings: &[Setting]) -> Result<(), String> {
        let all = (self.all)()?;
        for Setting { name, value } in settings {
            match name.split_once(':') {
                Some(("has", key)) => self.sees(&all, key, Some(value))?,
                Some(("lacks", key)) => self.sees(&all, key, None)?,
                _ if name == "count" && *value != all.len().to_string() => {
                    return Err(format!("{} keys, wanted {value}: {all:?}", all.len()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Asked for alone and among all others.
    fn sees(
        &self,
        all: &[(String, String)],
        key: &str,
        wanted: Option<&String>,
    ) -> Result<(), String> {
        let alone = (self.get)(key)?;
        let among: Vec<_> = all.iter().filter(|(name, _)| name == key).collect();
        let same = among.iter().map(|(_, value)| value).eq(wanted);
        if alone.as_ref() == wanted && same {
            return Ok(());
        }
        let shown =
            |text: Option<&String>| text.map(|text| text.chars().take(80).collect::<String>());
        Err(format!(
            "`{key}` is {:?} alone and {} times among all, wanted {:?}",
            shown(alone.as_ref()),
            among.len(),
            shown(wanted)
        ))
    }
}

impl Guest for Suite {
    fn cases() -> Vec<String> {
        SHAPES.iter().map(|shape| shape.name.to_owned()).collect()
    }

    fn run(name: String, settings: Vec<Setting>) -> Result<(), Failure> {
        let shape = SHAPES.iter().find(|shape| shape.name == name);
        let unknown = || Failure::Failed(format!("there is no shape `{name}`"));
        let checked = shape.ok_or_else(unknown)?.check(&settings);
        checked.map_err(Failure::Failed)
    }
}

bindings::export!(Suite with_types_in bindings);
