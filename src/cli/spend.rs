//! `openclaw spend`: what calls of language models have cost.

use super::figures::count;
use super::print;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::SpendWord;
use crate::protocol::{SpendReport, SpendRow};
use crate::unit::printable::escape;

/// Tells it as a table, as JSON or as comma-separated values.
pub fn tell(
    session: &Session,
    by: SpendWord,
    from: Option<&str>,
    to: Option<&str>,
    csv: bool,
) -> Result<(), Failure> {
    let by = match by {
        SpendWord::Key => "key",
        SpendWord::Gateway => "gateway",
        SpendWord::User => "user",
        SpendWord::Model => "model",
        SpendWord::Provider => "provider",
        SpendWord::Day => "day",
    };
    let mut path = format!("/v1/spend?by={by}");
    for (name, day) in [("from", from), ("to", to)] {
        let Some(day) = day else {
            continue;
        };
        // It becomes part of a path; what is not a day the daemon says.
        if !day
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            return Err(Failure::failed(format!(
                "`{day}` is not a day\nhint: for example 2026-11-22"
            )));
        }
        path.push_str(&format!("&{name}={day}"));
    }
    let report: SpendReport = session.get(&path)?;
    if csv {
        print(&values(&report));
    } else if session.json {
        print_json(&report);
    } else {
        print(&table(&report).text());
        if report.total.unpriced > 0 {
            print(&format!(
                "\n{} calls of models without a known price are not in the sum\n",
                count(report.total.unpriced)
            ));
        }
    }
    Ok(())
}

fn table(report: &SpendReport) -> Table {
    let mut table = Table::new(&[
        ("", Side::Left),
        ("CALLS", Side::Right),
        ("FAILED", Side::Right),
        ("TOKENS IN", Side::Right),
        ("CACHED", Side::Right),
        ("TOKENS OUT", Side::Right),
        ("DOLLARS", Side::Right),
        ("SAVED", Side::Right),
    ]);
    let mut add = |row: &SpendRow, name: &str| {
        table.row([
            name.to_owned(),
            count(row.calls),
            count(row.failed),
            count(row.input),
            count(row.cache_read),
            count(row.output),
            row.cost.clone(),
            row.saved.clone(),
        ]);
    };
    for row in &report.rows {
        add(row, if row.name.is_empty() { "-" } else { &row.name });
    }
    let total = format!("{} to {}", report.from, report.to);
    add(&report.total, &total);
    table
}

/// By RFC 4180, with a heading.
fn values(report: &SpendReport) -> String {
    let mut text = format!(
        "{},calls,failed,unpriced,estimated,input,cache_read,output,cost,saved\r\n",
        report.by
    );
    for row in &report.rows {
        let name = escape(&row.name).replace('"', "\"\"");
        text.push_str(&format!(
            "\"{name}\",{},{},{},{},{},{},{},{},{}\r\n",
            row.calls,
            row.failed,
            row.unpriced,
            row.estimated,
            row.input,
            row.cache_read,
            row.output,
            escape(&row.cost),
            escape(&row.saved)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_a_name_could_break_them() {
        let report = SpendReport {
            by: "user".to_owned(),
            rows: vec![SpendRow {
                name: "a,\"b\"\n".to_owned(),
                calls: 3,
                cost: "0.00125".to_owned(),
                saved: "0.5".to_owned(),
                ..SpendRow::default()
            }],
            ..SpendReport::default()
        };
        assert_eq!(
            values(&report),
            "user,calls,failed,unpriced,estimated,input,cache_read,output,cost,saved\r\n\
             \"a,\"\"b\"\"^J\",3,0,0,0,0,0,0,0.00125,0.5\r\n"
        );
    }
}
