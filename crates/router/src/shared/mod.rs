//! What all workers know together: what is spent, what is limited, whether models may be asked at all.
//!
//! Read in this order: [`Shared`] (the port), `account` (money), `meter` (rates and cooldowns), [`Switch`] (the kill
//! switch). [`MemoryShared`] is the port's stand-in.

pub(crate) mod account;
mod memory;
pub(crate) mod meter;
mod switch;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

pub use memory::MemoryShared;
pub use switch::{SWITCH_KEY, Switch};

/// A store of small entries that all workers share, changed by compare-and-swap, with the clock that all go by.
///
/// Keys are tokens separated by dots: `switch`, `day.2026-11-20`, `task.VTID-01213`, `model.claude`.
#[async_trait]
pub trait Shared: Send + Sync {
    /// The entry and its revision, as everybody sees it.
    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, u64)>, SharedError>;
    /// Writes if the entry is still at `revision`; `None`: if there still is none. Whether it was.
    async fn write(&self, key: &str, value: &[u8], revision: Option<u64>) -> Result<bool, SharedError>;
    /// Now, in microseconds since 1970.
    fn now(&self) -> i64;
    /// A word that nobody ever gets again.
    fn ticket(&self) -> String;
}

/// The store did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SharedError {
    /// What failed.
    pub message: String,
    /// Whether it may work later without anybody's doing.
    pub passes: bool,
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Tries against others who change the same entry at the same time: at least one of them succeeds each time.
const MOST_TRIES: u32 = 1000;
/// The longest wait between two of these tries.
const LONGEST_STEP_MS: u32 = 64;

/// Reads an entry; a default where there is none. A store that is away is waited for: the caller bounds that.
pub(crate) async fn look<T: DeserializeOwned + Default>(
    shared: &dyn Shared,
    key: &str,
) -> Result<T, SharedError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match shared.read(key).await {
            Ok(Some((bytes, _))) => return understood(key, &bytes),
            Ok(None) => return Ok(T::default()),
            Err(error) if error.passes => tokio::time::sleep(pause).await,
            Err(error) => return Err(error),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Changes an entry. `change` may be called several times, and says what came of it; `None` leaves the entry alone.
pub(crate) async fn change<T, R>(
    shared: &dyn Shared,
    key: &str,
    mut change: impl FnMut(&mut T) -> (bool, R),
) -> Result<R, SharedError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    loop {
        let tried = attempt(shared, key, &mut change).await;
        match tried {
            Ok(Some(result)) => return Ok(result),
            Ok(None) if tries < MOST_TRIES => {
                tries += 1;
                // Those who meet here part again: each waits for another length.
                let step =
                    1 + (tries.wrapping_mul(7) + length(&shared.ticket())) % LONGEST_STEP_MS.min(4 * tries);
                tokio::time::sleep(Duration::from_millis(u64::from(step))).await;
            }
            Ok(None) => {
                let message =
                    format!("the entry `{key}` changed {MOST_TRIES} times while it was to be written");
                return Err(SharedError { message, passes: false });
            }
            Err(error) if error.passes => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn attempt<T, R>(
    shared: &dyn Shared,
    key: &str,
    change: &mut impl FnMut(&mut T) -> (bool, R),
) -> Result<Option<R>, SharedError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let found = shared.read(key).await?;
    let (mut value, revision) = match &found {
        Some((bytes, revision)) => (understood(key, bytes)?, Some(*revision)),
        None => (T::default(), None),
    };
    let (write, result) = change(&mut value);
    if !write {
        return Ok(Some(result));
    }
    let bytes = serde_json::to_vec(&value)
        .map_err(|error| SharedError { message: format!("`{key}`: {error}"), passes: false })?;
    Ok(shared.write(key, &bytes, revision).await?.then_some(result))
}

fn understood<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, SharedError> {
    serde_json::from_slice(bytes).map_err(|error| SharedError {
        message: format!("the entry `{key}` cannot be read: {error}; it is of another version, or damaged"),
        passes: false,
    })
}

/// A number out of a word.
fn length(ticket: &str) -> u32 {
    ticket.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}
