//! What was answered, so that a change of the rules can be told to who asked.

use std::collections::{HashMap, VecDeque};

use lattice_core::policy::{PolicyRequest, PolicyResponse};

use super::rules::Rules;

/// How many answers are remembered; the oldest are forgotten first.
const MAX_ANSWERS: usize = 20_000;

/// The requests that were answered lately.
#[derive(Debug, Default)]
pub(super) struct Memory {
    order: VecDeque<String>,
    answers: HashMap<String, (PolicyRequest, PolicyResponse)>,
}

impl Memory {
    pub(super) fn keep(&mut self, request: PolicyRequest, response: PolicyResponse) {
        let id = request.request_id.clone();
        if self
            .answers
            .insert(id.clone(), (request, response))
            .is_none()
        {
            self.order.push_back(id);
        }
        while self.order.len() > MAX_ANSWERS {
            if let Some(oldest) = self.order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
    }

    /// What would be answered otherwise now, which is remembered from here on.
    pub(super) fn changes(&mut self, rules: &Rules) -> Vec<(PolicyRequest, PolicyResponse)> {
        let mut changes = Vec::new();
        for (request, response) in self.answers.values_mut() {
            let now = rules.decide(request).response(request);
            if now.permitted != response.permitted {
                *response = now.clone();
                changes.push((request.clone(), now));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use lattice_core::policy::{PolicyComponent, PolicyHost, PolicyKind, PolicySubject};

    use super::*;

    fn request(id: &str) -> PolicyRequest {
        PolicyRequest {
            request_id: id.to_owned(),
            kind: PolicyKind::StartComponent,
            version: "v1".to_owned(),
            host: PolicyHost::default(),
            request: PolicySubject::Component(PolicyComponent::default()),
        }
    }

    fn rules(default: &str) -> Rules {
        toml::from_str(&format!("default = \"{default}\"")).unwrap()
    }

    #[test]
    fn only_what_changes_is_told_and_once() {
        let mut memory = Memory::default();
        let allow = rules("allow");
        let asked = request("1");
        let said = allow.decide(&asked).response(&asked);
        memory.keep(asked, said);
        assert!(memory.changes(&allow).is_empty());
        let changes = memory.changes(&rules("deny"));
        assert_eq!(changes.len(), 1);
        assert!(!changes[0].1.permitted);
        assert!(memory.changes(&rules("deny")).is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut memory = Memory::default();
        for n in 0..=MAX_ANSWERS {
            memory.keep(request(&n.to_string()), PolicyResponse::default());
        }
        assert_eq!(memory.answers.len(), MAX_ANSWERS);
        assert!(!memory.answers.contains_key("0"));
    }
}
