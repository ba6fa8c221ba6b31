//! What the parameters of a call name: buckets, keys, subjects, statements.

use bytes::Bytes;
use lattice_codec::{DecodeError, Reader};
use lattice_core::rules::Param;

/// The names in the parameters of one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Operands {
    pub(super) within: Vec<String>,
    pub(super) keys: Vec<String>,
    pub(super) subjects: Vec<String>,
    pub(super) statement: Option<String>,
}

impl Operands {
    /// Reads the first parameters of a call, as they stand on the wire; what follows them is not
    /// looked at.
    pub(super) fn read(params: &[Param], encoded: Bytes) -> Result<Self, DecodeError> {
        let mut operands = Self::default();
        let mut reader = Reader::new(encoded);
        for param in params {
            operands.take(*param, &mut reader)?;
        }
        Ok(operands)
    }

    fn take(&mut self, param: Param, r: &mut Reader) -> Result<(), DecodeError> {
        match param {
            Param::Database => drop(r.string()?),
            Param::Within => self.within.push(r.string()?),
            // A job begins with its name.
            Param::Key | Param::Job => self.keys.push(r.string()?),
            Param::Keys => {
                for _ in 0..r.count(1)? {
                    self.keys.push(r.string()?);
                }
            }
            Param::Entries => {
                for _ in 0..r.count(2)? {
                    self.keys.push(r.string()?);
                    r.bytes()?;
                }
            }
            Param::Object => {
                self.within.push(r.string()?);
                self.keys.push(r.string()?);
            }
            Param::Subject => self.subjects.push(r.string()?),
            Param::Message => {
                self.subjects.push(r.string()?);
                r.bytes()?;
                // Somebody else is to send there in the guest's stead.
                self.subjects.extend(r.option(Reader::string)?);
            }
            Param::Letter => {
                self.subjects.push(r.string()?);
                self.subjects.extend(r.option(Reader::string)?);
            }
            Param::Statement => self.statement = Some(r.string()?),
            Param::Optional => {
                r.option(Reader::string)?;
            }
        }
        Ok(())
    }
}
