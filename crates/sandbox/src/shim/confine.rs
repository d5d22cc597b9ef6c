//! Limits, Landlock and system call filters on this very process, in this order; all of them last over exec.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::orders::{Landlock, Orders, Sockets};
use super::syscalls;

/// Files, TCP, signals and abstract sockets (Linux 6.12).
const ABI_ASKED: ABI = ABI::V6;

/// Restricts this process for good.
pub(crate) fn apply(orders: &Orders) -> Result<(), String> {
    limit(orders).map_err(|error| format!("its limits cannot be set: {error}"))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs cannot be set: {error}"))?;
    restrict_files(orders).map_err(|error| format!("Landlock: {error}"))?;
    syscalls::deny(orders.sockets).map_err(|error| format!("seccomp: {error}"))
}

fn limit(orders: &Orders) -> rustix::io::Result<()> {
    for (resource, bound) in [
        (Resource::Core, 0),
        (Resource::Cpu, orders.cpu_seconds),
        (Resource::Fsize, orders.file_size_bytes),
        (Resource::Nofile, orders.open_files),
        (Resource::Nproc, orders.processes),
        (Resource::As, orders.memory_bytes),
    ] {
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })?;
    }
    Ok(())
}

fn restrict_files(orders: &Orders) -> Result<(), landlock::RulesetError> {
    let compatibility = match orders.landlock {
        Landlock::Required => CompatLevel::HardRequirement,
        Landlock::AsFarAsPossible => CompatLevel::BestEffort,
    };
    let all = AccessFs::from_all(ABI_ASKED);
    let mut rules = Ruleset::default().set_compatibility(compatibility).handle_access(all)?;
    if orders.sockets != Sockets::Loopback {
        rules = rules.handle_access(AccessNet::from_all(ABI_ASKED))?;
    }
    rules
        .scope(Scope::from_all(ABI_ASKED))?
        .create()?
        .add_rules(path_beneath_rules(&orders.read, AccessFs::from_read(ABI_ASKED)))?
        .add_rules(path_beneath_rules(&orders.write, all))?
        .restrict_self()
        .map(drop)
}
