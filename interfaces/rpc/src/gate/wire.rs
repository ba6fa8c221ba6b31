//! How long what a socket brings waits until a task looks at it.
//!
//! A runtime looks at its sockets now and then only, when it has much to do, and takes up what it
//! finds after what it has; a task that gives way does not meet that wait. So it is measured with a
//! socket: what goes in at one end here comes out at the other in a task of the runtime.

use std::io;
use std::os::unix::net::UnixDatagram as Sender;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UnixDatagram as Receiver;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Inner;
use super::probe::Threads;
use super::shed::{Control, Target, Usage};

/// The time from the end of one look to the next.
const PAUSE: Duration = Duration::from_millis(10);

/// How long is waited for what was sent; it counts as so long then.
const LONGEST: Duration = Duration::from_millis(250);

/// One socket, from here to a task of a runtime.
struct Wire {
    sender: Sender,
    sent: u64,
    /// How many came out, and when the last one did.
    arrived: watch::Receiver<(u64, Instant)>,
    _task: AbortOnDropHandle<()>,
}

impl Wire {
    fn to(runtime: &Handle) -> io::Result<Self> {
        let (sender, receiver) = Sender::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let receiver = Receiver::from_std(receiver)?;
        let (tell, arrived) = watch::channel((0, Instant::now()));
        let task = runtime.spawn(async move {
            let mut byte = [0];
            while receiver.recv(&mut byte).await.is_ok() {
                tell.send_modify(|(count, at)| (*count, *at) = (*count + 1, Instant::now()));
            }
        });
        Ok(Self {
            sender,
            sent: 0,
            arrived,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// How long something waits that comes now.
    async fn wait(&mut self) -> Duration {
        let began = Instant::now();
        if self.sender.send(&[0]).is_err() {
            return LONGEST;
        }
        self.sent += 1;
        let sent = self.sent;
        let arrived = self.arrived.wait_for(|(count, _)| *count >= sent);
        match timeout(LONGEST, arrived).await {
            Ok(Ok(arrived)) => arrived.1.saturating_duration_since(began),
            _ => LONGEST,
        }
    }
}

impl Inner {
    /// Refuses as much of what does not wait at the gate as has to be refused; never ends.
    pub(super) async fn keep_waits_short(&self, threads: &[Threads]) {
        let each = threads.iter().enumerate();
        let each = each.map(|(kind, threads)| self.keep_wait_short(kind, threads));
        futures::future::join_all(each).await;
    }

    async fn keep_wait_short(&self, kind: usize, threads: &Threads) {
        let mut wire = match Wire::to(&threads.handle) {
            Ok(wire) => wire,
            Err(error) => {
                tracing::warn!(%error, "cannot measure waits: calls within the process are all taken");
                return std::future::pending().await;
            }
        };
        let (mut target, mut control) = (Target::default(), Control::default());
        let mut before = Instant::now();
        loop {
            sleep(PAUSE).await;
            let wait = wire.wait().await;
            let now = Instant::now();
            let table = self.table.lock();
            let usage = Usage::take(table.members(), kind);
            let target = target.next(&usage);
            let share = control.next(wait, target, now - before);
            tracing::trace!(kind, ?wait, ?target, share, "looked at the threads");
            for (place, member) in table.members().enumerate() {
                let own = if usage.is_large(place) { share } else { 0.0 };
                member.used.refuse(own, kind);
            }
            self.sheds[kind].store(share > 0.0, Ordering::Relaxed);
            before = now;
        }
    }

    /// Refuses nothing more.
    pub(super) fn shed_nothing(&self) {
        for kind in 0..2 {
            self.sheds[kind].store(false, Ordering::Relaxed);
            let table = self.table.lock();
            table
                .members()
                .for_each(|member| member.used.refuse(0.0, kind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_socket_brings_waits_for_the_tasks_before_it() {
        let mut wire = Wire::to(&Handle::current()).unwrap();
        let idle = wire.wait().await;
        let (begin, begun) = tokio::sync::oneshot::channel::<()>();
        let busy = tokio::spawn(async {
            begun.await.unwrap();
            let until = Instant::now() + Duration::from_millis(50);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        });
        begin.send(()).unwrap();
        let wait = wire.wait().await;
        busy.await.unwrap();
        assert!(
            wait >= Duration::from_millis(40) && wait > idle,
            "{idle:?} {wait:?}"
        );
    }
}
