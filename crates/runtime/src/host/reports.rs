//! What an effect says on its way, before it is done.

use tokio::sync::{mpsc, oneshot};

/// Reports that wait to be decided before the one who reports has to wait.
const WAITING: usize = 16;

/// Takes what an effect reports while it works. Each report is an input: it is decided under the effect's key, in
/// the order in which it came, and what is decided is appended before the effect goes on.
#[derive(Debug, Clone)]
pub struct Reports<I> {
    sender: mpsc::Sender<Report<I>>,
}

/// An input on its way to the decider.
#[derive(Debug)]
pub(super) struct Report<I> {
    pub(super) input: I,
    /// Told when it is decided and stored.
    pub(super) done: oneshot::Sender<()>,
}

/// The report was not recorded: the host is ending, or cannot store it; its log says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a report was not recorded: the service is ending, or cannot store it")]
pub struct NotRecorded;

impl<I> Reports<I> {
    pub(super) fn channel() -> (Self, mpsc::Receiver<Report<I>>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, receiver)
    }

    /// Where nobody listens: outside a host. What is reported is not recorded.
    #[must_use]
    pub fn unheard() -> Self {
        Self::channel().0
    }

    /// Reports, and returns when it was decided and what came of that is stored. An outage of NATS is waited out.
    ///
    /// # Errors
    /// See [`NotRecorded`]. It may have been stored all the same.
    pub async fn report(&self, input: I) -> Result<(), NotRecorded> {
        let (done, decided) = oneshot::channel();
        self.sender.send(Report { input, done }).await.map_err(|_ended| NotRecorded)?;
        decided.await.map_err(|_ended| NotRecorded)
    }
}
