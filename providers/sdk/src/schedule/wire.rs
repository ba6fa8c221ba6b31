//! What the functions pass, as it stands on the wire.

use super::{Job, ScheduleError, Trigger};
use crate::wire::{record, variant};

record!(Job {
    name,
    trigger,
    time_zone,
    payload
});

variant!(Trigger {
    0 Cron(text),
    1 EveryMs(ms),
    2 AtMs(ms),
});

variant!(ScheduleError {
    0 InvalidTrigger(why),
    1 InvalidJob(why),
    2 NoSuchJob,
    3 LimitReached(why),
    4 AccessDenied,
    5 Unavailable(why),
    6 Other(why),
});
