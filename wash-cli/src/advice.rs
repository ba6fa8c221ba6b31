//! How a command ends, and what to do, when a host could not start something.
//!
//! Our hosts say of what kind the failure is and what to do about it. Hosts of 1.9 send nothing
//! but a text, and that text is all there is to go by.

use lattice_core::ErrorCode;

use crate::error::Code;

/// A kind of failure: words of the host's text, how the command ends, and what to do.
struct Kind {
    words: &'static [&'static str],
    code: Code,
    hint: &'static str,
}

/// The words are those of 1.9 hosts, or of wasmtime and the operating system as they pass them on.
/// What only our hosts say is not here: they send the code and the hint with it.
///
/// The first kind that fits counts: a file that is missing is also one that could not be read.
const KINDS: [Kind; 10] = [
    Kind {
        words: &["no such file", "(os error 2)"],
        code: Code::FileNotFound,
        hint: "the host looks for the file on its own machine: check the path, and run \
               `wash build` first if the component has not been built",
    },
    Kind {
        words: &["permission denied"],
        code: Code::StartFailed,
        hint: "let the user of the host read the file, and `chmod +x` it if it is a provider",
    },
    Kind {
        words: &["exceeds the configured maximum"],
        code: Code::StartFailed,
        hint: "build the component with `--release`, or raise the limits of the host",
    },
    Kind {
        words: &["core component module", "component from module"],
        code: Code::StartFailed,
        hint: "build a component instead of a core module: `wash build`, or \
               `cargo build --target wasm32-wasip2`",
    },
    Kind {
        words: &["matching implementation was not found", "link item"],
        code: Code::StartFailed,
        hint: "`wash inspect FILE --wit` shows what the component imports; a link can provide \
               only interfaces with functions over plain values",
    },
    Kind {
        words: &["oci reference"],
        code: Code::StartFailed,
        hint: "check the reference, and that the host reaches the registry and may read from it; \
               the path of a file on the machine of the host will do as well",
    },
    Kind {
        words: &["file loading is disabled"],
        code: Code::StartFailed,
        hint: "start the host with `--allow-file-load`, as `wash up` does",
    },
    Kind {
        words: &["failed to compile", "failed to read provider"],
        code: Code::StartFailed,
        hint: "`wash inspect FILE` shows what the file is; if it was copied or is old, build it \
               again with `wash build`",
    },
    // `Config NAME does not exist`, without quotes.
    Kind {
        words: &["does not exist"],
        code: Code::ConfigNotFound,
        hint: "`wash config get NAME` shows a config, `wash config put NAME key=value` stores one",
    },
    Kind {
        words: &["claims", "expired", "signature", "embedded jwt"],
        code: Code::StartFailed,
        hint: "`wash inspect FILE` shows the claims; sign the file again",
    },
];

/// What to say when the host says nothing and the text is of no known kind.
const OTHERWISE: &str =
    "the log of the host tells more; `wash status` names the logs of the hosts on this machine";

/// How the command ends, and what to do, after a start that failed with this text. What the host
/// says itself goes before what can be guessed.
pub(crate) fn about(error: &str, code: Option<ErrorCode>, hint: Option<&str>) -> (Code, String) {
    let (code, guess) = match (code, kind(error)) {
        (Some(code), _) => (ending(code), OTHERWISE),
        (None, Some(kind)) => (kind.code, kind.hint),
        (None, None) => (Code::StartFailed, OTHERWISE),
    };
    (code, hint.unwrap_or(guess).to_owned())
}

/// How a start ends that failed with a code. What is not found is the image.
fn ending(code: ErrorCode) -> Code {
    match code {
        ErrorCode::NotFound => Code::FileNotFound,
        ErrorCode::MissingConfig => Code::ConfigNotFound,
        ErrorCode::InvalidId | ErrorCode::InvalidReference => Code::Usage,
        ErrorCode::Timeout => Code::Timeout,
        _ => Code::StartFailed,
    }
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
    fn hosts_that_say_nothing_but_a_text_are_understood() {
        for (error, code, part) in [
            (
                "failed to fetch component: failed to read component: No such file or directory \
                 (os error 2)",
                Code::FileNotFound,
                "check the path",
            ),
            (
                "failed to read provider: Permission denied (os error 13)",
                Code::StartFailed,
                "chmod",
            ),
            (
                "failed to encode a component from module: no world",
                Code::StartFailed,
                "wasm32-wasip2",
            ),
            (
                "failed to compile component: unexpected end",
                Code::StartFailed,
                "build it again",
            ),
            (
                "requires 99 bytes which exceeds the configured maximum of 9 bytes",
                Code::StartFailed,
                "raise the limit",
            ),
            (
                "component imports instance `a:b/c`, but a matching implementation was not found \
                 in the linker",
                Code::StartFailed,
                "imports",
            ),
            (
                "failed to fetch component under OCI reference `r/x:1`",
                Code::StartFailed,
                "registry",
            ),
            (
                "unable to start component from file, file loading is disabled",
                Code::StartFailed,
                "--allow-file-load",
            ),
            (
                "Config shop does not exist",
                Code::ConfigNotFound,
                "wash config put",
            ),
            ("signature is not valid", Code::StartFailed, "sign the file"),
            ("something else", Code::StartFailed, "log of the host"),
        ] {
            let (ending, hint) = about(error, None, None);
            assert_eq!(ending, code, "{error}");
            assert!(hint.contains(part), "{error}: {hint}");
        }
    }

    #[test]
    fn names_are_not_taken_for_reasons() {
        let error = "failed to compile component `file:///no such file/does not exist`";
        let (code, hint) = about(error, None, None);
        assert_eq!(code, Code::StartFailed);
        assert!(hint.contains("wash inspect"));
    }

    #[test]
    fn what_a_host_says_goes_before_the_words_of_its_text() {
        let text = "could not start `/x`: No such file or directory (os error 2)";
        let invalid = Some(ErrorCode::ImageInvalid);
        let said = about(text, invalid, Some("build it for this machine"));
        assert_eq!(
            said,
            (Code::StartFailed, "build it for this machine".to_owned())
        );
        let (code, hint) = about(text, invalid, None);
        assert_eq!((code, hint.as_str()), (Code::StartFailed, OTHERWISE));
        // Of tomorrow's codes this version knows no more than that the start failed.
        let (code, _) = about(text, Some(ErrorCode::Unknown), None);
        assert_eq!(code, Code::StartFailed);
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        for (code, expected) in [
            (ErrorCode::NotFound, Code::FileNotFound),
            (ErrorCode::MissingConfig, Code::ConfigNotFound),
            (ErrorCode::InvalidReference, Code::Usage),
            (ErrorCode::Timeout, Code::Timeout),
            (ErrorCode::ClaimsInvalid, Code::StartFailed),
        ] {
            assert_eq!(about("?", Some(code), None).0, expected, "{code}");
        }
    }
}
