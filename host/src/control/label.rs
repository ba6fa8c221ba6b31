//! Requests about labels.

use lattice_control::types::{HostLabel, HostLabelIdentifier};
use lattice_control::{ControlError, Done, Outcome};
use lattice_core::event::{Event, LabelsChanged};
use lattice_core::{ErrorCode, StringMap};

use super::HostApi;
use crate::labels::LabelError;

impl HostApi {
    pub(super) fn set_label(&self, label: &HostLabel) -> Done {
        let told = self.labels.put(&label.key, &label.value);
        if let Some(labels) = told.map_err(refused)? {
            self.tell_labels(labels);
        }
        Ok(Outcome::message("successfully put label"))
    }

    pub(super) fn remove_label(&self, label: &HostLabelIdentifier) -> Done {
        let Some(labels) = self.labels.delete(&label.key).map_err(refused)? else {
            return Ok(Outcome::message(
                "successfully deleted label (no such label)",
            ));
        };
        self.tell_labels(labels);
        Ok(Outcome::message("successfully deleted label"))
    }

    fn tell_labels(&self, labels: StringMap) {
        let host_id = self.identity.id.as_str().to_owned();
        self.events
            .publish(Event::LabelsChanged(LabelsChanged { host_id, labels }));
    }
}

fn refused(error: LabelError) -> ControlError {
    let (code, hint) = match &error {
        LabelError::Set | LabelError::Delete => (
            ErrorCode::Forbidden,
            "labels that start with `hostcore.` describe the machine",
        ),
        LabelError::Key(invalid) => (ErrorCode::BadRequest, invalid.hint()),
        LabelError::TooMuch { .. } => (
            ErrorCode::BadRequest,
            "a label is a short fact; keep what is longer in a config",
        ),
    };
    ControlError::from_error(code, &error).with_hint(hint)
}
