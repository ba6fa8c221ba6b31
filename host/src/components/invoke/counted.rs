//! What calls count against the rate of their link.

use bytes::Bytes;
use lattice_rpc::CallError;

use crate::trust::rules::LinkGuard;

/// A call that passed the gate of its link, which has counted it. Without a gate nothing is counted.
pub(super) struct Counted<'a>(Option<Passed<'a>>);

struct Passed<'a> {
    gate: &'a LinkGuard,
    instance: &'a str,
    function: &'a str,
    params: Bytes,
}

impl<'a> Counted<'a> {
    pub(super) fn of(
        gate: Option<&'a LinkGuard>,
        (instance, function): (&'a str, &'a str),
        params: &Bytes,
    ) -> Self {
        Self(gate.map(|gate| Passed {
            gate,
            instance,
            function,
            params: params.clone(),
        }))
    }

    /// How the call ended. It does not count where nobody serves the function: such calls are made once
    /// more in an older form, which counts.
    pub(super) fn settle<T>(self, called: Result<T, CallError>) -> Result<T, CallError> {
        if let (Err(error), Some(passed)) = (&called, &self.0)
            && error.is_nowhere()
        {
            let Passed {
                gate,
                instance,
                function,
                params,
            } = passed;
            gate.uncount(instance, function, params);
        }
        called
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_nobody_serves_in_one_form_does_not_count_and_others_do() {
        let link = json!({
            "source_id": "a", "target": "b", "wit_namespace": "my", "wit_package": "own",
            "interfaces": ["thing"], "rules": {"rate": "1/h"},
        });
        let gate = LinkGuard::of(&serde_json::from_value(link).unwrap(), None).unwrap();
        let params = Bytes::new();
        let call = |outcome: Result<(), CallError>| {
            gate.check("my:own/thing", "look", &params)?;
            let counted = Counted::of(Some(&*gate), ("my:own/thing", "look"), &params);
            let _ended = counted.settle(outcome);
            Ok::<_, lattice_runtime::InvokeError>(())
        };
        for _ in 0..2 {
            let subject = "default.b.wrpc.0.0.1.look".to_owned();
            call(Err(CallError::NotServed { subject })).unwrap();
        }
        call(Ok(())).unwrap();
        assert!(call(Ok(())).is_err());
    }
}
