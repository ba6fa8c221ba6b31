//! Cuts texts that others made, and that may be of any length, for logs, reports and errors.

use std::fmt::{self, Display, Write};

/// The beginning of a text: so many characters at most. No more of it is made than is told.
#[must_use]
pub fn clipped(text: impl Display, most: usize) -> String {
    Clipper::of(text, most, |letter| letter)
}

/// The same in one line, with a blank for each control character.
#[must_use]
pub fn clipped_line(text: impl Display, most: usize) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    Clipper::of(text, most, plain)
}

/// The beginning of a text: so many bytes at most, cut between characters.
#[must_use]
pub fn clipped_bytes(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

struct Clipper {
    text: String,
    /// How many characters more there may be.
    left: usize,
    map: fn(char) -> char,
}

impl Clipper {
    fn of(text: impl Display, most: usize, map: fn(char) -> char) -> String {
        let mut clipper = Self {
            text: String::new(),
            left: most,
            map,
        };
        // An error says no more than that there is enough.
        let _ = write!(clipper, "{text}");
        clipper.text
    }
}

impl Write for Clipper {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push((self.map)(letter));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_texts_are_cut_and_short_ones_are_whole() {
        assert_eq!(clipped("é".repeat(1000), 512), "é".repeat(512));
        assert_eq!(clipped(format_args!("{}-{}", 12, 34), 4), "12-3");
        assert_eq!(clipped("short", 5), "short");
        assert_eq!(clipped("a\nb", 3), "a\nb");
        assert_eq!(clipped_bytes(&format!("a{}", "ü".repeat(9)), 8), "aüüü");
        assert_eq!(clipped_bytes("short", 256), "short");
    }

    #[test]
    fn what_steers_terminals_is_left_out_of_a_line() {
        assert_eq!(clipped_line("a\n2026 ERROR\u{1b}[2J", 10), "a 2026 ERR");
        assert_eq!(clipped_line("main\u{1b}[2J", 80), "main [2J");
    }

    #[test]
    fn no_more_is_made_than_is_told() {
        struct Endless;

        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("again ")?;
                }
            }
        }

        assert_eq!(clipped(Endless, 8), "again ag");
    }

    proptest! {
        #[test]
        fn a_cut_text_is_the_beginning_and_as_long_as_it_may_be(text in any::<String>(), most in 0_usize..64) {
            let expected: String = text.chars().take(most).collect();
            prop_assert_eq!(clipped(&text, most), expected);
            let line = clipped_line(&text, most);
            prop_assert_eq!(line.chars().count(), text.chars().count().min(most));
            prop_assert!(!line.contains(char::is_control));
            let cut = clipped_bytes(&text, most);
            prop_assert!(text.starts_with(cut) && cut.len() <= most);
            let next = text[cut.len()..].chars().next();
            prop_assert!(next.is_none_or(|next| cut.len() + next.len_utf8() > most));
        }
    }
}
