//! Events of every log, made from the catalogue by reflection: a field that is added to the proto files is
//! filled here without a change. A fact is named by a label, such as `ExecutionFailed 1.2 POLICY_DENIED`:
//! the event, the run and attempt that it is about, and what is peculiar about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use millrace_decider::Timestamp;
use millrace_events::{Code, Event, Log};
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, ReflectMessage as _, Value,
};

/// The one task of the matrix.
pub const TASK: &str = "VTID-01213";
/// Second 0 of every history.
pub const BEGIN: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// Seconds after [`BEGIN`] until which an order may be taken; earlier where it is `late`.
const ACKNOWLEDGE_SECONDS: i64 = 900;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(millrace_events::descriptors()).unwrap());

/// What a fact is about, and what is peculiar about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// The event.
    pub name: String,
    /// Run and attempt; 0.0 names none.
    pub run: u32,
    /// See `run`.
    pub attempt: u32,
    /// The work order: `change` or `check`, and its round. None: what the event is usually about.
    pub order: Option<(bool, u32)>,
    /// The code of its failure.
    pub code: Option<Code>,
    /// `empty`, `odd`, `waiting`, `late`, `early`, `unchecked`, `stay`, `draft`, `elsewhere`, `paused`.
    pub twists: Vec<String>,
}

impl Label {
    /// Reads a label: the event's name, then in any order `<run>.<attempt>`, `change/<round>` or
    /// `check/<round>`, a code, and twists.
    pub fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap().to_owned();
        let mut label = Self { name, run: 1, attempt: 1, order: None, code: None, twists: Vec::new() };
        for word in words {
            if let Some((run, attempt)) = word.split_once('.') {
                (label.run, label.attempt) = (run.parse().unwrap(), attempt.parse().unwrap());
            } else if let Some((kind, round)) = word.split_once('/') {
                label.order = Some((kind == "check", round.parse().unwrap()));
            } else if let Some(code) = Code::from_name(word) {
                label.code = Some(code);
            } else {
                label.twists.push(word.to_owned());
            }
        }
        label
    }

    /// Whether it has that twist.
    pub fn is(&self, twist: &str) -> bool {
        self.twists.iter().any(|found| found == twist)
    }

    /// As the answer of an effect, in what is shown.
    pub fn as_answer(self) -> Self {
        Self { name: format!("?{}", self.name), ..self }
    }

    /// The place that it names.
    pub fn place(&self) -> (u32, u32) {
        (self.run, self.attempt)
    }

    /// The order that it is about: a check where it says so, or where the event is about checks.
    pub fn order_id(&self) -> String {
        let (check, round) = self.order.unwrap_or((self.name == "ChecksCompleted", 1));
        let kind = if check { "check" } else { "change" };
        format!("{TASK}/{}.{}/{kind}/{round}", self.run, self.attempt)
    }

    fn is_check(&self) -> bool {
        self.order.map_or(self.name == "ChecksCompleted", |(check, _)| check)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.name, self.run, self.attempt)?;
        if let Some((check, round)) = self.order {
            write!(f, " {}/{round}", if check { "check" } else { "change" })?;
        }
        if let Some(code) = self.code {
            write!(f, " {}", code.name())?;
        }
        self.twists.iter().try_for_each(|twist| write!(f, " {twist}"))
    }
}

/// The event of `log` that a label names.
pub fn fact(log: Log, label: &Label) -> Event {
    let mut data = Vec::new();
    if !label.is("empty") {
        let descriptor = POOL.get_message_by_name(&format!("millrace.events.v1.{}", label.name)).unwrap();
        let mut message = DynamicMessage::new(descriptor);
        fill(&mut message, label, true);
        message.encode(&mut data).unwrap();
    }
    if label.is("odd") {
        // A field that this version does not know, as a later one may send it: number 1000, three bytes.
        data.extend([0xc2, 0x3e, 3, 1, 2, 3]);
    }
    let event = Event::decode(log, &label.name, &data);
    event.unwrap().unwrap_or_else(|| panic!("no event {} in {}", label.name, log.name()))
}

/// Labels of one event in every place and with everything peculiar that it can have.
pub fn variants(log: Log, name: &str) -> Vec<Label> {
    let label = |rest: &str| Label::parse(&format!("{name} {rest}"));
    let mut labels: Vec<Label> = ["1.1", "1.2", "1.9", "2.1", "9.1", "empty", "odd"].map(label).to_vec();
    let fields = POOL.get_message_by_name(&format!("millrace.events.v1.{name}")).unwrap();
    let has = |field: &str| fields.get_field_by_name(field).is_some();
    for place in ["1.1", "1.2"] {
        let mut add = |rest: &str| labels.push(label(&format!("{place} {rest}")));
        if has("order") || name == "PullRequestOpened" {
            ["change/2", "check/1", "check/2"].into_iter().for_each(&mut add);
        }
        if has("failure") {
            for code in ["POLICY_DENIED", "CANCELLED", "LEASE_LOST", "CONTRACT_VIOLATION", "MERGE_CONFLICT"] {
                add(code);
            }
            if has("kind") {
                ["check/1 COMMAND_FAILED", "check/1 POLICY_DENIED", "check/1 MERGE_CONFLICT"]
                    .into_iter()
                    .for_each(&mut add);
            }
        }
        match name {
            "MergeFailed" => ["PR_BASE_MOVED", "PR_BASE_MOVED stay"].into_iter().for_each(&mut add),
            "PullRequestOpened" => add("unchecked"),
            "TaskScheduled" => ["waiting", "late", "early"].into_iter().for_each(&mut add),
            "WorkOrderIssued" => ["late", "early", "check/1 late"].into_iter().for_each(&mut add),
            _ => {}
        }
    }
    match name {
        "SpecRegistered" => labels.push(label("draft")),
        "SpecSubmitted" | "TaskRequested" => labels.push(label("elsewhere")),
        "SpecRejected" => {
            labels.extend(["SPEC_ID_CONFLICT", "SPEC_NOT_FOUND"].map(|code| label(&format!("1.1 {code}"))));
        }
        _ => {}
    }
    if name == "StageStopped" {
        labels.extend(["1.0", "2.0", "9.0"].map(label));
    }
    if log == Log::Operator && has("run") {
        labels.push(label("0.0"));
    }
    labels
}

fn fill(message: &mut DynamicMessage, label: &Label, is_event: bool) {
    let of = message.descriptor().name().to_owned();
    for field in message.descriptor().fields() {
        if field.is_map() || is_left_out(&of, field.name(), label) {
            continue;
        }
        let value = value(&of, &field, label, is_event);
        message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
    }
}

/// What the real writers leave out: the other half of a choice, and what does not go together.
fn is_left_out(of: &str, field: &str, label: &Label) -> bool {
    match (of, field) {
        ("TaskScheduled", "order") => label.is("waiting"),
        ("TaskScheduled", "waits_for" | "waiting") => !label.is("waiting"),
        ("WorkOrder", "not_before") => !label.is("early"),
        ("WorkOrder", "pull_request" | "checks" | "implementer") => !label.is_check(),
        ("WorkOrder", "previous_failure") => label.attempt < 2,
        ("PullRequestOpened", "checks") => label.is("unchecked"),
        ("Failure", "causes" | "trace_id") => true,
        (_, "spec_content" | "plan_content") => true,
        _ => false,
    }
}

fn value(of: &str, field: &FieldDescriptor, label: &Label, is_event: bool) -> Value {
    let name = field.name();
    match field.kind() {
        Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
            let seconds = match (name, label.is("late")) {
                ("acknowledge_by", true) => 1,
                ("acknowledge_by", false) => ACKNOWLEDGE_SECONDS,
                ("not_before", _) => ACKNOWLEDGE_SECONDS - 1,
                _ => 0,
            };
            let mut time = DynamicMessage::new(inner);
            time.set_field_by_name("seconds", Value::I64(BEGIN.as_micros() / 1_000_000 + seconds));
            Value::Message(time)
        }
        Kind::Message(inner) => {
            let mut message = DynamicMessage::new(inner);
            fill(&mut message, label, false);
            Value::Message(message)
        }
        Kind::Enum(_) if label.is("odd") => Value::EnumNumber(9_999),
        Kind::Enum(values) => Value::EnumNumber(number(&values, label)),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String(text(of, name, label, is_event)),
        Kind::Bytes => Value::Bytes(vec![1, 2, 3].into()),
        Kind::Uint32 => Value::U32(match name {
            "run" => label.run,
            "attempt" => label.attempt,
            _ => 1,
        }),
        Kind::Uint64 => Value::U64(if name == "execution_limit_ms" { 1_800_000 } else { 1 }),
        Kind::Int32 => Value::I32(1),
        Kind::Int64 => Value::I64(1),
        other => panic!("{of}.{name}: no value for {other:?}"),
    }
}

fn number(values: &EnumDescriptor, label: &Label) -> i32 {
    match values.name() {
        "ErrorCode" => label.code.unwrap_or(Code::CommandFailed).to_wire() as i32,
        "WorkOrderKind" if label.is_check() => 2,
        "SpecReadiness" if label.is("draft") => 2,
        "Priority" => 2,
        _ => values.values().map(|value| value.number()).find(|number| *number != 0).unwrap_or(0),
    }
}

fn text(of: &str, name: &str, label: &Label, is_event: bool) -> String {
    match (of, name) {
        ("MergeFailed", "base") if label.is("stay") => String::new(),
        ("MergeFailed", "base") => "moved-base".to_owned(),
        ("WorkOrderIssued", "reason") if label.is("paused") => "offered again after the pause".to_owned(),
        ("WorkOrder", "id") => label.order_id(),
        (_, "order") => label.order_id(),
        (_, "task") => TASK.to_owned(),
        (_, "checksum" | "spec_checksum") => "c0ffee".to_owned(),
        (_, "sha256") => "ab".repeat(32),
        (_, "worker") => "worker-a".to_owned(),
        (_, "instance") => "worker-a-1".to_owned(),
        (_, "implementer") => "worker-b".to_owned(),
        (_, "log") => "worker".to_owned(),
        (_, "stream") => Log::Worker.stream(0),
        (_, "service") => "worker".to_owned(),
        (_, "repository") if label.is("elsewhere") => "other".to_owned(),
        (_, "repository") => "shop".to_owned(),
        (_, "target") => "web".to_owned(),
        (_, "stage") => "executing".to_owned(),
        (_, "outcome") => "succeeded".to_owned(),
        (_, "submission") => "req-1".to_owned(),
        (_, "path") => format!("docs/specs/{TASK}.md"),
        // The base that a verdict or an order is for.
        ("PullRequest" | "ChecksCompleted", "base") => "base".to_owned(),
        _ if is_event => name.to_owned(),
        _ => format!("{of}.{name}"),
    }
}

/// Every event that a log of the catalogue can hold.
pub fn names_of(log: Log) -> Vec<&'static str> {
    Event::CATALOGUE.iter().filter(|(of, _)| *of == log).map(|(_, name)| *name).collect()
}

/// What a text shortens to as the key of a group of like things.
pub fn tally<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    counts
}
