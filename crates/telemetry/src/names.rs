//! Names of spans, attributes and metrics, each once. Dots are the OpenTelemetry registry's (messaging 1.44,
//! generative AI 1.41, CI/CD and VCS 1.44); what is ours begins with `millrace.`.
//!
//! In a span macro a constant stands in braces: `info_span!("process", { attribute::TASK_ID } = %task)`.

/// Names of spans.
pub mod span {
    /// A decision changed the status of a task.
    pub const STATE_TRANSITION: &str = "agent.state.transition";
    /// The validator looked at a pull request and gave its verdict.
    pub const VERIFY: &str = "agent.verify";
    /// A rule of the process was broken: a refused transition, a contract, a tool out of its phase.
    pub const PROCESS_VIOLATION: &str = "process.violation";

    /// The name of a messaging span, `<operation> <destination template>`. The template and not the
    /// subject, which carries a task id and would give each task names of its own.
    #[must_use]
    pub fn messaging(operation: &str, destination_template: impl std::fmt::Display) -> String {
        format!("{operation} {destination_template}")
    }

    /// The name of a model call's span, `<operation> <model>`, for example `chat gpt-5.4`.
    #[must_use]
    pub fn model_call(operation: &str, model: &str) -> String {
        format!("{operation} {model}")
    }
}

/// Metrics.
pub mod metric {
    /// A metric: its name, its unit (UCUM), and what it counts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Definition {
        /// As the collector stores it.
        pub name: &'static str,
        /// `{message}` for a count of messages, `s` for seconds.
        pub unit: &'static str,
        /// One sentence.
        pub description: &'static str,
    }

    const fn of(name: &'static str, unit: &'static str, description: &'static str) -> Definition {
        Definition { name, unit, description }
    }

    /// Messages that a service took from a stream, redelivered ones each time.
    pub const CONSUMED: Definition =
        of("messaging.client.consumed.messages", "{message}", "Messages taken from a stream");
    /// Events that a service appended to its log.
    pub const SENT: Definition =
        of("messaging.client.sent.messages", "{message}", "Events appended to the service's own log");
    /// From a message's turn to its answer, effects included.
    pub const PROCESS_DURATION: Definition =
        of("messaging.process.duration", "s", "From a message's turn to its answer");
    /// Claims that another process made first.
    pub const CLAIM_CONFLICTS: Definition =
        of("millrace.claim.conflicts", "{claim}", "Work orders that another process claimed first");
    /// Crew files that had changed and could not be used.
    pub const CREW_RELOADS_FAILED: Definition =
        of("millrace.crew.reloads.failed", "{file}", "Crew files that had changed and could not be used");
    /// Prompts that were not their baseline. Named by S4-CI6.
    pub const PROMPT_DRIFT: Definition =
        of("prompt_drift_detected", "{prompt}", "Prompts that were not their baseline");
    /// Appends that another writer of the same key was faster with.
    pub const APPEND_CONFLICTS: Definition =
        of("millrace.append.conflicts", "{event}", "Appends that another writer of the key was faster with");
    /// Inputs that the state does not allow.
    pub const REFUSED: Definition =
        of("millrace.transition.refused", "{message}", "Inputs that the state did not allow");
    /// Messages that could not be handled, each time.
    pub const DEAD_LETTERS: Definition =
        of("millrace.dead_letters", "{message}", "Messages that could not be handled");
    /// Dead letters that were read again and handled.
    pub const REPLAYED: Definition =
        of("millrace.dead_letters.replayed", "{message}", "Dead letters that were read again and handled");
    /// Events of a type or version that this build does not know.
    pub const SKIPPED: Definition =
        of("millrace.messages.skipped", "{message}", "Events of a type that this version does not know");
    /// Messages that came too early and were handed back.
    pub const HELD: Definition =
        of("millrace.messages.held", "{message}", "Messages that came too early and were handed back");
    /// Messages that came again because the broker had no answer.
    pub const REDELIVERED: Definition =
        of("millrace.messages.redelivered", "{message}", "Messages that were delivered before");
}

/// Values that the registry fixes for some attributes.
pub mod value {
    /// [`super::attribute::MESSAGING_SYSTEM`]; not in the registry's list, which allows own values.
    pub const NATS: &str = "nats";
    /// Operation name and type of an append; span kind `producer`.
    pub const SEND: &str = "send";
    /// Operation name and type of handling one message; span kind `consumer`.
    pub const PROCESS: &str = "process";
}

/// Names of attributes.
pub mod attribute {
    /// The service whose span this is, also where several share a process.
    pub const MILLRACE_SERVICE: &str = "millrace.service";
    /// `VTID-01213`.
    pub const TASK_ID: &str = "millrace.task.id";
    /// The number of the run, from 1.
    pub const TASK_RUN: &str = "millrace.task.run";
    /// The number of the attempt in its run, from 1.
    pub const TASK_ATTEMPT: &str = "millrace.task.attempt";
    /// The configured repository's id.
    pub const REPOSITORY_ID: &str = "millrace.repository.id";
    /// The type of an event.
    pub const EVENT_TYPE: &str = "millrace.event.type";
    /// Status after a transition.
    pub const STATUS_TO: &str = "millrace.status.to";
    /// An error code of the catalogue, or the class of another error.
    pub const ERROR_TYPE: &str = "error.type";

    /// Always [`super::value::NATS`].
    pub const MESSAGING_SYSTEM: &str = "messaging.system";
    /// One of [`super::value`].
    pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
    /// One of [`super::value`].
    pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
    /// The subject with the key left open.
    pub const MESSAGING_DESTINATION_TEMPLATE: &str = "messaging.destination.template";
    /// The durable consumer.
    pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
    /// The event's id.
    pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
    /// The task's id: what belongs together.
    pub const MESSAGING_CONVERSATION_ID: &str = "messaging.message.conversation_id";
    /// The message's sequence in its stream.
    pub const MESSAGING_STREAM_SEQUENCE: &str = "messaging.nats.stream.sequence";

    /// Task and run.
    pub const CICD_PIPELINE_RUN_ID: &str = "cicd.pipeline.run.id";
    /// `success`, `failure`, `timeout`, `cancellation`, `error`.
    pub const CICD_PIPELINE_RESULT: &str = "cicd.pipeline.result";
    /// The pull request's number.
    pub const VCS_CHANGE_ID: &str = "vcs.change.id";
    /// The commit that is looked at.
    pub const VCS_REF_HEAD_REVISION: &str = "vcs.ref.head.revision";

    /// `chat`, …
    pub const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
    /// `openai`, `anthropic`, …
    pub const GEN_AI_PROVIDER_NAME: &str = "gen_ai.provider.name";
    /// The model that was asked for.
    pub const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
    /// Tokens read, the cached ones among them.
    pub const GEN_AI_USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    /// Tokens written, the reasoning ones among them.
    pub const GEN_AI_USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";

    /// Tells the processes of one service apart, whose counts would be one series else.
    pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
    /// The version of this build.
    pub const SERVICE_VERSION: &str = "service.version";
    /// The installation's one environment value.
    pub const DEPLOYMENT_ENVIRONMENT_NAME: &str = "deployment.environment.name";
}
