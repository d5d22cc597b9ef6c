//! Every event as a Rust type, sorted by log.

use prost::Message as _;
use prost::Name as _;

use crate::catalogue::Log;
use crate::generated::v1;

/// The package that every event's data is a message of.
const PACKAGE: &str = "millrace.events.v1";

/// The events of one log.
pub trait LogEvent: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The log they stand in.
    const LOG: Log;
    /// The event's name, such as `TaskScheduled`.
    fn name(&self) -> &'static str;
    /// As an event of any log.
    fn into_event(self) -> Event;
    /// Back from an event of any log.
    fn from_event(event: Event) -> Option<Self>;
}

macro_rules! events {
    ($($log:ident as $type:ident { $($event:ident),+ $(,)? })+) => {
        $(
            #[doc = concat!("The events of the log `", stringify!($log), "`.")]
            #[derive(Debug, Clone, PartialEq)]
            #[allow(missing_docs, clippy::large_enum_variant, reason = "each variant is documented on its message")]
            pub enum $type { $($event(v1::$event)),+ }

            impl LogEvent for $type {
                const LOG: Log = Log::$log;

                fn name(&self) -> &'static str {
                    match self { $(Self::$event(_) => stringify!($event)),+ }
                }

                fn into_event(self) -> Event {
                    Event::$log(self)
                }

                fn from_event(event: Event) -> Option<Self> {
                    match event { Event::$log(event) => Some(event), _ => None }
                }
            }

            $(
                impl From<v1::$event> for $type {
                    fn from(event: v1::$event) -> Self {
                        Self::$event(event)
                    }
                }

                impl From<v1::$event> for Event {
                    fn from(event: v1::$event) -> Self {
                        Event::$log($type::$event(event))
                    }
                }

                impl prost::Name for v1::$event {
                    const NAME: &'static str = stringify!($event);
                    const PACKAGE: &'static str = PACKAGE;
                }
            )+
        )+

        /// An event of any log.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, clippy::large_enum_variant, reason = "one variant per log; logs are documented on `Log`")]
        pub enum Event { $($log($type)),+ }

        impl Event {
            /// The log it stands in.
            pub const fn log(&self) -> Log {
                match self { $(Self::$log(_) => Log::$log),+ }
            }

            /// Its name, such as `TaskScheduled`.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$log(event) => event.name()),+ }
            }

            /// Its data, encoded.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Self::$log(event) => match event {
                    $($type::$event(event) => event.encode_to_vec()),+
                }),+ }
            }

            /// Reads an event of `log` by its name. `Ok(None)`: no event of this version has that name.
            pub fn decode(log: Log, name: &str, data: &[u8]) -> Result<Option<Self>, prost::DecodeError> {
                match (log, name) {
                    $($((Log::$log, stringify!($event)) => Ok(Some(Self::$log($type::$event(v1::$event::decode(data)?)))),)+)+
                    _ => Ok(None),
                }
            }

            /// Every log and event name of the catalogue.
            pub const CATALOGUE: &[(Log, &str)] = &[$($((Log::$log, stringify!($event))),+),+];

            /// An empty event of that name, for tests that walk the catalogue.
            pub fn empty(log: Log, name: &str) -> Option<Self> {
                Self::decode(log, name, &[]).ok().flatten()
            }
        }
    };
}

events! {
    Intake as IntakeEvent { SpecSubmitted, TaskRequested }
    Operator as OperatorEvent {
        ApprovalGranted, ApprovalDenied, ChangesRequested, CancelRequested, RetryRequested, PauseRequested,
        ResumeRequested, OverrideGranted, PromptBaselineReset, DeadLetterReplayRequested,
    }
    SpecRegistry as SpecRegistryEvent { TaskAllocated, SpecRegistered, SpecRejected }
    Dispatcher as DispatcherEvent {
        TaskScheduled, WorkOrderIssued, WorkOrderExpired, ApprovalRequired, TaskBlocked, TaskPaused,
        TaskResumed, TaskCompleted, TaskFailed, TaskCancelled, TransitionRefused,
    }
    Worker as WorkerEvent {
        WorkOrderAcknowledged, PhaseCompleted, PhaseReverted, ModelCalled, ModelFellBack, ContractViolated,
        ToolCallRefused, PromptDriftDetected, ExecutionCompleted, ExecutionFailed, ExecutionSuspended,
        ChecksCompleted,
    }
    Validator as ValidatorEvent { ValidationPassed, ValidationFailed }
    Deployer as DeployerEvent {
        PullRequestOpened, PullRequestFailed, MergeCompleted, MergeFailed, DeploymentVerified,
        DeploymentFailed, RollbackCompleted, RollbackFailed, StageStopped,
    }
    FailureAnalyzer as FailureAnalyzerEvent { FailureClassified, InsightPublished, PromptVersionPromoted }
    Projector as ProjectorEvent {
        LedgerRegressed, LogDiffers, LogRecovered, LedgerRebuilt, ChainHeadSigned, OverdueNoticed,
    }
    DeadLetter as DeadLetterEvent { DeadLettered, DeadLetterReplayed }
}

impl prost::Name for v1::TimerFired {
    const NAME: &'static str = "TimerFired";
    const PACKAGE: &'static str = PACKAGE;
}

impl Event {
    /// The CloudEvents `type` of an event: `millrace.<service>.v1.<Event>`.
    pub fn type_name(&self) -> String {
        type_name(self.log(), self.name())
    }
}

/// The CloudEvents `type` of the event `name` of `log`.
pub(crate) fn type_name(log: Log, name: &str) -> String {
    format!("{}.{}.v1.{name}", crate::catalogue::NAMESPACE, log.name())
}

/// Splits a CloudEvents `type` into log and event name; `None` when it is of another make or version.
pub(crate) fn parse_type(type_name: &str) -> Option<(Log, &str)> {
    let rest = type_name.strip_prefix(crate::catalogue::NAMESPACE)?.strip_prefix('.')?;
    let (log, rest) = rest.split_once('.')?;
    let name = rest.strip_prefix("v1.")?;
    Some((Log::from_name(log)?, name))
}

/// The type URL of an event's data inside the envelope.
pub(crate) fn type_url(name: &str) -> String {
    format!("type.googleapis.com/{PACKAGE}.{name}")
}

/// The full message name of an event's data.
pub(crate) fn message_name(name: &str) -> String {
    format!("{PACKAGE}.{name}")
}

const _: () = {
    // The names that prost would use for type URLs are the ones we write.
    assert!(v1::TaskScheduled::NAME.len() == "TaskScheduled".len());
};

impl Event {
    /// The task that the event is about, where it carries a reference.
    pub fn task_ref(&self) -> Option<&v1::TaskRef> {
        match self {
            Self::Dispatcher(event) => event.task_ref(),
            Self::Worker(event) => event.task_ref(),
            Self::Validator(event) => event.task_ref(),
            Self::Deployer(event) => event.task_ref(),
            Self::FailureAnalyzer(FailureAnalyzerEvent::FailureClassified(event)) => event.task.as_ref(),
            Self::Intake(_)
            | Self::Operator(_)
            | Self::SpecRegistry(_)
            | Self::FailureAnalyzer(_)
            | Self::Projector(_)
            | Self::DeadLetter(_) => None,
        }
    }
}

macro_rules! task_refs {
    ($($type:ident { $($event:ident),+ $(,)? })+) => {
        $(impl $type {
            /// The task that the event is about.
            pub fn task_ref(&self) -> Option<&v1::TaskRef> {
                match self { $(Self::$event(event) => event.task.as_ref()),+ }
            }
        })+
    };
}

task_refs! {
    DispatcherEvent {
        TaskScheduled, WorkOrderIssued, WorkOrderExpired, ApprovalRequired, TaskBlocked, TaskPaused,
        TaskResumed, TaskCompleted, TaskFailed, TaskCancelled, TransitionRefused,
    }
    WorkerEvent {
        WorkOrderAcknowledged, PhaseCompleted, PhaseReverted, ModelCalled, ModelFellBack, ContractViolated,
        ToolCallRefused, PromptDriftDetected, ExecutionCompleted, ExecutionFailed, ExecutionSuspended,
        ChecksCompleted,
    }
    ValidatorEvent { ValidationPassed, ValidationFailed }
    DeployerEvent {
        PullRequestOpened, PullRequestFailed, MergeCompleted, MergeFailed, DeploymentVerified,
        DeploymentFailed, RollbackCompleted, RollbackFailed, StageStopped,
    }
}

macro_rules! failures {
    ($($log:ident as $type:ident { $($event:ident),+ $(,)? })+) => {
        impl Event {
            /// The failure that the event states, where it states one.
            pub fn failure_mut(&mut self) -> Option<&mut v1::Failure> {
                match self {
                    $($(Self::$log($type::$event(event)) => event.failure.as_mut(),)+)+
                    _ => None,
                }
            }
        }
    };
}

failures! {
    SpecRegistry as SpecRegistryEvent { SpecRejected }
    Dispatcher as DispatcherEvent { WorkOrderExpired, TaskBlocked, TaskFailed, TransitionRefused }
    Worker as WorkerEvent { ToolCallRefused, ExecutionFailed }
    Validator as ValidatorEvent { ValidationFailed }
    Deployer as DeployerEvent {
        PullRequestFailed, MergeFailed, DeploymentFailed, RollbackCompleted, RollbackFailed,
    }
    Projector as ProjectorEvent { LedgerRegressed }
    DeadLetter as DeadLetterEvent { DeadLettered }
}
