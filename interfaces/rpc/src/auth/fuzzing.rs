//! Doors for the fuzz targets to questions for keys and their answers.

use async_nats::HeaderMap;
use bytes::Bytes;
use lattice_core::identity::{CallProof, SessionName};
use tokio::time::Instant;

use super::Auth;
use super::asking::Asking;
use super::mac::{Covered, MacKey};

/// Reads what a proof covers of a call, and makes its code.
pub(crate) fn cover(headers: Option<&HeaderMap>, subject: &str, reply: &str) {
    let covered = Covered::read(headers, subject, reply);
    let proof = covered
        .proof
        .and_then(|text| text.parse::<CallProof>().ok());
    if let (Some(key), Some(proof)) = (MacKey::new(&[7; 32]), proof) {
        let _holds = key.holds(&covered, &proof, b"payload");
    }
}

/// What `auth` asks for the key of a session.
pub fn question(auth: &Auth, session: SessionName) -> Vec<u8> {
    auth.question(session, 1)
}

/// What `auth` answers to a question.
pub fn answer(auth: &Auth, question: &[u8], reply: &str) -> Option<Bytes> {
    let answer = auth.answer(question, &reply.into())?;
    Some(answer.payload)
}

/// Takes in an answer of whoever has `inbox`; whether it tells the key of the session.
pub fn learn(auth: &Auth, session: SessionName, inbox: &str, answer: &[u8]) -> bool {
    let learnt = auth.read_answer(session, answer, Instant::now());
    let is_known = learnt.is_ok();
    let asked = (session, Box::from(inbox));
    if let Asking::Begin(place, _) = auth.inner.table.ask(&asked) {
        auth.inner.table.settle(&asked, Some(learnt), place);
    }
    is_known
}
