//! Values as they go and come.

use crate::bindings::exports::lattice::conformance::suite::Failure;
use crate::bindings::lattice::sql::sql::{Dialect, Value};
use crate::kit::{Case, Run, Verdict, equal, execute, failed, query, text};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("every kind of value comes back as it went", every_kind),
    ("null is none of the values", null),
    ("texts of injections stay data", injections),
    ("texts and bytes of any content come back", any_content),
    ("a value of 200 KiB comes back", large),
    ("whole numbers have 64 bits", whole_numbers),
    ("a column of decimals keeps every digit", decimals),
    ("numbers in JSON are JSON", json_numbers),
];

/// Columns of every kind with a value of it.
fn kinds(run: &Run<'_>) -> Vec<(&'static str, Value)> {
    let s = str::to_owned;
    let of = |postgres, mysql, sqlite| match run.dialect {
        Dialect::Postgres => postgres,
        Dialect::Mysql => mysql,
        Dialect::Sqlite => sqlite,
    };
    vec![
        ("BOOLEAN", Value::Boolean(true)),
        ("BIGINT", Value::Int(-5)),
        ("DOUBLE PRECISION", Value::Float(0.1)),
        (
            // Where a column of decimals keeps something else, this one keeps text.
            of("DECIMAL(20, 1)", "DECIMAL(20, 1)", "DECIMAL_TEXT(20, 1)"),
            Value::Decimal(s("-12345678.5")),
        ),
        (of("TEXT", "VARCHAR(200)", "TEXT"), text("größer als ∞")),
        (
            of("BYTEA", "BLOB", "BLOB"),
            Value::Bytes(vec![0, 1, 255, b'\'', b'\\']),
        ),
        ("DATE", Value::Date(s("2024-02-29"))),
        (of("TIME", "TIME(6)", "TIME"), Value::Time(s("23:59:59.25"))),
        (
            of("TIMESTAMP", "DATETIME(6)", "TIMESTAMP"),
            Value::Timestamp(s("1999-12-31T23:59:59.000001")),
        ),
        (
            of("TIMESTAMPTZ", "TIMESTAMP(6)", "TIMESTAMP"),
            Value::Timestamp(s("2024-02-29T12:00:00Z")),
        ),
        (
            "UUID",
            Value::Uuid(s("6f2c1a34-1111-4222-8333-444455556666")),
        ),
        ("JSON", Value::Json(s("{\"a\":[1,null,\"x\"]}"))),
    ]
}

/// What a value says, whatever kind it is told as: the interface lets text stand for some.
fn content(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Uuid(text) | Value::Json(text) => Some(text),
        _ => None,
    }
}

fn is_same(came: &Value, wanted: &Value) -> bool {
    let same = format!("{came:?}") == format!("{wanted:?}");
    let is_text = matches!(came, Value::Text(_)) && content(wanted).is_some();
    same || is_text && content(came) == content(wanted)
}

fn every_kind(run: &Run<'_>) -> Verdict {
    for (at, (column, value)) in kinds(run).into_iter().enumerate() {
        let table = run.table(&format!("kind{at}"), &format!("a {column}"))?;
        let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
        execute(&insert, std::slice::from_ref(&value))?;
        let rows = query(&format!("SELECT a FROM {}", table.name), &[])?;
        let came = rows.first().and_then(|row| row.first());
        match came {
            Some(came) if is_same(came, &value) => {}
            came => {
                let what = format!("{column} gave {came:?} for {value:?}");
                return Err(failed(what));
            }
        }
    }
    Ok(())
}

fn null(run: &Run<'_>) -> Verdict {
    for (at, (column, _)) in kinds(run).into_iter().enumerate() {
        // A column of MySQL's TIMESTAMP is not null unless it says so.
        let table = run.table(&format!("null{at}"), &format!("a {column} NULL, b INT"))?;
        let insert = format!("INSERT INTO {} (a, b) VALUES (?, 1)", table.name);
        execute(&insert, &[Value::Null])?;
        let select = format!("SELECT a FROM {} WHERE a IS NULL AND b = 1", table.name);
        let rows = query(&select, &[])?;
        equal(
            column,
            format!("{rows:?}"),
            format!("{:?}", [[Value::Null]]),
        )?;
    }
    Ok(())
}

fn injections(run: &Run<'_>) -> Verdict {
    let column = run.of("TEXT", "VARCHAR(200)", "TEXT");
    let table = run.table("injection", &format!("a {column}, b INT"))?;
    let name = &table.name;
    let attacks = [
        "'; DROP TABLE x; --".replace('x', name),
        "' OR '1'='1".to_owned(),
        "\\' OR 1=1 -- ".to_owned(),
        "\"; DELETE FROM x; --".replace('x', name),
        "$1 ? ?? :a @b".to_owned(),
        "/* */ UNION SELECT 1, 2 #".to_owned(),
        "${jndi:x} %s %00".to_owned(),
    ];
    for (at, attack) in attacks.iter().enumerate() {
        let number = Value::Int(i64::try_from(at).unwrap_or_default());
        let insert = format!("INSERT INTO {name} (a, b) VALUES ($1, $2)");
        execute(&insert, &[text(attack), number])?;
        let select = format!("SELECT a FROM {name} WHERE a = ?");
        let rows = query(&select, &[text(attack)])?;
        equal(
            attack,
            format!("{rows:?}"),
            format!("{:?}", [[text(attack)]]),
        )?;
    }
    let none = query(
        &format!("SELECT a FROM {name} WHERE a = ?"),
        &[text("' OR 1=1")],
    )?;
    equal("rows of a text that is not there", none.len(), 0)?;
    equal("rows after all", table.count()?, 7)
}

fn any_content(run: &Run<'_>) -> Verdict {
    let columns = run.of("a TEXT, b BYTEA", "a TEXT, b BLOB", "a TEXT, b BLOB");
    let table = run.table("content", columns)?;
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let odd = [
        "",
        " ",
        "\t\r\n",
        "é\u{1F980}\u{FEFF}",
        "'\"`\\",
        "\u{1}\u{7f}",
    ];
    for written in odd {
        execute(&format!("DELETE FROM {}", table.name), &[])?;
        let values = [text(written), Value::Bytes(bytes.clone())];
        let insert = format!("INSERT INTO {} (a, b) VALUES (?, ?)", table.name);
        execute(&insert, &values)?;
        let rows = query(&format!("SELECT a, b FROM {}", table.name), &[])?;
        equal(written, format!("{rows:?}"), format!("{:?}", [values]))?;
    }
    Ok(())
}

fn large(run: &Run<'_>) -> Verdict {
    let table = run.table("large", run.of("a BYTEA", "a LONGBLOB", "a BLOB"))?;
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(200 * 1024).collect();
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    execute(&insert, &[Value::Bytes(bytes.clone())])?;
    let rows = query(&format!("SELECT a FROM {}", table.name), &[])?;
    let is_there =
        matches!(&rows[..], [row] if matches!(&row[..], [Value::Bytes(came)] if *came == bytes));
    equal("the bytes are the same", is_there, true)
}

fn whole_numbers(run: &Run<'_>) -> Verdict {
    let table = run.table("whole", "a BIGINT")?;
    let numbers = [i64::MIN, -1, 0, 1, i64::MAX];
    for number in numbers {
        let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
        execute(&insert, &[Value::Int(number)])?;
    }
    let rows = query(&format!("SELECT a FROM {} ORDER BY a", table.name), &[])?;
    let wanted = numbers.map(|number| vec![Value::Int(number)]);
    equal("the numbers", format!("{rows:?}"), format!("{wanted:?}"))
}

/// More digits than a floating point number has, before the point and after it.
const LONG: &str = "-12345678901234567890.0123456789";

fn decimals(run: &Run<'_>) -> Verdict {
    let table = run.table("decimals", "a DECIMAL(30, 10)")?;
    let insert = format!("INSERT INTO {} (a) VALUES (?)", table.name);
    execute(&insert, &[Value::Decimal(LONG.to_owned())])?;
    let rows = query(&format!("SELECT a FROM {}", table.name), &[])?;
    match (
        rows.first().and_then(|row| row.first()),
        run.feature("decimal"),
    ) {
        (Some(Value::Decimal(came)), _) => equal("the decimal", came.as_str(), LONG),
        (Some(Value::Float(_)), Some(kept @ "float")) => Err(Failure::Refused(format!(
            "the provider tells the feature `decimal` = `{kept}`, and the value comes as a float"
        ))),
        (came, told) => Err(failed(format!("{came:?} came, and `decimal` is {told:?}"))),
    }
}

fn json_numbers(run: &Run<'_>) -> Verdict {
    let table = run.table("json_numbers", "a JSON, b JSON")?;
    let insert = format!("INSERT INTO {} (a, b) VALUES (?, ?)", table.name);
    let json = |text: &str| Value::Json(text.to_owned());
    let wanted = [json("12"), json("1.25")];
    execute(&insert, &wanted)?;
    let rows = query(&format!("SELECT a, b FROM {}", table.name), &[])?;
    match rows.first().map(Vec::as_slice) {
        Some([a, b]) if is_same(a, &wanted[0]) && is_same(b, &wanted[1]) => Ok(()),
        came => Err(failed(format!("{came:?} came"))),
    }
}
