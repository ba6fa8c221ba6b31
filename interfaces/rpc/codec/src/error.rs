//! Why bytes are not a value of the expected type.

/// Why bytes could not be decoded as a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a value. More bytes of the same stream may complete it.
    #[error("the value is incomplete: at least {needed} more bytes are needed")]
    Incomplete {
        /// The least number of further bytes without which decoding cannot go on.
        needed: usize,
    },
    /// A length or count is larger than this peer accepts.
    #[error("a length of {len} exceeds the limit of {limit}")]
    TooLong {
        /// The length that the bytes claim.
        len: u64,
        /// The largest length that is accepted.
        limit: u64,
    },
    /// A LEB128 number does not fit its type.
    #[error("an integer does not fit into {bits} bits")]
    IntegerOverflow {
        /// The width of the expected type.
        bits: u32,
    },
    /// A boolean, option or result starts with a byte other than 0 and 1.
    #[error("byte {byte:#04x} is not a {what} tag")]
    InvalidTag {
        /// The kind of value: `bool`, `option`, `result`, `future`.
        what: &'static str,
        /// The byte that was found.
        byte: u8,
    },
    /// A case number lies outside the cases of its type.
    #[error("case {case} is outside the {cases} cases of the {what}")]
    InvalidCase {
        /// The type: `variant`, `enum`, or a named type.
        what: &'static str,
        /// The case number found.
        case: u32,
        /// How many cases the type has.
        cases: u32,
    },
    /// Text is not UTF-8, or a `char` is not a Unicode scalar value.
    #[error("text is not valid UTF-8")]
    InvalidText,
    /// A field has a value that its type cannot hold, such as a malformed header name.
    #[error("the {field} is invalid")]
    InvalidField {
        /// The name of the field.
        field: &'static str,
    },
    /// Bytes are left over after a complete value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}
