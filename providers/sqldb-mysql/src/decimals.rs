//! Decimals on their way to the server.
//!
//! The client knows no parameter that is a decimal. A text in the place of a number makes MySQL reckon
//! with floating point numbers, and a whole number with those of 64 bits, which overflow and may have no
//! sign. So the statement says at its placeholder that a decimal is one, with the digits that it has:
//! where it becomes a text, it is its own.

use lattice_provider_sdk::sql::{Statement, Value};
use mysql_async::Value as Sent;

/// How many digits a decimal of MySQL has at most, and how many of them after the point.
const MOST_DIGITS: usize = 65;
const MOST_AFTER_POINT: usize = 30;

/// How many digits after the point the decimals among the values for the placeholders of a statement
/// have. Empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scales(Vec<Option<usize>>);

impl Scales {
    /// Those of values in the order of the placeholders.
    pub(crate) fn of(statement: &Statement, values: &[Value]) -> Self {
        // A procedure may want a placeholder, to answer by it, and a setting a whole number.
        let verb = statement.verb();
        let is_bare = |value: &Value| match value {
            Value::Decimal(text) => verb == "CALL" || verb == "SET" && whole(text).is_some(),
            _ => true,
        };
        let scale = |value: &Value| scale_of(value).filter(|_| !is_bare(value));
        let scales: Vec<_> = values.iter().map(scale).collect();
        match scales.iter().any(Option::is_some) {
            true => Self(scales),
            false => Self::default(),
        }
    }

    /// The text of the statement for such values.
    pub(crate) fn text(&self, statement: &Statement) -> String {
        // With a blank, since the placeholder may stand right behind a word.
        let cast = |scale: usize| format!(" CAST(? AS DECIMAL({MOST_DIGITS},{scale}))");
        statement.text_with(|at| self.0.get(at).copied().flatten().map(cast))
    }
}

/// A decimal as a whole number, if it is one: it is shorter so, and what `LIMIT` takes.
pub(crate) fn whole(text: &str) -> Option<Sent> {
    let signed = text.parse().map(Sent::Int);
    signed.or_else(|_| text.parse().map(Sent::UInt)).ok()
}

/// How many digits after the point a value has, if it is a decimal that the server can have.
fn scale_of(value: &Value) -> Option<usize> {
    let Value::Decimal(text) = value else {
        return None;
    };
    let (before, after) = digits_of(text)?;
    (after <= MOST_AFTER_POINT && before + after <= MOST_DIGITS).then_some(after)
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

    fn text(statement: &str, values: &[Value]) -> String {
        let statement = Statement::read(statement, Dialect::Mysql).unwrap();
        Scales::of(&statement, values).text(&statement)
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
    fn decimals_are_said_to_be_some() {
        let add = "UPDATE t SET a = a+? WHERE b IN('?',?)";
        assert_eq!(
            text(add, &decimals(&["0.10", "2"])),
            "UPDATE t SET a = a+ CAST(? AS DECIMAL(65,2)) WHERE b IN('?', CAST(? AS DECIMAL(65,0)))"
        );
        let others = [Value::Int(1), Value::Text("1.5".to_owned())];
        assert_eq!(text(add, &others), add);
        assert_eq!(
            text("SELECT ?", &decimals(&["18446744073709551616"])),
            "SELECT  CAST(? AS DECIMAL(65,0))"
        );
        let page = "SELECT a FROM t LIMIT ?, ?";
        assert_eq!(text(page, &decimals(&["10", "20"])), page);
    }

    #[test]
    fn each_value_has_its_own_digits() {
        let insert = "INSERT INTO t VALUES (?, ?)";
        for (values, wanted) in [
            (
                [Value::Decimal("1.5".to_owned()), Value::Null],
                "INSERT INTO t VALUES ( CAST(? AS DECIMAL(65,1)), ?)",
            ),
            (
                [Value::Int(7), Value::Decimal("-.125".to_owned())],
                "INSERT INTO t VALUES (?,  CAST(? AS DECIMAL(65,3)))",
            ),
            ([Value::Int(7), Value::Null], insert),
        ] {
            assert_eq!(text(insert, &values), wanted);
        }
    }

    #[test]
    fn what_no_decimal_of_the_server_can_be_goes_as_it_is() {
        for odd in ["1.5e3", "1.2.3", ".", &format!("0.{}", "1".repeat(31))] {
            assert_eq!(text("SELECT ?", &decimals(&[odd])), "SELECT ?", "{odd}");
        }
        assert_eq!(text("CALL p(?)", &decimals(&["1.5"])), "CALL p(?)");
        let set = "SET a = ?, @b = ?";
        let cast = "SET a = ?, @b =  CAST(? AS DECIMAL(65,1))";
        assert_eq!(text(set, &decimals(&["4096", "1.5"])), cast);
    }

    #[test]
    fn what_counts_rows_goes_as_it_is() {
        let frame = "SELECT SUM(a) OVER (ROWS ? PRECEDING), NTILE(?) OVER w FROM t";
        assert_eq!(text(frame, &decimals(&["2", "4"])), frame);
    }
}
