//! The spec-registry's log: which specs are known.

use millrace_events::SpecRegistryEvent;
use millrace_events::v1::{SpecReadiness, SpecRegistered, SpecSource, TaskRef};

use super::change::{Change, Fact, Merge, Table};
use super::failure;
use super::stage::Stage;

pub(super) fn fold(fact: &Fact<'_>, event: &SpecRegistryEvent) -> Vec<Change> {
    match event {
        SpecRegistryEvent::TaskAllocated(_) => Vec::new(),
        SpecRegistryEvent::SpecRegistered(event) => registered(fact, event),
        SpecRegistryEvent::SpecRejected(event) => {
            let task = TaskRef {
                task: event.task.clone(),
                repository: event.repository.clone(),
                ..TaskRef::default()
            };
            failure::row(fact, Some(&task), event.failure.as_ref()).into_iter().collect()
        }
    }
}

fn registered(fact: &Fact<'_>, event: &SpecRegistered) -> Vec<Change> {
    let task = TaskRef { task: event.task.clone(), ..TaskRef::default() };
    let spec = event.spec.clone().unwrap_or_default();
    let version = Table::Specs
        .row(vec![(&event.task).into(), event.version.into()])
        .set("checksum", &event.checksum)
        .set("repository", &event.repository)
        .set("path", &event.path)
        .set("commit_sha", &event.commit)
        .set("source", source(event.source()))
        .set("submitted_by", &event.submitted_by)
        .set("submission", &event.submission)
        .set("title", &event.title)
        .set("summary", &event.summary)
        .set("format", &event.format)
        .set("domain", &event.domain)
        .set("target", &event.target)
        .set("readiness", readiness(event.readiness()))
        .set("acceptance_criteria", event.acceptance_criteria)
        .set("warnings", event.warnings.len() as u64)
        .set("spec_sha256", &spec.sha256)
        .set("spec_size", spec.size)
        .set("plan_sha256", event.plan.as_ref().map_or("", |plan| plan.sha256.as_str()))
        .set("registered_at", fact.time);
    let row = Table::Tasks
        .row(vec![(&event.task).into()])
        .set("title", &event.title)
        .set("domain", &event.domain)
        .set("spec_path", &event.path)
        .set("latest_spec_version", event.version)
        .merge("repository", Merge::Max, &event.repository)
        .merge("created_at", Merge::Min, fact.time);
    vec![version.done(), row.done(), Stage::Registered.reached(fact, &task)]
}

fn source(source: SpecSource) -> &'static str {
    match source {
        SpecSource::Unspecified => "",
        SpecSource::Git => "git",
        SpecSource::Intake => "intake",
        SpecSource::Ledger => "ledger",
        SpecSource::Manual => "manual",
    }
}

fn readiness(readiness: SpecReadiness) -> &'static str {
    match readiness {
        SpecReadiness::Unspecified => "",
        SpecReadiness::Ready => "ready",
        SpecReadiness::Draft => "draft",
        SpecReadiness::Done => "done",
    }
}
