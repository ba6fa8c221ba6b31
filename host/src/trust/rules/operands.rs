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
    /// How many things a batch is about; none where the call is no batch.
    pub(super) batch: Option<u32>,
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
                for _ in 0..self.count(r, 1)? {
                    self.keys.push(r.string()?);
                }
            }
            Param::Entries => {
                for _ in 0..self.count(r, 2)? {
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
            Param::Batch => drop(self.count(r, 1)?),
        }
        Ok(())
    }

    /// The length of a list, whose elements have so many bytes at least.
    fn count(&mut self, r: &mut Reader, least: usize) -> Result<usize, DecodeError> {
        let count = r.count(least)?;
        self.batch = Some(u32::try_from(count).unwrap_or(u32::MAX));
        Ok(count)
    }
}
