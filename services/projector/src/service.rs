//! The projector as the runtime starts it.

use millrace_ledger::Ledger;
use millrace_runtime::bootstrap::Declared;
use millrace_runtime::service::{ServiceContext, ServiceError};
use millrace_runtime::settings::{Settings, SettingsError};

use crate::{Options, Projector, Status};

/// Whether the projector can run with these settings: it needs a ledger.
pub fn check(settings: &Settings) -> Result<(), SettingsError> {
    Settings::required(settings.database_url.as_ref(), "database_url").map(|_| ())
}

/// Writes the ledger until the order to stop. The schema must be there: `millrace ledger migrate`.
pub async fn run(context: ServiceContext) -> Result<(), ServiceError> {
    let settings = context.settings.clone();
    let url = Settings::required(settings.database_url.as_ref(), "database_url")?;
    context.health.set_ready("ledger", false, "opening");
    let ledger = Ledger::open(url)
        .await
        .map_err(|error| ServiceError::failed("the ledger cannot be opened", error))?;
    ledger.check_schema().await.map_err(|error| {
        ServiceError::failed(
            "the ledger's schema is not that of this version; run `millrace ledger migrate`",
            error,
        )
    })?;
    let options = Options {
        partitions: settings.nats.partitions,
        overdue_after: settings.limits.overdue,
        sweep_every: settings.limits.watchdog,
        declared: Declared::of(&settings.installation()),
        ..Options::default()
    };
    let projector = Projector::new(context.broker.clone(), context.clock.clone(), ledger, options);
    let mut status = projector.status();
    let report = async {
        loop {
            let now = status.borrow_and_update().clone();
            context.health.set_ready("ledger", now.is_healthy(), reason(&now));
            context.health.set_ready("consumers", true, crowds(&now));
            if status.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        ended = projector.run(context.stop.clone()) => {
            ended.map_err(|error| ServiceError::failed("the projector ended", error))
        }
        () = report => Ok(()),
    }
}

/// Not a reason to be unready: the projector can do nothing about it.
fn crowds(status: &Status) -> String {
    if status.crowded.is_empty() {
        return "have room".to_owned();
    }
    let crowds = status.crowded.iter().map(|(consumer, held)| format!("{consumer} {held} deliveries"));
    crowds.collect::<Vec<_>>().join("; ")
}

fn reason(status: &Status) -> String {
    if status.is_healthy() {
        return "open".to_owned();
    }
    let problems = status.problems.iter().map(|(part, problem)| format!("{part}: {problem}"));
    let lost = status.regressed.iter().map(|stream| format!("{stream} has lost events and is not followed"));
    problems.chain(lost).collect::<Vec<_>>().join("; ")
}
