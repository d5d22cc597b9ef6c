//! What the development server says to the person who started it.

use millrace_runtime::settings::Settings;

use super::folder::Folder;
use super::nats_server::NatsServer;

/// Where everything answers.
pub(crate) fn addresses(settings: &Settings, folder: &Folder, server: Option<&NatsServer>) {
    let version = server.map(|server| format!(" (nats-server {})", server.version)).unwrap_or_default();
    say("millrace dev is running");
    say(&format!("  query    http://{}  (gRPC, reflection, /livez, /readyz)", settings.query_listen));
    say(&format!("  nats     {}{version}", settings.nats.url));
    say(&format!("  ledger   {}", settings.database_url.as_deref().unwrap_or("none")));
    say(&format!("  data     {}", folder.path("").display()));
    for repository in &settings.repositories {
        say(&format!("  watches  {} ({}, branch {})", repository.id, repository.url, repository.base_branch));
    }
    if settings.repositories.is_empty() {
        say(
            "  watches  no repository yet: name one in a configuration file (--config, see docs/configuration.md)",
        );
    }
    say("Ctrl-C stops it.");
}

/// A line for the person.
#[expect(clippy::print_stdout, reason = "the development server talks to the person who started it")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Something did not work, but the server goes on.
pub(crate) fn problem(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
