//! What the functions of `lattice:lock/lock@0.1.0` answer.

use bytes::{BufMut, BytesMut};
use lattice_codec::{DecodeError, Reader, write};
pub(super) use lattice_core::values::lock::{Error as LockError, Holder, Lease};

use crate::codec::{Names, Plan};
use crate::wire::Wire;

/// What went wrong, in words.
pub(super) fn text(error: LockError) -> String {
    match error {
        LockError::Held(_) => "somebody else holds it".to_owned(),
        LockError::NotHeld => "it is not held".to_owned(),
        LockError::AccessDenied => "access denied".to_owned(),
        LockError::InvalidName(text)
        | LockError::InvalidTtl(text)
        | LockError::Unavailable(text)
        | LockError::Other(text) => text,
    }
}

impl Wire for Lease {
    fn plan() -> Option<Plan> {
        Some(Plan::Record(Box::new([
            ("store".to_owned(), Plan::String),
            ("name".to_owned(), Plan::String),
            ("token".to_owned(), Plan::String),
            ("fence".to_owned(), Plan::U64),
            ("ttl-ms".to_owned(), Plan::U32),
        ])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.store.encode(out);
        self.name.encode(out);
        self.token.encode(out);
        self.fence.encode(out);
        self.ttl_ms.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            store: Wire::decode(r)?,
            name: Wire::decode(r)?,
            token: Wire::decode(r)?,
            fence: Wire::decode(r)?,
            ttl_ms: Wire::decode(r)?,
        })
    }
}

impl Wire for Holder {
    fn plan() -> Option<Plan> {
        Some(Plan::Record(Box::new([
            ("owner".to_owned(), Plan::String),
            ("fence".to_owned(), Plan::U64),
            (
                "expires-in-ms".to_owned(),
                Plan::Option(Box::new(Plan::U32)),
            ),
        ])))
    }

    fn encode(&self, out: &mut BytesMut) {
        self.owner.encode(out);
        self.fence.encode(out);
        self.expires_in_ms.encode(out);
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            owner: Wire::decode(r)?,
            fence: Wire::decode(r)?,
            expires_in_ms: Wire::decode(r)?,
        })
    }
}

impl Wire for LockError {
    fn plan() -> Option<Plan> {
        let text = || Some(Plan::String);
        Some(Plan::Variant {
            names: Names::new([
                "held",
                "not-held",
                "invalid-name",
                "invalid-ttl",
                "access-denied",
                "unavailable",
                "other",
            ]),
            cases: Box::new([
                <Option<Holder>>::plan(),
                None,
                text(),
                text(),
                None,
                text(),
                text(),
            ]),
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        let (case, text) = match self {
            Self::Held(holder) => {
                out.put_u8(0);
                return holder.encode(out);
            }
            Self::NotHeld => (1, None),
            Self::InvalidName(text) => (2, Some(text)),
            Self::InvalidTtl(text) => (3, Some(text)),
            Self::AccessDenied => (4, None),
            Self::Unavailable(text) => (5, Some(text)),
            Self::Other(text) => (6, Some(text)),
        };
        out.put_u8(case);
        if let Some(text) = text {
            write::string(out, text);
        }
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match r.case("lock error", 7)? {
            0 => Self::Held(Wire::decode(r)?),
            1 => Self::NotHeld,
            2 => Self::InvalidName(r.string()?),
            3 => Self::InvalidTtl(r.string()?),
            4 => Self::AccessDenied,
            5 => Self::Unavailable(r.string()?),
            _ => Self::Other(r.string()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_as_they_were() {
        let holder = Holder {
            owner: "cart".to_owned(),
            fence: 7,
            expires_in_ms: Some(900),
        };
        for error in [
            LockError::Held(Some(holder)),
            LockError::Held(None),
            LockError::NotHeld,
            LockError::InvalidName("a".to_owned()),
            LockError::InvalidTtl("b".to_owned()),
            LockError::AccessDenied,
            LockError::Unavailable("c".to_owned()),
            LockError::Other("d".to_owned()),
        ] {
            let mut out = BytesMut::new();
            error.encode(&mut out);
            let came = LockError::decode(&mut Reader::new(out.freeze()));
            assert_eq!(came.ok(), Some(error));
        }
    }
}
