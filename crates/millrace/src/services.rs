//! The eight services, each with what it takes to run it.

use clap::ValueEnum;
use millrace_events::Service;
use millrace_runtime::launch::Entry;

/// All services, in the order of a task's way.
pub(crate) const ALL: [Entry; 8] = [
    Entry {
        service: Service::SpecRegistry,
        check: millrace_spec_registry::check,
        run: |context| Box::pin(millrace_spec_registry::run(context)),
    },
    Entry {
        service: Service::Dispatcher,
        check: millrace_dispatcher::check,
        run: |context| Box::pin(millrace_dispatcher::run(context)),
    },
    Entry {
        service: Service::Worker,
        check: millrace_worker::check,
        run: |context| Box::pin(millrace_worker::run(context)),
    },
    Entry {
        service: Service::Validator,
        check: millrace_validator::check,
        run: |context| Box::pin(millrace_validator::run(context)),
    },
    Entry {
        service: Service::Deployer,
        check: millrace_deployer::check,
        run: |context| Box::pin(millrace_deployer::run(context)),
    },
    Entry {
        service: Service::FailureAnalyzer,
        check: millrace_failure_analyzer::check,
        run: |context| Box::pin(millrace_failure_analyzer::run(context)),
    },
    Entry {
        service: Service::Projector,
        check: millrace_projector::check,
        run: |context| Box::pin(millrace_projector::run(context)),
    },
    Entry {
        service: Service::Query,
        check: millrace_query::check,
        run: |context| Box::pin(millrace_query::run(context)),
    },
];

/// The services by name, for the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Knows the specs.
    SpecRegistry,
    /// Owns the life cycle.
    Dispatcher,
    /// Does the work.
    Worker,
    /// Judges pull requests.
    Validator,
    /// Writes to forges and targets.
    Deployer,
    /// Groups failures.
    FailureAnalyzer,
    /// Writes the ledger.
    Projector,
    /// Answers questions.
    Query,
}

impl Name {
    /// What it takes to run it.
    pub(crate) fn entry(self) -> Entry {
        let [registry, dispatcher, worker, validator, deployer, analyzer, projector, query] = ALL;
        match self {
            Self::SpecRegistry => registry,
            Self::Dispatcher => dispatcher,
            Self::Worker => worker,
            Self::Validator => validator,
            Self::Deployer => deployer,
            Self::FailureAnalyzer => analyzer,
            Self::Projector => projector,
            Self::Query => query,
        }
    }
}
