//! What makes two failures like.

use millrace_events::v1::{Failure, TaskRef};
use millrace_events::{Code, Key, KeyError};

/// A failure, as another log reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// The task and run; for a spec that names no task, its repository and checksum.
    pub task: TaskRef,
    /// What went wrong.
    pub failure: Failure,
}

/// A failure with everything that its group is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// The task and run.
    pub task: TaskRef,
    /// What kind it is. A code that this version cannot read is a fault of Millrace, and says so.
    pub code: Code,
    /// Where it happened.
    pub stage: String,
    /// What the task is about, as its spec says.
    pub domain: String,
    /// The model that worked on it.
    pub model: String,
    /// The version of its prompt.
    pub prompt_version: String,
}

impl Classification {
    /// Classifies a failure; `domain` is what the task's order says.
    pub fn new(reported: &Reported, domain: &str) -> Self {
        let failure = &reported.failure;
        let fact = |name: &str| failure.context.get(name).cloned().unwrap_or_default();
        let stage = if failure.stage.is_empty() { "registered" } else { failure.stage.as_str() };
        Self {
            task: reported.task.clone(),
            code: failure.known_code().unwrap_or(Code::Internal),
            stage: stage.to_owned(),
            domain: domain.to_owned(),
            model: fact("model"),
            prompt_version: fact("prompt_version"),
        }
    }

    /// The key of its group: `group-` and 16 hex digits, the same for like failures for ever.
    pub fn group(&self) -> Result<Key, KeyError> {
        let parts = [self.code.name(), &self.stage, &self.domain, &self.model, &self.prompt_version];
        Key::new(format!("group-{:016x}", fnv_1a(&parts.join("|"))))
    }
}

/// What tells one failure from another: its run, or, before there was a run, the bytes of the spec. So a
/// rejected spec and the task that fails on it are one failure.
pub(super) fn identity(task: &TaskRef) -> String {
    let TaskRef { task: id, repository, spec_checksum, run, attempt, .. } = task;
    if *attempt == 0 { format!("{repository}/{id}@{spec_checksum}") } else { format!("{id}/{run}") }
}

/// FNV-1a, 64 bits.
fn fnv_1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv_1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a("foobar"), 0x8594_4171_f739_67e8);
    }
}
