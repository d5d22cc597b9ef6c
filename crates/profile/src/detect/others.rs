//! Bundler, dotnet and composer.

use super::Found;
use crate::profile::Purpose;
use crate::scan::{Scan, join, parent, topmost};

pub(super) fn find(scan: &Scan<'_>, found: &mut Found) {
    for home in scan.homes("Gemfile") {
        bundler(scan, found, home);
    }
    for home in scan.homes("composer.json") {
        composer(scan, found, home);
    }
    let projects = [".sln", ".slnx", ".csproj", ".fsproj"];
    for home in topmost(projects.iter().flat_map(|ending| scan.ending(ending)).map(parent).collect()) {
        let at_home = |ending: &&str| scan.ending(ending).find(|path| parent(path) == home);
        if let Some(file) = projects.iter().find_map(at_home) {
            dotnet(scan, found, home, file);
        }
    }
}

fn bundler(scan: &Scan<'_>, found: &mut Found, home: &str) {
    let file = join(home, "Gemfile");
    let text = scan.text(&file).unwrap_or_default();
    found.manager("bundler", home, &file, scan.in_directory(home, "Gemfile.lock"));
    found.command(Purpose::Setup, "bundle install", home, &file);
    let rakefile = scan.in_directory(home, "Rakefile");
    if text.contains("rspec") || scan.has(&join(home, ".rspec")) {
        found.runner("rspec", &file);
        found.command(Purpose::Test, "bundle exec rspec", home, &file);
    } else if let Some(rakefile) = rakefile
        && scan.text(&rakefile).is_some_and(|text| text.contains("TestTask"))
    {
        found.runner("rake", &rakefile);
        found.command(Purpose::Test, "bundle exec rake test", home, &rakefile);
    }
    if text.contains("rubocop") {
        found.command(Purpose::Lint, "bundle exec rubocop", home, &file);
    }
    if text.contains("simplecov") {
        found.coverage("simplecov", &file);
    }
    if let Some(path) = scan.in_directory(home, ".ruby-version") {
        let version = scan.text(&path).unwrap_or_default();
        found.toolchain("ruby", version.lines().next().unwrap_or_default(), &path);
    }
}

fn composer(scan: &Scan<'_>, found: &mut Found, home: &str) {
    let file = join(home, "composer.json");
    let manifest = scan.json(&file).unwrap_or_default();
    found.manager("composer", home, &file, scan.in_directory(home, "composer.lock"));
    found.command(Purpose::Setup, "composer install --no-interaction", home, &file);
    let text = |keys: [&str; 2]| manifest.get(keys[0]).and_then(|table| table.get(keys[1]));
    let phpunit = scan.first(home, &["phpunit.xml", "phpunit.xml.dist"]);
    if text(["scripts", "test"]).is_some() {
        found.command(Purpose::Test, "composer run test", home, &file);
    }
    if let Some(config) = phpunit {
        found.runner("phpunit", &config);
        found.command(Purpose::Test, "vendor/bin/phpunit", home, &config);
    }
    if text(["scripts", "lint"]).is_some() {
        found.command(Purpose::Lint, "composer run lint", home, &file);
    } else if let Some(config) = scan.first(home, &["phpstan.neon", "phpstan.neon.dist"]) {
        found.command(Purpose::Lint, "vendor/bin/phpstan analyse", home, &config);
    }
    found.toolchain(
        "php",
        text(["require", "php"]).and_then(|value| value.as_str()).unwrap_or_default(),
        &file,
    );
}

fn dotnet(scan: &Scan<'_>, found: &mut Found, home: &str, file: &str) {
    let lockfile = scan.named("packages.lock.json").find(|path| crate::scan::is_below(path, home));
    found.manager("dotnet", home, file, lockfile.map(str::to_owned));
    let locked = if lockfile.is_some() { " --locked-mode" } else { "" };
    found.command(Purpose::Setup, format!("dotnet restore{locked}"), home, file);
    found.command(Purpose::Build, "dotnet build --no-restore", home, file);
    found.command(Purpose::Test, "dotnet test --no-restore", home, file);
    found.command(Purpose::Format, "dotnet format --verify-no-changes --no-restore", home, file);
    found.runner("dotnet test", file);
    let projects = scan.ending(".csproj").filter(|path| crate::scan::is_below(path, home));
    for project in projects.take(50) {
        if scan.text(project).is_some_and(|text| text.contains("coverlet.collector")) {
            found.coverage("coverlet", project);
        }
    }
    if let Some(path) = scan.in_directory(home, "global.json") {
        let sdk = scan.json(&path).unwrap_or_default();
        let version = sdk.get("sdk").and_then(|sdk| sdk.get("version")).and_then(|version| version.as_str());
        found.toolchain("dotnet", version.unwrap_or_default(), &path);
    }
}
