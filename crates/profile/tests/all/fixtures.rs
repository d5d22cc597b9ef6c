//! Repositories and the profiles that they must have.

use std::path::{Path, PathBuf};

use millrace_profile::{GapKind, Profile, Purpose, detect};

const FIXTURES: [&str; 5] =
    ["rust-workspace", "python-service", "typescript-monorepo", "go-service", "shell-mixed"];

pub(crate) fn all() -> Vec<(String, PathBuf)> {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixture = |name: &str| (name.to_owned(), crate_root.join("tests/fixtures").join(name));
    let storefront = ("storefront".to_owned(), crate_root.join("../../examples/storefront"));
    FIXTURES.into_iter().map(fixture).chain([storefront]).collect()
}

pub(crate) fn profile(name: &str) -> Profile {
    let (_, root) = all().into_iter().find(|(found, _)| found == name).unwrap();
    detect(&root).unwrap()
}

/// S4-D1: five repositories and the example, each with the profile that it must have. `MILLRACE_REGENERATE=1`
/// writes the files anew, to be read before they are committed.
#[test]
fn s4_d1_each_fixture_has_its_expected_profile() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, root) in all() {
        let found = detect(&root).unwrap().to_yaml().unwrap();
        let file = golden.join(format!("{name}.profile.yaml"));
        if std::env::var_os("MILLRACE_REGENERATE").is_some() {
            std::fs::create_dir_all(&golden).unwrap();
            std::fs::write(&file, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_finding_names_a_file_that_is_there() {
    for (name, root) in all() {
        let profile = detect(&root).unwrap();
        let named = profile.languages.iter().map(|found| &found.file);
        let named = named.chain(profile.package_managers.iter().map(|found| &found.file));
        let named = named.chain(profile.package_managers.iter().filter_map(|found| found.lockfile.as_ref()));
        let named = named.chain(profile.toolchains.iter().map(|found| &found.file));
        let named = named.chain(profile.packages.iter().map(|found| &found.file));
        let named = named.chain(profile.commands.iter().map(|found| &found.file));
        let named = named.chain(profile.test_runners.iter().map(|found| &found.file));
        let named = named.chain(profile.coverage_tools.iter().map(|found| &found.file));
        let named = named.chain(profile.ci.iter().map(|found| &found.file));
        let named = named.chain(profile.diff_limit.file.iter());
        for file in named.chain(profile.owners.iter().map(|owners| &owners.file)) {
            assert!(root.join(file).is_file(), "{name}: {file}");
        }
    }
}

#[test]
fn the_profile_selects_commands_and_gates() {
    let selected = |name: &str, purpose| {
        let commands = profile(name).commands();
        commands.of(purpose).map(|found| found.command.clone()).collect::<Vec<_>>()
    };
    assert_eq!(selected("rust-workspace", Purpose::Setup), ["cargo fetch --locked"]);
    assert_eq!(selected("rust-workspace", Purpose::Test), ["cargo test --workspace --locked"]);
    assert_eq!(selected("python-service", Purpose::Setup), ["uv sync --frozen --all-groups"], "settings win");
    assert_eq!(selected("python-service", Purpose::Test), ["uv run pytest"]);
    assert_eq!(selected("typescript-monorepo", Purpose::Setup), ["pnpm install --frozen-lockfile"]);
    assert_eq!(selected("typescript-monorepo", Purpose::Coverage), ["pnpm run coverage"]);
    assert_eq!(selected("go-service", Purpose::Lint), ["golangci-lint run"]);
    assert_eq!(selected("shell-mixed", Purpose::Test), ["make test"]);
    let gates =
        |name: &str| profile(name).commands().gates.into_iter().map(|gate| gate.name).collect::<Vec<_>>();
    assert_eq!(gates("python-service"), ["unit", "lint"], "its own checks, in their order");
    assert_eq!(gates("go-service"), ["build", "lint", "format", "test"]);
    assert_eq!(gates("storefront"), ["unit"]);
}

#[test]
fn what_is_missing_is_said() {
    assert!(profile("shell-mixed").lacks(GapKind::Coverage));
    assert!(!profile("shell-mixed").lacks(GapKind::Tests));
    assert!(
        !profile("rust-workspace").lacks(GapKind::Owners) && profile("go-service").lacks(GapKind::Owners)
    );
    assert!(profile("storefront").lacks(GapKind::Ci));
}
