//! What is counted of the process. S4-CI6, S4-SP2.

use millrace_events::Code;
use millrace_telemetry::metrics::Counter;
use millrace_telemetry::names::attribute;
use millrace_telemetry::names::metric::Definition;

use crate::process::{Refusal, Refused};

const SKIPS: Definition = Definition {
    name: "phase_skips_attempted",
    unit: "{phase}",
    description: "Phases that were to begin before the ones ahead of them were done",
};
const VALIDATIONS: Definition = Definition {
    name: "phase_validations_failed",
    unit: "{phase}",
    description: "Phases whose evidence did not count",
};
const BACKTRACKS: Definition =
    Definition { name: "phase_backtracks", unit: "{step}", description: "Steps back to an earlier phase" };
const GATES: Definition = Definition {
    name: "evidence_gate_failed",
    unit: "{artifact}",
    description: "Artifacts that were missing, empty, malformed or stale",
};
const TOOLS: Definition = Definition {
    name: "millrace.tool_calls.refused",
    unit: "{call}",
    description: "Tool calls that the phase or the persona does not allow",
};

/// A phase that could not begin.
pub(super) fn skip(refusal: &Refusal) {
    add_one(&SKIPS, refusal.code());
}

/// Evidence that did not count.
pub(super) fn evidence(refusal: &Refusal) {
    add_one(&VALIDATIONS, refusal.code());
    if !matches!(refusal.refused, Refused::OutOfOrder(_)) {
        add_one(&GATES, refusal.code());
    }
}

/// A step back.
pub(super) fn step_back(code: Code) {
    add_one(&BACKTRACKS, code);
}

/// A refused tool call.
pub(super) fn tool_call(code: Code) {
    add_one(&TOOLS, code);
}

fn add_one(definition: &Definition, code: Code) {
    Counter::new(definition, &[(attribute::ERROR_TYPE, code.name())]).add_one();
}
