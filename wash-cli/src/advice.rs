//! What to do when a host could not start something, read from the host's words.
//!
//! Hosts that know better say so in their event. Those of 1.x say nothing but a text, and that
//! text is all there is to go by.

use crate::error::Code;

/// A kind of failure: words of the host's text, how the command ends, and what to do.
struct Kind {
    words: &'static [&'static str],
    code: Code,
    hint: &'static str,
}

/// The first kind that fits counts: a file that is missing is also one that could not be read.
const KINDS: [Kind; 10] = [
    Kind {
        words: &["no such file", "not found (os error 2)"],
        code: Code::FileNotFound,
        hint: "the host looks for the file on its own machine: check the path, and run \
               `wash build` first if the component has not been built",
    },
    Kind {
        words: &["permission denied", "may not be executed"],
        code: Code::StartFailed,
        hint: "let the user of the host read the file, and `chmod +x` it if it is a provider",
    },
    Kind {
        words: &["more than the limit", "too large"],
        code: Code::StartFailed,
        hint: "build the component with `--release` and strip it, or raise the limit of the host \
               (`wash host --help` lists the limits)",
    },
    Kind {
        words: &["core module"],
        code: Code::StartFailed,
        hint: "build a component instead of a core module: `wash build`, or \
               `cargo build --target wasm32-wasip2`",
    },
    Kind {
        words: &["no link can provide", "unsatisfied import"],
        code: Code::StartFailed,
        hint: "`wash inspect FILE --wit` shows what the component imports; a link can provide \
               only interfaces with functions over plain values",
    },
    Kind {
        words: &["is in a registry", "image to be pulled", "pull oci"],
        code: Code::StartFailed,
        hint: "give the path of a file instead, such as `./build/app.wasm`",
    },
    Kind {
        words: &["file loading is disabled"],
        code: Code::StartFailed,
        hint: "start the host with `--allow-file-load`, as `wash up` does",
    },
    Kind {
        words: &[
            "not webassembly",
            "could not compile",
            "could not link",
            "neither a provider archive nor a program",
            "is not a file",
            "could not use the archive",
        ],
        code: Code::StartFailed,
        hint: "`wash inspect FILE` shows what the file is; if it was copied or is old, build it \
               again with `wash build`",
    },
    Kind {
        words: &["config", "secret"],
        code: Code::StartFailed,
        hint: "`wash config get NAME` shows a config, `wash config put NAME key=value` stores one",
    },
    Kind {
        words: &["claims", "expired", "signature"],
        code: Code::StartFailed,
        hint: "`wash inspect FILE` shows the claims; sign the file again",
    },
];

/// What to say when the text is of no known kind.
const OTHERWISE: &str =
    "the log of the host tells more; `wash status` names the logs of the hosts on this machine";

/// How a start that failed with this text ends.
pub(crate) fn code(error: &str) -> Code {
    kind(error).map_or(Code::StartFailed, |kind| kind.code)
}

/// What to do about a start that failed with this text.
pub(crate) fn hint(error: &str) -> &'static str {
    kind(error).map_or(OTHERWISE, |kind| kind.hint)
}

fn kind(error: &str) -> Option<&'static Kind> {
    let error = without_quotes(&error.to_lowercase());
    KINDS
        .iter()
        .find(|kind| kind.words.iter().any(|word| error.contains(word)))
}

/// Names and paths stand in backticks, and must not be taken for the host's own words.
fn without_quotes(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_bad_image_has_its_own_hint() {
        for (error, part) in [
            (
                "could not read `/x`: No such file or directory (os error 2)",
                "check the path",
            ),
            (
                "the file is not WebAssembly: it starts with `hello`",
                "wash inspect",
            ),
            (
                "the core module cannot be made into a component: no world",
                "wasm32-wasip2",
            ),
            (
                "could not compile the component: unexpected end",
                "build it again",
            ),
            (
                "`/x` has 99 bytes, more than the limit of 9",
                "raise the limit",
            ),
            (
                "the component imports what no link can provide: a:b/c",
                "imports",
            ),
            (
                "`r/x:1` is in a registry, and this version reads images from files only",
                "path of a file",
            ),
            ("something else", "log of the host"),
        ] {
            assert!(hint(error).contains(part), "{error}: {}", hint(error));
        }
    }

    #[test]
    fn names_are_not_taken_for_reasons() {
        let error = "could not fetch image `file:///config/no such file`: is not a file";
        assert_eq!(code(error), Code::StartFailed);
        assert!(hint(error).contains("wash inspect"));
    }

    #[test]
    fn only_a_missing_file_is_something_not_found() {
        assert_eq!(
            code("could not read `/x`: No such file or directory"),
            Code::FileNotFound
        );
        assert_eq!(code("not webassembly"), Code::StartFailed);
    }
}
