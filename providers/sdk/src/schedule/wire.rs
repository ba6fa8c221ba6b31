//! What the functions pass, as it stands on the wire.

use lattice_core::values::schedule as plain;

use super::{Job, ScheduleError, Trigger};
use crate::wire::{record, variant};

record!(Job as plain::Job {
    name,
    trigger,
    time_zone,
    payload
});

variant!(Trigger as plain::Trigger {
    0 Cron(text),
    1 EveryMs(ms),
    2 AtMs(ms),
});

variant!(ScheduleError as plain::Error {
    0 InvalidTrigger(why),
    1 InvalidJob(why),
    2 NoSuchJob,
    3 LimitReached(why),
    4 AccessDenied,
    5 Unavailable(why),
    6 Other(why),
});

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::tests::same;

    #[test]
    fn what_is_handed_over_is_the_same_as_on_the_wire() {
        let text = || "t".to_owned();
        for trigger in [
            plain::Trigger::Cron(text()),
            plain::Trigger::EveryMs(1),
            plain::Trigger::AtMs(2),
        ] {
            same::<Job>(plain::Job {
                name: "n".to_owned(),
                trigger,
                time_zone: Some("z".to_owned()),
                payload: Bytes::from_static(&[0, 255]),
            });
        }
        let errors = [
            plain::Error::InvalidTrigger(text()),
            plain::Error::InvalidJob(text()),
            plain::Error::NoSuchJob,
            plain::Error::LimitReached(text()),
            plain::Error::AccessDenied,
            plain::Error::Unavailable(text()),
            plain::Error::Other(text()),
        ];
        errors.into_iter().for_each(same::<ScheduleError>);
    }
}
