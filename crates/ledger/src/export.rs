//! The canonical dump: every row as one JSON object per line, sorted. Byte for byte the same for a live and
//! a rebuilt ledger, and for SQLite and PostgreSQL, at the same sequences.

use std::collections::BTreeMap;
use std::io;

use serde_json::Value as Json;

use crate::fold::{Table, Value};
use crate::{Ledger, LedgerError};

/// Rows that are read at a time.
const PAGE: usize = 500;
/// What depends on when and in what order this ledger applied the events, or repeats what the hash covers.
const LEFT_OUT: [&str; 6] = ["id", "clock", "stage_order", "cause_missing", "stored_at", "payload"];

impl Ledger {
    /// Writes the dump; how many lines. An error of `to` ends it.
    pub async fn export(&self, to: &mut (dyn io::Write + Send)) -> Result<io::Result<u64>, LedgerError> {
        let mut lines = 0;
        let logs = [("checkpoints", ["stream"].as_slice()), ("events", ["stream", "sequence"].as_slice())];
        let views = Table::ALL.map(|table| (table.name(), table.key()));
        for (table, key) in logs.into_iter().chain(views) {
            let mut after: Option<Vec<Value>> = None;
            loop {
                let page = self.page(table, key, after.take()).await?;
                for row in &page {
                    if let Err(error) = writeln!(to, "{}", line(table, row)) {
                        return Ok(Err(error));
                    }
                    lines += 1;
                }
                let Some(last) = page.last().filter(|_| page.len() == PAGE) else { break };
                after = Some(key.iter().map(|column| value(last.get(*column))).collect());
            }
        }
        Ok(to.flush().map(|()| lines))
    }

    async fn page(
        &self,
        table: &str,
        key: &[&str],
        after: Option<Vec<Value>>,
    ) -> Result<Vec<BTreeMap<String, Json>>, LedgerError> {
        let key_columns = key.join(", ");
        let from = after.as_ref().map_or_else(String::new, |_| {
            let values: Vec<_> = (1..=key.len()).map(|number| format!("${number}")).collect();
            format!("WHERE ({key_columns}) > ({})", values.join(", "))
        });
        let sql = format!("SELECT * FROM {table} {from} ORDER BY {key_columns} LIMIT {PAGE}");
        let rows = self.database().fetch(&sql, after.unwrap_or_default()).await?;
        rows.iter().map(|row| row.all(&LEFT_OUT)).collect()
    }
}

fn line(table: &str, row: &BTreeMap<String, Json>) -> String {
    // Maps that are sorted whatever features serde_json was built with.
    let line = BTreeMap::from([("table", Json::from(table))]);
    let row = serde_json::to_string(row).unwrap_or_default();
    let head = serde_json::to_string(&line).unwrap_or_default();
    format!("{},\"row\":{row}}}", head.trim_end_matches('}'))
}

fn value(json: Option<&Json>) -> Value {
    match json {
        Some(Json::String(text)) => Value::Text(text.clone()),
        Some(Json::Number(number)) => Value::Int(number.as_i64().unwrap_or_default()),
        _ => Value::Null,
    }
}
