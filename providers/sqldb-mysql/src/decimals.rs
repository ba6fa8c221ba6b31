//! Decimals on their way to the server.
//!
//! The client knows no parameter that is a decimal, and a text in the place of a number makes MySQL
//! reckon with floating point numbers. So a whole decimal goes as the whole number that it is, and for
//! any other the statement says at its placeholder that it is a decimal.

use lattice_provider_sdk::sql::{Statement, Value};
use mysql_async::Value as Sent;

/// How many digits a decimal of MySQL has at most, and how many of them after the point.
const MOST_DIGITS: usize = 65;
const MOST_AFTER_POINT: usize = 30;
/// How many digits a whole number has at most.
const DIGITS_OF_INT: usize = 19;

/// The text of a statement that is run for each of these rows of values, which are in the order of its
/// placeholders.
pub(crate) fn text_for(statement: &Statement, rows: &[Vec<Value>]) -> String {
    // A procedure may want a placeholder, to answer by it.
    if statement.verb() == "CALL" {
        return statement.text().to_owned();
    }
    // With a blank, since the placeholder may stand right behind a word.
    let cast = |scale: usize| format!(" CAST(? AS DECIMAL({MOST_DIGITS},{scale}))");
    statement.text_with(|at| scale_of(rows, at).map(cast))
}

/// A decimal as a whole number, if it is one.
pub(crate) fn whole(text: &str) -> Option<Sent> {
    let signed = text.parse().map(Sent::Int);
    signed.or_else(|_| text.parse().map(Sent::UInt)).ok()
}

/// How many digits after the point the values of a placeholder have, if it has to be said that they
/// are decimals, and all of them can be.
fn scale_of(rows: &[Vec<Value>], at: usize) -> Option<usize> {
    let (mut before, mut after, mut is_needed) = (0, 0, false);
    for row in rows {
        let digits = match row.get(at)? {
            Value::Decimal(text) => {
                is_needed |= whole(text).is_none();
                digits_of(text)?
            }
            Value::Int(_) => (DIGITS_OF_INT, 0),
            Value::Null => (0, 0),
            _ => return None,
        };
        before = digits.0.max(before);
        after = digits.1.max(after);
    }
    let is_possible = after <= MOST_AFTER_POINT && before + after <= MOST_DIGITS;
    (is_needed && is_possible).then_some(after)
}

/// How many digits a decimal has before and after its point.
fn digits_of(text: &str) -> Option<(usize, usize)> {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (before, after) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_decimal = is_number(before) && is_number(after) && before.len() + after.len() > 0;
    is_decimal.then_some((before.len(), after.len()))
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::sql::Dialect;

    use super::*;

    fn decimals(texts: &[&str]) -> Vec<Value> {
        let one = |text: &&str| Value::Decimal((*text).to_owned());
        texts.iter().map(one).collect()
    }

    fn text(statement: &str, rows: &[Vec<Value>]) -> String {
        text_for(&Statement::read(statement, Dialect::Mysql).unwrap(), rows)
    }

    #[test]
    fn whole_decimals_are_whole_numbers() {
        assert_eq!(whole("-42"), Some(Sent::Int(-42)));
        assert_eq!(whole("18446744073709551615"), Some(Sent::UInt(u64::MAX)));
        for text in ["18446744073709551616", "1.0", "1e3", "", "x"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_number_is_said_to_be_a_decimal() {
        let add = "UPDATE t SET a = a+? WHERE b IN('?',?)";
        assert_eq!(text(add, &[decimals(&["1", "2"])]), add);
        assert_eq!(
            text(add, &[decimals(&["0.10", "2"])]),
            "UPDATE t SET a = a+ CAST(? AS DECIMAL(65,2)) WHERE b IN('?',?)"
        );
        assert_eq!(
            text("SELECT ?", &[decimals(&["18446744073709551616"])]),
            "SELECT  CAST(? AS DECIMAL(65,0))"
        );
    }

    #[test]
    fn one_text_is_for_all_rows() {
        let insert = "INSERT INTO t VALUES (?)";
        let rows = [decimals(&["1.5"]), decimals(&["-.125"]), vec![Value::Null]];
        let wanted = "INSERT INTO t VALUES ( CAST(? AS DECIMAL(65,3)))";
        assert_eq!(text(insert, &rows), wanted);
        let mixed = [decimals(&["1.5"]), vec![Value::Text("x".to_owned())]];
        assert_eq!(text(insert, &mixed), insert);
    }

    #[test]
    fn what_no_decimal_of_the_server_can_be_goes_as_it_is() {
        for odd in ["1.5e3", "1.2.3", ".", &format!("0.{}", "1".repeat(31))] {
            assert_eq!(text("SELECT ?", &[decimals(&[odd])]), "SELECT ?", "{odd}");
        }
        assert_eq!(text("CALL p(?)", &[decimals(&["1.5"])]), "CALL p(?)");
    }
}
