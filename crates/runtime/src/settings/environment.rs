//! The environment variables that are read, each with the setting it sets.

/// An environment variable and the setting that it overrides.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The setting's path in the TOML file.
    pub path: &'static str,
    /// How its text is read.
    pub kind: Kind,
}

/// How a variable's text becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it stands.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
}

const fn text(name: &'static str, path: &'static str) -> Variable {
    Variable { name, path, kind: Kind::Text }
}

const fn number(name: &'static str, path: &'static str) -> Variable {
    Variable { name, path, kind: Kind::Number }
}

/// Every variable that changes a setting.
pub const ENVIRONMENT: &[Variable] = &[
    text("MILLRACE_ENVIRONMENT", "environment"),
    text("MILLRACE_OPERATOR", "operator"),
    text("MILLRACE_NATS_URL", "nats.url"),
    text("MILLRACE_NATS_SEED_FILE", "nats.seed_file"),
    number("MILLRACE_NATS_PARTITIONS", "nats.partitions"),
    number("MILLRACE_NATS_REPLICAS", "nats.replicas"),
    text("MILLRACE_NATS_ACK_WAIT", "nats.ack_wait"),
    number("MILLRACE_NATS_MAX_ACK_PENDING", "nats.max_ack_pending"),
    text("MILLRACE_DATABASE_URL", "database_url"),
    text("MILLRACE_QUERY_LISTEN", "query_listen"),
    text("MILLRACE_HEALTH_LISTEN", "health_listen"),
    text("MILLRACE_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    text("MILLRACE_LOG_FORMAT", "telemetry.log_format"),
    text("MILLRACE_LOG", "telemetry.log"),
    text("MILLRACE_LIMITS_ACKNOWLEDGE", "limits.acknowledge"),
    number("MILLRACE_LIMITS_DISPATCH_ATTEMPTS", "limits.dispatch_attempts"),
    text("MILLRACE_LIMITS_DISPATCH_BACKOFF", "limits.dispatch_backoff"),
    text("MILLRACE_LIMITS_LEASE", "limits.lease"),
    text("MILLRACE_LIMITS_LEASE_RENEWAL", "limits.lease_renewal"),
    text("MILLRACE_LIMITS_EXECUTION", "limits.execution"),
    number("MILLRACE_LIMITS_CONTRACT_RETRIES", "limits.contract_retries"),
    number("MILLRACE_LIMITS_ATTEMPTS", "limits.attempts"),
    text("MILLRACE_LIMITS_PR_GRACE", "limits.pr_grace"),
    text("MILLRACE_LIMITS_CHECKS_WAIT", "limits.checks_wait"),
    text("MILLRACE_LIMITS_VALIDATION", "limits.validation"),
    text("MILLRACE_LIMITS_DEPLOYMENT", "limits.deployment"),
    text("MILLRACE_LIMITS_SPEC_SYNC", "limits.spec_sync"),
    text("MILLRACE_LIMITS_WATCHDOG", "limits.watchdog"),
    text("MILLRACE_LIMITS_OVERDUE", "limits.overdue"),
    text("MILLRACE_LIMITS_GRACE", "limits.grace"),
    number("MILLRACE_DISPATCH_OPEN_OFFERS", "dispatch.open_offers"),
    number("MILLRACE_DISPATCH_WAITING", "dispatch.waiting"),
    text("MILLRACE_DISPATCH_AGING", "dispatch.aging"),
    text("MILLRACE_WORKER_ID", "worker.id"),
    number("MILLRACE_WORKER_SLOTS", "worker.slots"),
    text("MILLRACE_WORKER_DIRECTORY", "worker.directory"),
    text("MILLRACE_WORKER_SANDBOX_MODE", "worker.sandbox.mode"),
    Variable { name: "MILLRACE_WORKER_RECIPE", path: "worker.recipe", kind: Kind::Switch },
    text("MILLRACE_DEPLOYER_DIRECTORY", "deployer.directory"),
    text("MILLRACE_SPEC_REGISTRY_DIRECTORY", "spec_registry.directory"),
];

/// Variables of the prefix that are for the command line or the tests, not settings.
pub(super) const NOT_SETTINGS: &[&str] = &[
    "MILLRACE_CONFIG",
    "MILLRACE_SERVER",
    "MILLRACE_NATS_SERVER",
    "MILLRACE_REGENERATE",
    #[cfg(debug_assertions)]
    "MILLRACE_CRASH_POINT",
];
