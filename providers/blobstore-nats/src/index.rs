//! Where in the stream the data of an object are.
//!
//! The description of an object has room for values of whoever wrote it. Ours says at which places
//! of the stream some of its pieces are: the first, and each one after a step. It names the data it
//! is about, since descriptions are copied by clients that know nothing of it.

use std::collections::HashMap;

/// What the value is called.
const KEY: &str = "lattice-index";

/// How many places are told at most.
const MOST: usize = 256;

/// The places of some pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// How many bytes each piece has but the last.
    piece: u64,
    /// How many pieces lie from one place to the next.
    step: usize,
    /// How many pieces there are.
    count: usize,
    places: Vec<u64>,
}

impl Index {
    /// Without pieces.
    pub(crate) fn new(piece: usize) -> Self {
        Self {
            piece: piece as u64,
            step: 1,
            count: 0,
            places: Vec::new(),
        }
    }

    /// Adds the place of the next piece.
    pub(crate) fn push(&mut self, place: u64) {
        if self.count.is_multiple_of(self.step) {
            if self.places.len() == MOST {
                let mut at = 0;
                self.places.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.step *= 2;
            }
            // The step may just have changed.
            if self.count.is_multiple_of(self.step) {
                self.places.push(place);
            }
        }
        self.count += 1;
    }

    /// The place of each piece, where all are known.
    pub(crate) fn all(&self) -> Option<&[u64]> {
        (self.step == 1 && !self.places.is_empty()).then_some(&self.places)
    }

    /// How large pieces are.
    pub(crate) fn piece(&self) -> u64 {
        self.piece
    }

    /// The last known place at or before a byte, and the byte that is there.
    pub(crate) fn before(&self, byte: u64) -> Option<(u64, u64)> {
        let span = self.piece.saturating_mul(self.step as u64);
        let last = self.places.len().checked_sub(1)?;
        let at = usize::try_from(byte.checked_div(span)?)
            .unwrap_or(last)
            .min(last);
        Some((self.places[at], at as u64 * span))
    }

    /// Writes it to the values of an object whose data are called `data`.
    pub(crate) fn put(&self, data: &str, values: &mut HashMap<String, String>) {
        let mut before = 0;
        let places = self.places.iter().map(|place| {
            // Places go back when the container was made anew meanwhile. Such an index is read as
            // none.
            let step = place.wrapping_sub(before);
            before = *place;
            step.to_string()
        });
        let places: Vec<_> = places.collect();
        let (piece, step, count) = (self.piece, self.step, self.count);
        let text = format!("{data} {piece} {step} {count} {}", places.join(","));
        values.insert(KEY.to_owned(), text);
    }

    /// Reads that of data of `size` bytes.
    pub(crate) fn read(data: &str, size: u64, values: &HashMap<String, String>) -> Option<Self> {
        let mut words = values.get(KEY)?.split(' ');
        if words.next()? != data {
            return None;
        }
        let piece = words.next()?.parse().ok().filter(|piece| *piece > 0)?;
        let step: usize = words.next()?.parse().ok().filter(|step| *step > 0)?;
        let count: usize = words.next()?.parse().ok()?;
        let mut place = 0_u64;
        let places = words.next()?.split(',').map(|text| {
            place = place.checked_add(text.parse().ok()?)?;
            Some(place)
        });
        let places: Vec<_> = places.collect::<Option<_>>()?;
        let is_whole = count as u64 == size.div_ceil(piece)
            && places.len() == count.div_ceil(step)
            && places.len() <= MOST;
        is_whole.then_some(Self {
            piece,
            step,
            count,
            places,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_begins_at_the_place_before_it() {
        let mut index = Index::new(10);
        for place in [5, 6, 9] {
            index.push(place);
        }
        assert_eq!(index.before(0), Some((5, 0)));
        assert_eq!(index.before(9), Some((5, 0)));
        assert_eq!(index.before(10), Some((6, 10)));
        assert_eq!(index.before(29), Some((9, 20)));
        assert_eq!(index.before(1000), Some((9, 20)));
        assert_eq!(Index::new(10).before(0), None);
    }

    #[test]
    fn an_index_of_other_data_is_not_used() {
        let mut index = Index::new(10);
        index.push(5);
        let mut values = HashMap::new();
        index.put("data", &mut values);
        assert_eq!(Index::read("data", 7, &values), Some(index));
        assert_eq!(Index::read("other", 7, &values), None);
        assert_eq!(Index::read("data", 11, &values), None);
        for text in ["data", "data 0 1 1 5", "data 10 1 1 x", "data 10 1 2 5"] {
            values.insert(KEY.to_owned(), text.to_owned());
            assert_eq!(Index::read("data", 7, &values), None, "{text}");
        }
    }

    #[test]
    fn places_that_go_back_are_no_index() {
        let mut index = Index::new(10);
        for place in [5, 6, 2] {
            index.push(place);
        }
        let mut values = HashMap::new();
        index.put("data", &mut values);
        assert_eq!(Index::read("data", 25, &values), None);
    }

    #[test]
    fn pieces_beyond_all_measure_do_no_harm() {
        let text = format!("data {} {} 1 5", u64::MAX, usize::MAX);
        let values = HashMap::from([(KEY.to_owned(), text)]);
        let index = Index::read("data", 7, &values).unwrap();
        assert_eq!(index.before(u64::MAX - 1), Some((5, 0)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            gaps in prop::collection::vec(1..1000_u64, 1..2000),
            tail in 1..=100_u64,
        ) {
            let mut index = Index::new(100);
            let mut place = 0;
            let mut places = Vec::new();
            for gap in &gaps {
                place += gap;
                places.push(place);
                index.push(place);
            }
            let size = (gaps.len() as u64 - 1) * 100 + tail;
            let mut values = HashMap::new();
            index.put("d", &mut values);
            prop_assert!(index.places.len() <= MOST);
            for at in [0, size / 3, size / 2, size - 1] {
                let (place, byte) = index.before(at).unwrap();
                prop_assert!(byte <= at && byte % 100 == 0);
                prop_assert_eq!(place, places[(byte / 100) as usize]);
                prop_assert!(at - byte < 100 * index.step as u64);
            }
            prop_assert_eq!(Index::read("d", size, &values), Some(index));
        }
    }
}
