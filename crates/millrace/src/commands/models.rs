//! `models off`, `on`, `status`, `check`.

use std::sync::Arc;

use millrace_events::Service;
use millrace_events::catalogue::{MODEL_SWITCH_BUCKET, MODEL_USE_BUCKET};
use millrace_router::contracts::Contracts;
use millrace_router::{RECIPE, SWITCH_KEY, Source, Switch, day_of, providers};
use millrace_rpc::status::chain;
use millrace_runtime::broker::{Broker, BrokerError};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::kv::Kv as _;
use millrace_runtime::launch;
use millrace_runtime::permissions::Identity;
use millrace_runtime::settings::Settings;
use millrace_worker::WorkerConfig;
use serde_json::json;

use crate::cli::{ModelsCheck, ModelsCommand, Nats};
use crate::connection::{nats as connect, settings};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output, Tone, printable};

/// Characters of a reason.
const LONGEST_REASON: usize = 2000;

/// `models …`
pub(super) async fn run(command: &ModelsCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        ModelsCommand::Off { reason, nats } => throw(true, reason, nats, output).await,
        ModelsCommand::On { reason, nats } => throw(false, reason, nats, output).await,
        ModelsCommand::Status(nats) => status(nats, output).await,
        ModelsCommand::Check(arguments) => check(arguments, output),
    }
}

/// Both buckets, under the identity of those who publish what operators decide.
async fn buckets(nats: &Nats) -> Result<(Bucket, Bucket, Settings), Failure> {
    let identity = Identity::Service(Service::Query);
    let settings = settings(nats, identity)?;
    let broker: Arc<dyn Broker> = Arc::new(connect(&settings, identity).await?);
    let bucket = |name: &str| Bucket::new(broker.clone(), name);
    Ok((bucket(MODEL_SWITCH_BUCKET), bucket(MODEL_USE_BUCKET), settings))
}

async fn throw(off: bool, reason: &str, nats: &Nats, output: &Output) -> Result<Exit, Failure> {
    let reason = reason.trim();
    if off && reason.is_empty() {
        return Err(Failure::usage("switching all models off needs a reason"));
    }
    if reason.chars().count() > LONGEST_REASON {
        return Err(Failure::usage(format!("the reason has more than {LONGEST_REASON} characters")));
    }
    let (bucket, _, settings) = buckets(nats).await?;
    let switch = Switch {
        off,
        reason: reason.to_owned(),
        by: settings.operator.clone(),
        since: System.now().as_micros(),
    };
    let bytes = serde_json::to_vec(&switch).map_err(|error| Failure::internal(error.to_string()))?;
    bucket.put(SWITCH_KEY, &bytes).await.map_err(failed)?;
    show(&switch, None, output);
    if off {
        output.remark("Calls under way end within 5 seconds. Undo it with: millrace models on");
    }
    Ok(Exit::Ok)
}

async fn status(nats: &Nats, output: &Output) -> Result<Exit, Failure> {
    let (bucket, used, _) = buckets(nats).await?;
    let switch = match bucket.get(SWITCH_KEY).await.map_err(failed)? {
        Some(entry) => serde_json::from_slice(&entry.value).map_err(|error| {
            let message = format!("the switch cannot be read: {error}");
            Failure::new(Exit::Unsuccessful, message, "Throw it again with `millrace models off` or `on`.")
        })?,
        None => Switch::default(),
    };
    let today = day_of(System.now().as_micros());
    let spent = used.get(&format!("day.{today}")).await.map_err(failed)?;
    let spent = spent.and_then(|entry| serde_json::from_slice::<serde_json::Value>(&entry.value).ok());
    let spent = spent.and_then(|balance| balance.get("spent")?.as_u64()).unwrap_or(0);
    show(&switch, Some(spent), output);
    Ok(if switch.off { Exit::Unsuccessful } else { Exit::Ok })
}

fn show(switch: &Switch, spent_micro_usd: Option<u64>, output: &Output) {
    let since =
        (switch.since > 0).then(|| millrace_decider::Timestamp::from_micros(switch.since).to_string());
    if output.is_json() {
        output.json(&json!({
            "models": if switch.off { "off" } else { "on" },
            "since": since,
            "by": switch.by,
            "reason": switch.reason,
            "spent_today_micro_usd": spent_micro_usd,
        }));
        return;
    }
    let (word, tone) = if switch.off { ("off", Tone::Bad) } else { ("on", Tone::Good) };
    let mut line = format!("Models are {}", output.paint(tone, word));
    if let Some(since) = since {
        line.push_str(&format!(" since {since}, by {}", printable(&switch.by)));
    }
    if !switch.reason.is_empty() {
        line.push_str(&format!(": {}", printable(&switch.reason)));
    }
    output.line(line);
    if let Some(micro) = spent_micro_usd {
        output.line(format!("Spent today (UTC): {}.{:06} USD", micro / 1_000_000, micro % 1_000_000));
    }
}

fn check(arguments: &ModelsCheck, output: &Output) -> Result<Exit, Failure> {
    let refused = |message: String| {
        Failure::new(Exit::Unsuccessful, message, "docs/models.md has a whole crew file with every provider.")
    };
    let path = match &arguments.crew {
        Some(path) => path.clone(),
        None => configured(arguments)?,
    };
    let (_, crew) = Source::open(&path).map_err(|error| refused(chain(&error)))?;
    let contracts = Contracts::bundled().map_err(|error| Failure::internal(chain(&error)))?;
    crew.check_contracts(&contracts).map_err(|error| refused(chain(&error)))?;
    let known = providers::all();
    for (name, model) in &crew.models {
        if model.provider != RECIPE && !known.contains_key(model.provider.as_str()) {
            let names: Vec<&str> = known.keys().copied().chain([RECIPE]).collect();
            let message = format!(
                "{}: `models.{name}.provider`: there is no provider `{}`; there are {}",
                crew.file(),
                model.provider,
                names.join(", ")
            );
            return Err(refused(message));
        }
    }
    let roles = crew.roles.iter().map(|(role, config)| {
        let models: Vec<String> = config.candidates.iter().map(|name| described(&crew, name)).collect();
        (role.name(), config.policy.name(), models)
    });
    let roles: Vec<_> = roles.collect();
    let warnings = crew.warnings(day_of(System.now().as_micros()));
    if output.is_json() {
        let roles = roles
            .iter()
            .map(|(role, policy, models)| json!({ "role": role, "policy": policy, "candidates": models }));
        let roles: Vec<_> = roles.collect();
        let file = crew.file();
        output.json(&json!({ "file": file, "sha256": crew.sha256(), "roles": roles, "warnings": warnings }));
        return Ok(Exit::Ok);
    }
    let rows = roles.into_iter().map(|(role, policy, models)| -> [Cell; 3] {
        [role.into(), policy.into(), models.join(", ").into()]
    });
    output.table(["ROLE", "POLICY", "CANDIDATES"], &rows.collect::<Vec<_>>());
    output.remark(format!("{}, sha256 {}", crew.file(), crew.sha256()));
    for warning in warnings {
        output.remark(format!("Warning: {}", printable(&warning)));
    }
    Ok(Exit::Ok)
}

fn described(crew: &millrace_router::Crew, name: &str) -> String {
    crew.models
        .get(name)
        .map_or_else(|| name.to_owned(), |model| format!("{name} ({}/{})", model.provider, model.model_id))
}

/// The crew file of the configuration.
fn configured(arguments: &ModelsCheck) -> Result<std::path::PathBuf, Failure> {
    let arguments = launch::Arguments { config: arguments.config.clone(), print_config: false };
    let unusable = |error: String| Failure::configuration(error, "Correct the configuration.");
    let settings = launch::load(&arguments).map_err(|error| unusable(error.to_string()))?;
    let worker = WorkerConfig::read(&settings).map_err(|error| unusable(error.to_string()))?;
    worker.crew.ok_or_else(|| {
        let message = "the configuration names no crew file: the recipe serves every role";
        Failure::configuration(message, "Give the file, as in `millrace models check crew.yaml`.")
    })
}

fn failed(error: BrokerError) -> Failure {
    let advice = match error {
        BrokerError::Missing { .. } => "Run `millrace bootstrap`.",
        BrokerError::Forbidden { .. } => "Give --seed-file with the seed of the identity `query`.",
        BrokerError::Timeout { .. } | BrokerError::Failed { .. } => "Check that nats-server runs there.",
    };
    Failure::new(Exit::Unreachable, chain(&error), advice)
}
