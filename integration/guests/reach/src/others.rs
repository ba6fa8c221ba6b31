//! Messages, queues, databases, locks and timers.

use crate::bindings::lattice::lock::lock;
use crate::bindings::lattice::queue::types::Message;
use crate::bindings::lattice::queue::{consumer as receiver, producer};
use crate::bindings::lattice::schedule::scheduler;
use crate::bindings::lattice::schedule::types::{Job, Trigger};
use crate::bindings::lattice::sql::sql;
use crate::bindings::wasmcloud::messaging::consumer;
use crate::bindings::wasmcloud::messaging::types::BrokerMessage;
use crate::{Done, done, told};

pub(crate) fn run(what: &str, names: &[&str]) -> Option<Done> {
    Some(match (what, names) {
        ("publish", [subject, reply @ ..]) => {
            let message = BrokerMessage {
                subject: (*subject).to_owned(),
                body: b"value".to_vec(),
                reply_to: reply.first().map(|reply| (*reply).to_owned()),
            };
            consumer::publish(&message).map(done)
        }
        ("request", [subject]) => consumer::request(subject, b"value", 1000).map(told),
        ("send", [queue]) => producer::send(queue, &message(), None).map_err(told),
        ("receive", [queue]) => receiver::receive(queue, 1, 0, None)
            .map(|found| found.len().to_string())
            .map_err(told),
        ("depth", [queue]) => receiver::depth_of(queue).map(told).map_err(told),
        ("query", [database, statement]) => sql::query(database, None, statement, &[], 10)
            .map(|rows| rows.rows.len().to_string())
            .map_err(told),
        ("execute", [database, statement]) => sql::execute(database, None, statement, &[])
            .map(|done| done.affected.to_string())
            .map_err(told),
        ("acquire", [store, name]) => lock::acquire(store, name, 1000, 0)
            .map(|lease| lease.name)
            .map_err(told),
        ("inspect", [store, name]) => lock::inspect(store, name)
            .map(|holder| holder.is_some().to_string())
            .map_err(told),
        ("put-job", [name]) => {
            let job = Job {
                name: (*name).to_owned(),
                trigger: Trigger::EveryMs(3_600_000),
                time_zone: None,
                payload: Vec::new(),
            };
            scheduler::put_job(&job).map(done).map_err(told)
        }
        ("delete-job", [name]) => scheduler::delete_job(name).map(done).map_err(told),
        ("list-jobs", []) => scheduler::list_jobs()
            .map(|jobs| {
                let mut names: Vec<_> = jobs.into_iter().map(|job| job.name).collect();
                names.sort();
                names.join(",")
            })
            .map_err(told),
        _ => return None,
    })
}

fn message() -> Message {
    Message {
        body: b"value".to_vec(),
        content_type: None,
        attributes: Vec::new(),
        dedup_id: None,
        group: None,
    }
}
