//! The code over a call.

use async_nats::{HeaderMap, HeaderValue};
use hmac::{Hmac, Mac as _};
use lattice_core::identity::CallProof;
use lattice_core::subject::reserved::at_home;
use sha2::Sha256;

use crate::header;

/// What keeps the codes apart from any others that a key might make.
const DOMAIN: &[u8] = b"lattice call v1";

/// The package of the link, where a caller tells it.
const LINK_PACKAGE: &str = "link-package";

/// What of a call's subjects and headers a proof covers.
#[derive(Debug)]
pub(super) struct Covered<'a> {
    subject: &'a str,
    /// As the caller knows it.
    reply: &'a str,
    inbox: &'a str,
    pub(super) source: Option<&'a str>,
    link: Option<&'a str>,
    package: Option<&'a str>,
    target: Option<&'a str>,
    terms: Option<&'a str>,
    /// The proof itself.
    pub(super) proof: Option<&'a str>,
}

impl<'a> Covered<'a> {
    /// Reads the headers in one pass; of several with one name the first counts, as for whoever
    /// serves the call.
    pub(super) fn read(headers: Option<&'a HeaderMap>, subject: &'a str, reply: &'a str) -> Self {
        let mut covered = Self {
            subject,
            reply: at_home(reply),
            inbox: reply.rsplit_once('.').map_or("", |(inbox, _)| inbox),
            source: None,
            link: None,
            package: None,
            target: None,
            terms: None,
            proof: None,
        };
        for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
            let value = values.first().map(HeaderValue::as_str);
            match AsRef::<str>::as_ref(name) {
                header::SOURCE_ID => covered.source = value,
                header::LINK_NAME => covered.link = value,
                LINK_PACKAGE => covered.package = value,
                header::TARGET_ID => covered.target = value,
                header::CALL => covered.read_terms(value),
                _ => {}
            }
        }
        covered
    }
}

impl<'a> Covered<'a> {
    fn read_terms(&mut self, value: Option<&'a str>) {
        let (terms, proof) = value.map_or((None, None), |value| {
            let (terms, proof) = header::split_proof(value);
            (Some(without_left(terms)), proof)
        });
        (self.terms, self.proof) = (terms, proof);
    }

    pub(super) fn subject(&self) -> &'a str {
        self.subject
    }

    /// The inbox that the answer goes to.
    pub(super) fn inbox(&self) -> &'a str {
        self.inbox
    }
}

/// How much time is left: an outbox tells it anew when a call has waited. How much time a call has is
/// covered by the proof itself.
fn without_left(terms: &str) -> &str {
    if !terms.starts_with(header::LEFT) {
        return terms;
    }
    terms.split_once(';').map_or("", |(_, rest)| rest)
}

/// The key of a session, ready to make codes.
#[derive(Clone)]
pub(super) struct MacKey(Hmac<Sha256>);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(<hidden>)")
    }
}

impl MacKey {
    pub(super) fn new(secret: &[u8; 32]) -> Option<Self> {
        Hmac::new_from_slice(secret).ok().map(Self)
    }

    /// The code of a call; the one that `proof` holds does not matter.
    pub(super) fn code(
        &self,
        covered: &Covered<'_>,
        proof: &CallProof,
        payload: &[u8],
    ) -> [u8; 16] {
        let full = self.over(covered, proof, payload).finalize().into_bytes();
        let mut code = [0; 16];
        code.copy_from_slice(&full[..16]);
        code
    }

    /// Whether the code that `proof` holds is that of the call.
    pub(super) fn holds(&self, covered: &Covered<'_>, proof: &CallProof, payload: &[u8]) -> bool {
        let code = self.over(covered, proof, payload);
        code.verify_truncated_left(&proof.mac).is_ok()
    }

    /// All texts come with their lengths, so that none can be moved into the next.
    fn over(&self, covered: &Covered<'_>, proof: &CallProof, payload: &[u8]) -> Hmac<Sha256> {
        let texts = [
            Some(covered.subject),
            Some(covered.reply),
            covered.source,
            covered.link,
            covered.package,
            covered.target,
            covered.terms,
        ];
        // In one piece, since each update costs more than copying what it is about.
        let mut head = [0_u8; 512];
        let mut head = Head::new(&mut head, self.0.clone());
        head.put(DOMAIN);
        head.put(&proof.session.0);
        for number in [proof.number, proof.sent_ms, proof.left_ms] {
            head.put(&number.to_be_bytes());
        }
        for text in texts {
            // A text that is not there differs from one that is empty.
            let len = text.map_or(u64::MAX, |text| text.len() as u64);
            head.put(&len.to_be_bytes());
            head.put(text.unwrap_or_default().as_bytes());
        }
        let mut mac = head.end();
        mac.update(payload);
        mac
    }
}

/// Gathers small pieces before they are taken in.
struct Head<'a> {
    room: &'a mut [u8; 512],
    len: usize,
    mac: Hmac<Sha256>,
}

impl<'a> Head<'a> {
    fn new(room: &'a mut [u8; 512], mac: Hmac<Sha256>) -> Self {
        Self { room, len: 0, mac }
    }

    fn put(&mut self, piece: &[u8]) {
        match self.room.get_mut(self.len..self.len + piece.len()) {
            Some(place) => {
                place.copy_from_slice(piece);
                self.len += piece.len();
            }
            None => {
                self.mac.update(&self.room[..self.len]);
                self.len = 0;
                self.mac.update(piece);
            }
        }
    }

    fn end(mut self) -> Hmac<Sha256> {
        self.mac.update(&self.room[..self.len]);
        self.mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_core::identity::SessionName;
    use proptest::prelude::*;

    fn headers(source: &str, link: &str, terms: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        header::put(&mut headers, header::SOURCE_ID, source);
        header::put(&mut headers, header::LINK_NAME, link);
        header::put(&mut headers, header::CALL, terms);
        headers
    }

    fn proof(number: u64) -> CallProof {
        CallProof {
            session: SessionName([7; 16]),
            number,
            sent_ms: 10,
            left_ms: 5000,
            mac: [0; 16],
        }
    }

    type Call<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, u64, &'a [u8]);

    fn code((subject, reply, source, link, terms, number, payload): Call<'_>) -> [u8; 16] {
        let headers = headers(source, link, terms);
        let covered = Covered::read(Some(&headers), subject, reply);
        let key = MacKey::new(&[3; 32]).unwrap();
        key.code(&covered, &proof(number), payload)
    }

    const CALL: Call<'static> = (
        "l.t.f",
        "_INBOX.a.1",
        "me",
        "link",
        "left=1;turn=2",
        4,
        b"xyz",
    );

    #[test]
    fn whatever_is_changed_changes_the_code() {
        let (subject, reply, source, link, terms, number, payload) = CALL;
        let right = code(CALL);
        let changed = [
            code(("l.t.g", reply, source, link, terms, number, payload)),
            code((subject, "_INBOX.a.2", source, link, terms, number, payload)),
            code((subject, reply, "he", link, terms, number, payload)),
            code((subject, reply, source, "knil", terms, number, payload)),
            code((
                subject,
                reply,
                source,
                link,
                "left=1;turn=3",
                number,
                payload,
            )),
            code((subject, reply, source, link, terms, 5, payload)),
            code((subject, reply, source, link, terms, number, b"xyZ")),
            code((subject, reply, "melink", "", terms, number, payload)),
        ];
        for (at, other) in changed.iter().enumerate() {
            assert_ne!(*other, right, "change {at}");
        }
        let late = code((
            subject,
            reply,
            source,
            link,
            "left=999;turn=2",
            number,
            payload,
        ));
        assert_eq!(late, right, "what is left is told anew on the way");
    }

    #[test]
    fn a_header_that_is_missing_is_not_an_empty_one() {
        let key = MacKey::new(&[3; 32]).unwrap();
        let mut with = HeaderMap::new();
        header::put(&mut with, header::SOURCE_ID, "");
        let covered = Covered::read(Some(&with), "s", "r");
        let other = Covered::read(None, "s", "r");
        let (one, two) = (
            key.code(&covered, &proof(1), b""),
            key.code(&other, &proof(1), b""),
        );
        assert_ne!(one, two);
    }

    #[test]
    fn the_way_back_between_clusters_does_not_count() {
        let (subject, _, source, link, terms, number, payload) = CALL;
        let mapped = "_GR_.AAAA.BBBB._INBOX.a.1";
        let far = code((subject, mapped, source, link, terms, number, payload));
        assert_eq!(far, code(CALL));
        assert_eq!(
            Covered::read(None, "s", mapped).inbox(),
            "_GR_.AAAA.BBBB._INBOX.a"
        );
    }

    proptest! {
        #[test]
        fn the_code_holds_for_its_call_alone(
            secret: [u8; 32], other: [u8; 32],
            source in "[ -~]{0,600}",
            payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u32,
        ) {
            let headers = headers(&source, "l", "turn=1");
            let covered = Covered::read(Some(&headers), "l.t.wrpc.f", "_INBOX.x.1");
            let key = MacKey::new(&secret).unwrap();
            let mut proof = proof(9);
            proof.mac = key.code(&covered, &proof, &payload);
            prop_assert!(key.holds(&covered, &proof, &payload));
            prop_assert!(!MacKey::new(&other).unwrap().holds(&covered, &proof, &payload) || secret == other);
            if !payload.is_empty() {
                let mut flipped = payload.clone();
                flipped[at.index(payload.len())] ^= 1 << bit;
                prop_assert!(!key.holds(&covered, &proof, &flipped));
            }
            proof.mac[at.index(16)] ^= 1 << bit;
            prop_assert!(!key.holds(&covered, &proof, &payload));
        }
    }
}
