//! What an effect may know and use besides its own description.

use millrace_decider::{Cause, Timestamp};
use millrace_events::Key;
use tokio_util::sync::CancellationToken;

/// The circumstances of an effect.
#[derive(Debug, Clone)]
pub struct EffectContext {
    /// The key it is due under.
    pub key: Key,
    /// The log message that made it due.
    pub cause: Cause,
    /// When it was started.
    pub now: Timestamp,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Cancelled when the service stops; a long effect should end then and leave the rest to redelivery.
    pub stop: CancellationToken,
}
