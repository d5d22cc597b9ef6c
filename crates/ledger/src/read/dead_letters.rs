//! Messages that a service could not handle, and what came of their replays.

use std::collections::BTreeMap;

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Key, Log};

use super::page::{self, Conditions, Page, Place};
use super::rows::DeadLetterRow;
use super::tasks::time;
use crate::database::Row;
use crate::fold::Value;
use crate::{Ledger, LedgerError};

/// Which dead letters. Everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Those that were handled since, too.
    pub include_handled: bool,
    /// Given up with this code.
    pub code: Option<String>,
    /// Given up by this service.
    pub service: Option<String>,
}

impl Ledger {
    /// Messages that could not be handled, the newest failure first; pages as in [`Ledger::list_tasks`].
    pub async fn list_dead_letters(
        &self,
        filter: &DeadLetterFilter,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<Page<DeadLetterRow>, LedgerError> {
        // Place and service as one name that sorts as they do.
        const NAME: &str = "stream || ':' || substr('00000000000000000000', 1, \
             20 - length(CAST(sequence AS TEXT))) || CAST(sequence AS TEXT) || ':' || service";
        let mut conditions = Conditions::default();
        conditions.plain("time IS NOT NULL");
        if !filter.include_handled {
            conditions.plain("handled_at IS NULL");
        }
        conditions.maybe("code = ?", filter.code.as_ref());
        conditions.maybe("service = ?", filter.service.as_ref());
        let list = conditions.name("dead-letters");
        let place = page::place(&list, page_token)?;
        conditions.behind("time", &format!("({NAME})"), place.as_ref());

        let size = page::size(page_size);
        let sql = format!(
            "SELECT * FROM dead_letters {} ORDER BY time DESC, {NAME} DESC LIMIT {}",
            conditions.sql(),
            size + 1
        );
        let rows = self.database().fetch(&sql, conditions.values).await?;
        let letters = rows.iter().map(letter).collect::<Result<Vec<_>, _>>()?;
        let mut page = page::page(&list, letters, size, |letter| Place {
            number: letter.time.map_or(0, Timestamp::as_micros),
            name: format!("{}:{:020}:{}", letter.stream, letter.sequence, letter.service),
        });
        self.count_records(&mut page.items).await?;
        Ok(page)
    }

    /// Who could not handle one message: a row for each service that gave up on it.
    pub async fn dead_letters_at(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Vec<DeadLetterRow>, LedgerError> {
        let sql = "SELECT * FROM dead_letters WHERE stream = $1 AND sequence = $2 AND time IS NOT NULL \
                   ORDER BY service";
        let values = vec![stream.into(), sequence.into()];
        let rows = self.database().fetch(sql, values).await?;
        let mut letters = rows.iter().map(letter).collect::<Result<Vec<_>, _>>()?;
        self.count_records(&mut letters).await?;
        Ok(letters)
    }

    /// How often each was given up and read again, from the events: an event that is applied twice counts
    /// once.
    async fn count_records(&self, letters: &mut [DeadLetterRow]) -> Result<(), LedgerError> {
        if letters.is_empty() {
            return Ok(());
        }
        let keys: Vec<Value> = letters.iter().map(|letter| key(letter).into()).collect();
        let places: Vec<String> = (1..=keys.len()).map(|number| format!("${number}")).collect();
        let sql = format!(
            "SELECT key, event_type, COUNT(*) AS records FROM events \
             WHERE log = '{}' AND key IN ({}) GROUP BY key, event_type",
            Log::DeadLetter.name(),
            places.join(", ")
        );
        let mut records: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for row in &self.database().fetch(&sql, keys).await? {
            let counted = records.entry(row.text("key")?).or_default();
            match row.text("event_type")?.rsplit_once('.').map(|(_, name)| name) {
                Some("DeadLettered") => counted.0 = row.small("records")?,
                Some("DeadLetterReplayed") => counted.1 = row.small("records")?,
                _ => {}
            }
        }
        for letter in letters {
            let (failures, handled) = records.get(&key(letter)).copied().unwrap_or_default();
            letter.failures = failures;
            // The first failure was no replay.
            letter.replays = (failures + handled).saturating_sub(1);
        }
        Ok(())
    }
}

fn key(letter: &DeadLetterRow) -> String {
    Key::dead_letter(&Cause::new(letter.stream.clone(), letter.sequence), &letter.service).to_string()
}

fn letter(row: &Row) -> Result<DeadLetterRow, LedgerError> {
    Ok(DeadLetterRow {
        stream: row.text("stream")?,
        sequence: row.count("sequence")?,
        service: row.text("service")?,
        subject: row.text("subject")?,
        code: row.text("code")?,
        message: row.text("message")?,
        attempts: row.small("attempts")?,
        time: time(row, "time")?,
        failures: 0,
        replays: 0,
        replay_requested_at: time(row, "replay_requested_at")?,
        replay_requested_by: row.text("replay_requested_by")?,
        requested: row.count("requested")?,
        answered: row.count("answered")?,
        handled_at: time(row, "handled_at")?,
    })
}
