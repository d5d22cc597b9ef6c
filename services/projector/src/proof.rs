//! Streams of which a loss was found are compared with the ledger as a whole before they are followed again:
//! a page at a time, so that no other stream waits for it.

use millrace_ledger::{Extent, Walk};

use crate::adapters::BrokerReader;
use crate::domain::Lost;
use crate::effects::ReadFailure;
use crate::loss::Confirmed;
use crate::projection::Projector;

/// Events that are compared at a time.
const PAGE: usize = 200;

/// How far a stream is proven.
pub(crate) struct Proof {
    /// Where it was found damaged: looked at before anything else, since it rarely mends by itself.
    bad: Option<u64>,
    walk: Walk,
}

/// What a look has shown.
pub(crate) enum Look {
    /// All is there.
    Whole,
    /// Something is lost.
    Lost(Lost),
    /// Nothing more is known to be lost, and not all has been compared.
    Unproven,
    /// The server says that there is no such stream.
    Gone,
}

impl Proof {
    /// Nothing is proven yet; `bad`: a sequence that is known to be damaged.
    pub(crate) fn new(stream: &str, bad: Option<u64>) -> Self {
        Self { bad, walk: Walk::new(stream) }
    }

    fn begin_again(&mut self, bad: Option<u64>) {
        *self = Self::new(self.walk.stream(), bad);
    }
}

impl Projector {
    /// Takes a proof further, by as many events as are `left` for this sweep.
    pub(crate) async fn prove(&self, proof: &mut Proof, left: &mut usize) -> Result<Look, ReadFailure> {
        let stream = proof.walk.stream().to_owned();
        if let Some(lost) = self.look_at_end(&stream).await? {
            proof.begin_again(proof.bad);
            return Ok(Look::Lost(lost));
        }
        if let Some(sequence) = proof.bad {
            if let Confirmed::Lost(lost) = self.confirm(&stream, sequence).await? {
                return Ok(Look::Lost(lost));
            }
            proof.begin_again(None);
        }
        let reader = BrokerReader::new(self.broker.clone());
        let state = self.broker.stream_state(&stream).await?;
        let extent = Extent { first: state.first, last: state.last };
        while *left > 0 {
            let before = proof.walk.after();
            let step = proof.walk.step(&self.ledger, &reader, extent, PAGE.min(*left), u64::MAX).await?;
            if let Some(difference) = step {
                return Ok(match self.confirm(&stream, difference.sequence).await? {
                    Confirmed::Lost(lost) => {
                        proof.begin_again(Some(difference.sequence));
                        Look::Lost(lost)
                    }
                    // The scan says so.
                    Confirmed::LedgerChanged => Look::Whole,
                    Confirmed::Nothing => Look::Unproven,
                });
            }
            if proof.walk.after() == before {
                return Ok(Look::Whole);
            }
            *left = left.saturating_sub(usize::try_from(proof.walk.after() - before).unwrap_or(*left));
        }
        Ok(Look::Unproven)
    }
}
