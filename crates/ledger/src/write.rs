//! The SQL of the fold's changes: status step by step, everything else together.

use std::collections::BTreeMap;

use crate::LedgerError;
use crate::database::Write;
use crate::fold::{Merge, RowChange, StatusChange, Step, Table, Value};

/// Values in one statement at most; SQLite takes 32,766.
const MAX_VALUES: usize = 15_000;

/// Takes a step in the life of a task. `Some`: the database's guard refused it, with its sentence, and
/// nothing of it was written.
pub(crate) async fn take_step(
    write: &mut Write,
    change: &StatusChange,
) -> Result<Option<String>, LedgerError> {
    write.execute("SAVEPOINT step", Vec::new()).await?;
    let refusal = match step(write, change).await {
        Ok(refusal) => refusal,
        Err(error) => Some(error.refusal().ok_or(error)?),
    };
    if refusal.is_some() {
        write.execute("ROLLBACK TO SAVEPOINT step", Vec::new()).await?;
    }
    write.execute("RELEASE SAVEPOINT step", Vec::new()).await?;
    Ok(refusal)
}

async fn step(write: &mut Write, change: &StatusChange) -> Result<Option<String>, LedgerError> {
    let named = || vec![Value::from(&change.task), Value::from(change.run)];
    // In run 1, as a row that another log has made: what is allowed must not depend on which came first.
    let begin = "INSERT INTO tasks (task) VALUES ($1) ON CONFLICT (task) DO NOTHING";
    write.execute(begin, vec![(&change.task).into()]).await?;
    if change.step != Step::Stay {
        let open = "UPDATE tasks SET status = 'pending', run = $2 WHERE task = $1 AND run <> $2";
        write.execute(open, named()).await?;
    }
    if change.step == Step::Continue {
        let go_on = "UPDATE tasks SET status = 'active' WHERE task = $1 AND run = $2 AND status <> 'active'";
        write.execute(go_on, named()).await?;
    }
    let mut values = named();
    let mut sets = Vec::new();
    if let Step::Become(status) = change.step {
        values.push(status.name().into());
        sets.push(format!("status = ${}", values.len()));
    }
    for (column, value) in &change.columns {
        values.push(value.clone());
        sets.push(format!("{column} = ${}", values.len()));
    }
    let update = format!("UPDATE tasks SET {} WHERE task = $1 AND run = $2", sets.join(", "));
    let touched = write.execute(&update, values).await?;
    Ok((touched == 0)
        .then(|| format!("STATE_MISMATCH: run {} of {} is not its present run", change.run, change.task)))
}

/// Writes rows, those of one shape in one statement.
pub(crate) async fn write_rows(write: &mut Write, rows: Vec<RowChange>) -> Result<(), LedgerError> {
    type Shape = (Table, Vec<(&'static str, Merge)>);
    let mut shapes: BTreeMap<String, (Shape, Vec<Vec<Value>>)> = BTreeMap::new();
    for RowChange { table, key, columns } in rows {
        let shape: Vec<_> = columns.iter().map(|(column, merge, _)| (*column, *merge)).collect();
        let name = format!("{table:?} {shape:?}");
        let mut values = key;
        values.extend(columns.into_iter().map(|(.., value)| value));
        shapes.entry(name).or_insert_with(|| ((table, shape), Vec::new())).1.push(values);
    }
    for ((table, columns), rows) in shapes.into_values() {
        let width = (table.key().len() + columns.len()).max(1);
        for chunk in rows.chunks(MAX_VALUES / width) {
            let sql = upsert(table, &columns, chunk.len());
            write.execute(&sql, chunk.iter().flatten().cloned().collect()).await?;
        }
    }
    Ok(())
}

fn upsert(table: Table, columns: &[(&'static str, Merge)], rows: usize) -> String {
    let name = table.name();
    let names: Vec<&str> =
        table.key().iter().copied().chain(columns.iter().map(|(column, _)| *column)).collect();
    let action = if columns.is_empty() {
        "NOTHING".to_owned()
    } else {
        let sets: Vec<_> = columns.iter().map(|(column, merge)| meet(name, column, *merge)).collect();
        format!("UPDATE SET {}", sets.join(", "))
    };
    format!(
        "INSERT INTO {name} ({}) VALUES {} ON CONFLICT ({}) DO {action}",
        names.join(", "),
        placeholders(rows, names.len()),
        table.key().join(", "),
    )
}

fn meet(table: &str, column: &str, merge: Merge) -> String {
    match merge {
        Merge::Set => format!("{column} = excluded.{column}"),
        Merge::First => format!("{column} = COALESCE({table}.{column}, excluded.{column})"),
        Merge::Max => format!(
            "{column} = CASE WHEN excluded.{column} > {table}.{column} THEN excluded.{column} \
             ELSE {table}.{column} END"
        ),
        Merge::Min => format!(
            "{column} = CASE WHEN {table}.{column} < excluded.{column} THEN {table}.{column} \
             ELSE excluded.{column} END"
        ),
    }
}

/// `($1, $2), ($3, $4)`: that many rows of that many values.
pub(crate) fn placeholders(rows: usize, width: usize) -> String {
    let row = |row: usize| {
        let values: Vec<_> = (1..=width).map(|column| format!("${}", row * width + column)).collect();
        format!("({})", values.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}
