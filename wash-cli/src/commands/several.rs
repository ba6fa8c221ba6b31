//! What one command did on several hosts.

use lattice_core::HostId;
use serde_json::{Value, json};

use crate::error::{CliError, Code, Result};
use crate::output::fields;

/// What the hosts gave, if all did what they were asked for. Else one error for all of them: `what` was
/// not done on some, which it names with the reasons, and what was done elsewhere stands in the document.
pub(crate) fn all_done<T>(
    what: &str,
    outcomes: Vec<(HostId, Result<T>)>,
) -> Result<Vec<(HostId, T)>> {
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (host, outcome) in outcomes {
        match outcome {
            Ok(given) => done.push((host, given)),
            Err(error) => failures.push((host, error)),
        }
    }
    match failures.len() {
        0 => Ok(done),
        1 if done.is_empty() => Err(failures.remove(0).1),
        _ => Err(partly(what, &done, &failures)),
    }
}

/// That something was done in part only, or not at all, with the reasons and the first hint of the failures.
pub(crate) fn in_part<K>(
    text: String,
    is_nothing_done: bool,
    failures: &[(K, CliError)],
) -> CliError {
    let code = match failures.first() {
        // What was done nowhere is no part of a success.
        Some((_, first)) if is_nothing_done => first.code(),
        _ => Code::Partial,
    };
    let causes = failures.iter().map(|(_, failure)| failure.to_string());
    let error = causes.fold(CliError::new(code, text), CliError::cause);
    match failures.iter().find_map(|(_, failure)| failure.hint_text()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn partly<T>(what: &str, done: &[(HostId, T)], failures: &[(HostId, CliError)]) -> CliError {
    let all = done.len() + failures.len();
    let text = format!("{what} on {} of {all} hosts", failures.len());
    let error = in_part(text, done.is_empty(), failures);
    let hosts: Vec<&str> = done.iter().map(|(host, _)| host.as_str()).collect();
    let failed: Vec<Value> = failures
        .iter()
        .map(|(host, failure)| json!({ "host_id": host.as_str(), "reason": failure.to_string() }))
        .collect();
    error.data(fields([("hosts", json!(hosts)), ("failed", failed.into())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(letter: char) -> HostId {
        let id: String = std::iter::once('N')
            .chain(std::iter::repeat_n(letter, 55))
            .collect();
        HostId::new(id).unwrap()
    }

    fn late() -> Result<()> {
        Err(CliError::new(Code::Timeout, "too late").hint("wait"))
    }

    #[test]
    fn a_failure_on_some_hosts_says_what_was_done_on_the_others() {
        let outcomes = |outcomes: Vec<Result<()>>| {
            let hosts = ['A', 'B', 'C'].map(host);
            all_done("it was not done", hosts.into_iter().zip(outcomes).collect())
        };
        assert_eq!(outcomes(vec![Ok(()), Ok(())]).unwrap().len(), 2);
        let alone = outcomes(vec![late()]).unwrap_err();
        assert_eq!((alone.code(), alone.message()), (Code::Timeout, "too late"));
        let none = outcomes(vec![late(), late()]).unwrap_err();
        assert_eq!(none.code(), Code::Timeout);
        let some = outcomes(vec![Ok(()), late(), Ok(())]).unwrap_err();
        assert_eq!(some.code(), Code::Partial);
        assert_eq!(some.message(), "it was not done on 1 of 3 hosts");
        assert_eq!(some.hint_text(), Some("wait"));
        let done = json!([host('A').as_str(), host('C').as_str()]);
        assert_eq!(some.extra()["hosts"], done);
        assert_eq!(some.extra()["failed"][0]["host_id"], host('B').as_str());
    }
}
