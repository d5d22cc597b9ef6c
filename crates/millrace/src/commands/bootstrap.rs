//! `bootstrap`: streams, consumers and buckets, made and compared.

use millrace_rpc::status::chain;
use millrace_runtime::bootstrap::{Declared, OnDifference, bootstrap};
use millrace_runtime::permissions::Identity;
use serde_json::json;

use crate::cli::Bootstrap;
use crate::connection::{nats, settings};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone};

/// Makes what is missing. Exit code 1 when something stands that is not as declared.
pub(super) async fn run(arguments: &Bootstrap, output: &Output) -> Result<Exit, Failure> {
    let settings = settings(&arguments.nats, Identity::Bootstrap)?;
    let broker = nats(&settings, Identity::Bootstrap).await?;
    let on_difference = if arguments.update { OnDifference::Update } else { OnDifference::Report };
    let report = bootstrap(&broker, &Declared::of(&settings.installation()), on_difference).await.map_err(
        |error| {
            let advice = "Check --seed-file: only the identity `bootstrap` may do this.";
            Failure::new(Exit::Refused, chain(&error), advice)
        },
    )?;
    let differs: Vec<String> = report.differs.iter().map(ToString::to_string).collect();
    if output.is_json() {
        output.json(&json!({
            "created": report.created,
            "unchanged": report.unchanged,
            "updated": report.updated,
            "differs": differs,
        }));
    } else {
        report.created.iter().for_each(|object| output.line(format!("created   {object}")));
        report.updated.iter().for_each(|object| output.line(format!("updated   {object}")));
        differs
            .iter()
            .for_each(|difference| output.line(output.paint(Tone::Bad, format!("differs   {difference}"))));
        output.line(format!(
            "{} created, {} updated, {} as declared, {} different",
            report.created.len(),
            report.updated.len(),
            report.unchanged.len(),
            differs.len()
        ));
    }
    if !differs.is_empty() {
        output.remark("Change what stands with --update, after reading what differs.");
        return Ok(Exit::Unsuccessful);
    }
    Ok(Exit::Ok)
}
