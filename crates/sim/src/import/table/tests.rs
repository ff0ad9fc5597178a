use std::error::Error;
use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

/// The sum of column `amount`, or the error with its causes.
fn check(text: &str, expected: Expect) {
    let table = Table::parse_with_header(Path::new("t.csv"), text.as_bytes(), &["name", "amount"]);
    let sum = table.and_then(|table| {
        let amounts = table.rows().map(|row| row.value::<u64>("amount", "a whole number"));
        amounts.sum::<Result<u64, ImportError>>()
    });
    let shown = match sum {
        Ok(sum) => sum.to_string(),
        Err(error) => match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    };
    expected.assert_eq(&shown);
}

#[test]
fn columns_come_in_any_order_and_with_others() {
    check("amount,name\n3,a\n 4 ,b\n", expect!["7"]);
    check("\u{feff}name,x,amount\r\na,,3\r\nb,,4\r\n", expect!["7"]);
}

#[test]
fn what_is_wrong_is_named_by_line_and_column() {
    check(
        "name,count\na,3\n",
        expect!["`t.csv` has no column `amount`: its first line must name the columns name, amount"],
    );
    check(
        "name,amount\na,3\nb,many\n",
        expect![
            "t.csv:3: column `amount` holds `many`: a whole number is expected there; mend the line or leave it out"
        ],
    );
    check("name,amount\n", expect!["`t.csv` holds no rows: is it the right file?"]);
    check("", expect!["`t.csv` has no column `name`: its first line must name the columns name, amount"]);
    check(
        "name,amount\na\n",
        expect![
            "`t.csv` is not a table of comma-separated values: CSV error: record 1 (line: 2, byte: 12): found record with 1 fields, but the previous record has 2 fields"
        ],
    );
}
