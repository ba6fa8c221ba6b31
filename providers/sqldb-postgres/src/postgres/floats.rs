//! Floating point numbers as mantissa, exponent and sign.

/// Mantissa, exponent and sign: the number is their product, with the exponent as a power of two.
pub(super) type Parts = (u64, i16, i8);

/// The exponents that numbers have which are none.
const NONE_64: i16 = 0x7ff - 1075;
const NONE_32: i16 = 0xff - 150;

/// Takes a number apart.
pub(super) fn parts_of(number: f64) -> Parts {
    let bits = number.to_bits();
    let low = bits & ((1 << 52) - 1);
    // Eleven bits.
    let exponent = i16::try_from((bits >> 52) & 0x7ff).unwrap_or_default();
    let mantissa = if exponent == 0 {
        low << 1
    } else {
        low | 1 << 52
    };
    (mantissa, exponent - 1075, sign(bits >> 63))
}

/// Takes a short number apart.
pub(super) fn short_parts_of(number: f32) -> Parts {
    let bits = number.to_bits();
    let low = u64::from(bits & ((1 << 23) - 1));
    // Eight bits.
    let exponent = i16::try_from((bits >> 23) & 0xff).unwrap_or_default();
    let mantissa = if exponent == 0 {
        low << 1
    } else {
        low | 1 << 23
    };
    (mantissa, exponent - 150, sign(u64::from(bits >> 31)))
}

fn sign(bit: u64) -> i8 {
    if bit == 0 { 1 } else { -1 }
}

/// Puts a number together.
pub(super) fn number_of(parts: Parts) -> f64 {
    let (mantissa, exponent, sign) = parts;
    match none(mantissa, exponent, NONE_64, 52) {
        Some(none) => none * f64::from(sign),
        None => product(parts),
    }
}

/// Puts a short number together.
pub(super) fn short_number_of(parts: Parts) -> f64 {
    let (mantissa, exponent, sign) = parts;
    match none(mantissa, exponent, NONE_32, 23) {
        Some(none) => none * f64::from(sign),
        None => number_of(parts),
    }
}

fn none(mantissa: u64, exponent: i16, mark: i16, bits: u32) -> Option<f64> {
    if exponent != mark || mantissa >> bits != 1 {
        return None;
    }
    Some(if mantissa == 1 << bits {
        f64::INFINITY
    } else {
        f64::NAN
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a mantissa of more than 53 bits is rounded, as any number is that is too long"
)]
fn product((mantissa, exponent, sign): Parts) -> f64 {
    // In two steps, since the power alone may be too small or too large for a number.
    let first = i32::from(exponent) / 2;
    let second = i32::from(exponent) - first;
    f64::from(sign) * (mantissa as f64 * 2f64.powi(first)) * 2f64.powi(second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_together_again(bits: u64) {
            let number = f64::from_bits(bits);
            let again = number_of(parts_of(number));
            prop_assert!(again.to_bits() == bits || number.is_nan() && again.is_nan());
        }

        #[test]
        fn short_numbers_come_together_again(bits: u32) {
            let number = f32::from_bits(bits);
            let again = short_number_of(short_parts_of(number));
            prop_assert!(again == f64::from(number) || number.is_nan() && again.is_nan());
        }
    }

    #[test]
    fn the_parts_are_those_of_ieee_754() {
        assert_eq!(parts_of(1.0), (1 << 52, -52, 1));
        assert_eq!(parts_of(-2.5), (5 << 50, -51, -1));
        assert_eq!(short_parts_of(1.0), (1 << 23, -23, 1));
        assert_eq!(number_of((25, -1, -1)), -12.5);
        assert_eq!(number_of(parts_of(5e-324)), 5e-324);
        assert_eq!(number_of(parts_of(f64::NEG_INFINITY)), f64::NEG_INFINITY);
    }
}
