//! Looks at parameters before generated code decodes them, which makes room for as many items of a
//! list as the caller claims: here every list is walked first.

use lattice_codec::{DecodeError, Reader};

type Walked = Result<(), DecodeError>;

/// A text, and then values: `query`, and `exec` with its token.
pub(crate) fn values_are_there(params: &mut Reader) -> Walked {
    params.string()?;
    list(params, value)
}

fn list(params: &mut Reader, item: fn(&mut Reader) -> Walked) -> Walked {
    for _ in 0..params.count(1)? {
        item(params)?;
    }
    Ok(())
}

fn times(params: &mut Reader, count: usize, item: fn(&mut Reader) -> Walked) -> Walked {
    (0..count).try_for_each(|_| item(params))
}

fn signed(params: &mut Reader) -> Walked {
    params.sleb(64).map(drop)
}

fn unsigned(params: &mut Reader) -> Walked {
    params.uleb(64).map(drop)
}

fn truth(params: &mut Reader) -> Walked {
    params.bool().map(drop)
}

fn text(params: &mut Reader) -> Walked {
    params.string().map(drop)
}

fn bytes(params: &mut Reader) -> Walked {
    params.bytes().map(drop)
}

fn byte(params: &mut Reader) -> Walked {
    params.u8().map(drop)
}

fn float(params: &mut Reader) -> Walked {
    unsigned(params)?;
    signed(params)?;
    byte(params)
}

fn point(params: &mut Reader) -> Walked {
    times(params, 2, float)
}

fn points(params: &mut Reader) -> Walked {
    list(params, point)
}

fn two_points(params: &mut Reader) -> Walked {
    times(params, 2, point)
}

fn circle(params: &mut Reader) -> Walked {
    times(params, 3, float)
}

fn sized(params: &mut Reader) -> Walked {
    unsigned(params)?;
    bytes(params)
}

fn limited(params: &mut Reader) -> Walked {
    params.option(unsigned)?;
    bytes(params)
}

fn eui48(params: &mut Reader) -> Walked {
    times(params, 6, byte)
}

fn eui64(params: &mut Reader) -> Walked {
    times(params, 8, byte)
}

fn numbers(params: &mut Reader) -> Walked {
    list(params, signed)
}

fn date(params: &mut Reader) -> Walked {
    match params.case("date", 3)? {
        2 => {
            signed(params)?;
            times(params, 2, unsigned)
        }
        _ => Ok(()),
    }
}

fn interval(params: &mut Reader) -> Walked {
    date(params)?;
    truth(params)?;
    date(params)?;
    truth(params)
}

fn time(params: &mut Reader) -> Walked {
    times(params, 4, unsigned)
}

fn time_tz(params: &mut Reader) -> Walked {
    text(params)?;
    time(params)
}

fn timestamp(params: &mut Reader) -> Walked {
    date(params)?;
    time(params)
}

fn timestamp_tz(params: &mut Reader) -> Walked {
    timestamp(params)?;
    params.case("offset", 2)?;
    signed(params)
}

fn snapshot(params: &mut Reader) -> Walked {
    times(params, 2, signed)?;
    numbers(params)
}

fn lexeme(params: &mut Reader) -> Walked {
    params.option(unsigned)?;
    params.option(|params| params.case("lexeme-weight", 4))?;
    text(params)
}

fn entry(params: &mut Reader) -> Walked {
    text(params)?;
    params.option(text).map(drop)
}

/// The cases of `pg-value`, in the order of the WIT package.
fn value(params: &mut Reader) -> Walked {
    match params.case("pg-value", 97)? {
        0 => Ok(()),
        1 | 2 | 4 | 5 | 15..=17 | 24 | 25 | 29 | 30 | 85 => signed(params),
        3 | 18 | 26 | 27 => numbers(params),
        28 => list(params, numbers),
        6 | 7 => truth(params),
        8 => list(params, truth),
        9 | 10 | 12 | 13 => float(params),
        11 | 14 => list(params, float),
        22 | 23 | 82 => unsigned(params),
        83 => list(params, unsigned),
        31 | 38 => sized(params),
        32 | 39 => list(params, sized),
        33 | 34 | 40 => limited(params),
        35 | 41 => list(params, limited),
        36 => bytes(params),
        37 => list(params, bytes),
        46 => eui48(params),
        47 => list(params, eui48),
        48 => eui64(params),
        49 => list(params, eui64),
        50 | 54 | 56 => two_points(params),
        51 | 55 | 57 => list(params, two_points),
        52 => circle(params),
        53 => list(params, circle),
        58 | 61 | 62 => points(params),
        59 | 63 => list(params, points),
        60 => point(params),
        64 => date(params),
        65 => list(params, date),
        66 => interval(params),
        67 => list(params, interval),
        68 => time(params),
        69 => list(params, time),
        70 => time_tz(params),
        71 => list(params, time_tz),
        72 => timestamp(params),
        73 => list(params, timestamp),
        74 => timestamp_tz(params),
        75 => list(params, timestamp_tz),
        84 => snapshot(params),
        93 => list(params, lexeme),
        96 => list(params, entry),
        21 | 43 | 45 | 77 | 79 | 81 | 87 | 89 | 91 | 95 => list(params, text),
        _ => text(params),
    }
}
