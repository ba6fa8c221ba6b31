//! The one whom a suite tells what it does when others call it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use lattice_codec::{Reader, write};
use lattice_integration::{Lattice, params, subject};
use lattice_rpc::{IncomingCall, Limiter, Peer, Relief, ServeHandle, ServeOptions};

const ID: &str = "witness";
const SAW: &str = "lattice:conformance/witness@0.1.0.saw";
const TOLD: &str = "lattice:conformance/witness@0.1.0.told";
/// A `result` that is fine.
const FINE: &[u8] = &[0];

/// What was seen, in its order.
pub type Seen = Arc<Mutex<Vec<String>>>;

/// Listens for what a component tells. It ends when this is dropped.
#[derive(Debug)]
pub struct Witness {
    seen: Seen,
    _serving: [ServeHandle; 2],
}

impl Witness {
    /// Listens, and links `component` to itself.
    ///
    /// # Errors
    ///
    /// Fails when NATS or the lattice refuses.
    pub async fn of(lattice: &Lattice, peer: &Peer, component: &str) -> Result<Self> {
        let seen = Seen::default();
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(1000, 1000, Duration::from_secs(1))),
            default_deadline: Duration::from_secs(5),
            longest_deadline: Duration::from_secs(60),
            relief: Relief::default(),
            takes: None,
        };
        let queue = format!("default.{ID}");
        let kept = Arc::clone(&seen);
        let saw = move |call| hear(Arc::clone(&kept), call);
        let own = subject(ID, SAW);
        let saw = peer.serve(&own, &queue, options.clone(), saw).await?;
        let kept = Arc::clone(&seen);
        let told = move |call| tell(Arc::clone(&kept), call);
        let own = subject(ID, TOLD);
        let told = peer.serve(&own, &queue, options, told).await?;
        let serving = [saw, told];
        peer.confirm(Duration::from_secs(5)).await?;
        lattice
            .link(component, ID, "lattice:conformance/witness", &[], &[])
            .await?;
        Ok(Self {
            seen,
            _serving: serving,
        })
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        lock(&self.seen).clone()
    }
}

fn lock(seen: &Seen) -> std::sync::MutexGuard<'_, Vec<String>> {
    // A list that somebody pushed to is whole, whatever happened to them.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn hear(seen: Seen, call: IncomingCall) {
    let IncomingCall {
        mut params,
        responder,
        ..
    } = call;
    let Ok(what) = params.decode(Reader::string).await else {
        return;
    };
    lock(&seen).push(what);
    // A caller that is gone by now does not know that it was heard, and tells again.
    let _ = responder.reply(Bytes::from_static(FINE)).await;
}

/// Answers with everything that was told so far.
async fn tell(seen: Seen, call: IncomingCall) {
    let all = lock(&seen).clone();
    let answer = params(|out| {
        write::uleb(out, all.len() as u64);
        for what in &all {
            write::string(out, what);
        }
    });
    // A caller that is gone by now asks again.
    let _ = call.responder.reply(answer).await;
}
