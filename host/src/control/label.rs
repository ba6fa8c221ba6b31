//! Requests about labels.

use lattice_control::types::{HostLabel, HostLabelIdentifier};
use lattice_control::{ControlError, Done, Outcome};
use lattice_core::event::{Event, LabelsChanged};
use lattice_core::{ErrorCode, StringMap};

use super::HostApi;
use crate::labels::LabelError;

impl HostApi {
    pub(super) fn set_label(&self, label: &HostLabel) -> Done {
        let tell = |labels| self.tell_labels(labels);
        let put = self.labels.put(&label.key, &label.value, tell);
        put.map_err(refused)?;
        Ok(Outcome::message("successfully put label"))
    }

    pub(super) fn remove_label(&self, label: &HostLabelIdentifier) -> Done {
        let tell = |labels| self.tell_labels(labels);
        let deleted = self.labels.delete(&label.key, tell);
        Ok(Outcome::message(match deleted.map_err(refused)? {
            true => "successfully deleted label",
            false => "successfully deleted label (no such label)",
        }))
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
