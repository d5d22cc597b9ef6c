//! pip, uv, poetry, pipenv, pdm; pytest, tox, unittest.

use std::collections::BTreeSet;

use super::{Found, text_at, value_at};
use crate::profile::Purpose;
use crate::scan::{Scan, base, is_below, join, parent, topmost};

const MANIFESTS: [&str; 7] =
    ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile", "tox.ini", "pytest.ini"];
/// Files with Python's tests that are opened to see whether they use `unittest`.
const MAX_OPENED: usize = 50;

/// One place where Python is at home.
struct Home<'a> {
    directory: &'a str,
    project: toml::Table,
    /// The text of everything that names tools.
    words: String,
    /// What a tool is started with, such as `uv run `.
    run: &'static str,
    /// The manifest that counts most.
    file: String,
}

pub(super) fn find(scan: &Scan<'_>, found: &mut Found) {
    let manifests: BTreeSet<&str> = MANIFESTS.iter().flat_map(|name| scan.named(name)).map(parent).collect();
    let mut homes = topmost(manifests);
    if homes.is_empty() && scan.ending(".py").next().is_some() {
        homes.push(".");
    }
    for directory in homes {
        let Some(home) = home(scan, found, directory) else { continue };
        tests(scan, found, &home);
        linters(scan, found, &home);
        toolchain(scan, found, &home);
    }
}

/// The manager of a place, and what its manifests say.
fn home<'a>(scan: &Scan<'_>, found: &mut Found, directory: &'a str) -> Option<Home<'a>> {
    let at = |name: &str| scan.in_directory(directory, name);
    let manifest = at("pyproject.toml");
    let project = manifest.as_deref().and_then(|path| scan.toml(path)).unwrap_or_default();
    let requirements = at("requirements.txt");
    let has = |tool: &str| value_at(&project, &["tool", tool]).is_some();
    let (name, lockfile, setup, run) = if let Some(lock) = at("uv.lock") {
        ("uv", Some(lock), "uv sync --frozen", "uv run ")
    } else if has("uv") {
        ("uv", None, "uv sync", "uv run ")
    } else if at("poetry.lock").is_some() || has("poetry") {
        ("poetry", at("poetry.lock"), "poetry install", "poetry run ")
    } else if at("pdm.lock").is_some() || has("pdm") {
        ("pdm", at("pdm.lock"), "pdm sync", "pdm run ")
    } else if at("Pipfile").is_some() {
        let lock = at("Pipfile.lock");
        let setup = if lock.is_some() { "pipenv sync --dev" } else { "pipenv install --dev" };
        ("pipenv", lock, setup, "pipenv run ")
    } else if requirements.is_some() {
        ("pip", None, "python3 -m pip install -r requirements.txt", "")
    } else {
        ("pip", None, "python3 -m pip install -e .", "")
    };
    let is_installable = value_at(&project, &["project"]).is_some()
        || value_at(&project, &["build-system"]).is_some()
        || at("setup.py").is_some();
    let pipfile = at("Pipfile");
    let why = lockfile.clone().or_else(|| pipfile.clone()).or_else(|| requirements.clone());
    let first = MANIFESTS.iter().find_map(|name| at(name));
    let file = manifest.clone().or(pipfile).or_else(|| requirements.clone()).or_else(|| first.clone());
    if let Some(file) = &file
        && (name != "pip" || requirements.is_some() || is_installable)
    {
        // Requirements that pin every package do what a lockfile does.
        let pinned = requirements.clone().filter(|path| name == "pip" && is_pinned(scan, path));
        found.manager(name, directory, file, lockfile.or(pinned));
        found.command(Purpose::Setup, setup, directory, why.as_deref().unwrap_or(file));
    }
    let named = ["setup.cfg", "setup.py", "tox.ini", "Pipfile", "requirements.txt", "requirements-dev.txt"];
    let texts = manifest.into_iter().chain(named.iter().filter_map(|name| at(name)));
    let words = texts.filter_map(|path| scan.text(&path)).collect::<Vec<_>>().join("\n");
    let file =
        file.or_else(|| scan.below(directory).find(|path| path.ends_with(".py")).map(str::to_owned))?;
    Some(Home { directory, project, words, run, file })
}

/// Whether every line of requirements names one version.
fn is_pinned(scan: &Scan<'_>, path: &str) -> bool {
    let text = scan.text(path).unwrap_or_default();
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '-']));
    lines.clone().next().is_some() && lines.all(|line| line.contains("=="))
}

fn tests(scan: &Scan<'_>, found: &mut Found, home: &Home<'_>) {
    let Home { directory, project, words, run, file } = home;
    let at = |name: &str| scan.in_directory(directory, name);
    let has = |tool: &str| value_at(project, &["tool", tool]).is_some();
    if let Some(config) = at("tox.ini").or_else(|| has("tox").then(|| file.clone())) {
        found.runner("tox", &config);
        found.command(Purpose::Test, format!("{run}tox"), directory, &config);
    }
    let conftest = scan.below(directory).find(|path| base(path) == "conftest.py");
    let pytest = at("pytest.ini")
        .or_else(|| (has("pytest") || words.contains("pytest")).then(|| file.clone()))
        .or_else(|| conftest.map(str::to_owned));
    let coverage =
        at(".coveragerc").or_else(|| (has("coverage") || words.contains("coverage")).then(|| file.clone()));
    if let Some(config) = &pytest {
        found.runner("pytest", config);
        found.command(Purpose::Test, format!("{run}pytest"), directory, config);
        if words.contains("pytest-cov") {
            found.coverage("pytest-cov", file);
            found.command(Purpose::Coverage, format!("{run}pytest --cov"), directory, file);
        }
    } else if let Some((folder, test)) = unittest(scan, directory) {
        found.runner("unittest", &test);
        let place = if folder == "." { String::new() } else { format!(" -s {folder}") };
        found.command(Purpose::Test, format!("{run}python3 -m unittest discover{place}"), directory, &test);
    }
    if let Some(config) = coverage {
        found.coverage("coverage.py", &config);
        let what = if pytest.is_some() { "pytest" } else { "unittest discover" };
        let command = format!("{run}coverage run -m {what} && {run}coverage report");
        found.command(Purpose::Coverage, command, directory, &config);
    }
}

/// The folder of the first test that uses `unittest`, from `directory`, and that test.
fn unittest(scan: &Scan<'_>, directory: &str) -> Option<(String, String)> {
    let tests = scan.below(directory).filter(|path| {
        let name = base(path);
        name.starts_with("test") && name.ends_with(".py")
    });
    let uses = |path: &&str| scan.text(path).is_some_and(|text| text.contains("unittest"));
    let test = tests.take(MAX_OPENED).find(uses)?;
    let folder = parent(test);
    let inside = if directory == "." { Some(folder) } else { folder.strip_prefix(directory) };
    let inside = inside.unwrap_or(".").trim_start_matches('/');
    let inside = if inside.is_empty() { "." } else { inside };
    Some((inside.to_owned(), test.to_owned()))
}

fn linters(scan: &Scan<'_>, found: &mut Found, home: &Home<'_>) {
    let Home { directory, project, words, run, file } = home;
    let named = |tool: &str, names: &[&str]| {
        let is_table = value_at(project, &["tool", tool]).is_some();
        scan.first(directory, names).or_else(|| (is_table || words.contains(tool)).then(|| file.clone()))
    };
    if let Some(config) = named("ruff", &["ruff.toml", ".ruff.toml"]) {
        found.command(Purpose::Lint, format!("{run}ruff check ."), directory, &config);
    }
    if let Some(config) = named("flake8", &[".flake8"]) {
        found.command(Purpose::Lint, format!("{run}flake8"), directory, &config);
    }
    if let Some(config) = named("mypy", &["mypy.ini", ".mypy.ini"]) {
        found.command(Purpose::Lint, format!("{run}mypy ."), directory, &config);
    }
    if let Some(config) = named("black", &[]) {
        found.command(Purpose::Format, format!("{run}black --check ."), directory, &config);
    } else if value_at(project, &["tool", "ruff", "format"]).is_some() {
        found.command(Purpose::Format, format!("{run}ruff format --check ."), directory, file);
    }
}

fn toolchain(scan: &Scan<'_>, found: &mut Found, home: &Home<'_>) {
    if let Some(path) = scan.first(home.directory, &[".python-version", "runtime.txt"]) {
        let text = scan.text(&path).unwrap_or_default();
        let version = text.lines().next().unwrap_or_default();
        found.toolchain("python", version.strip_prefix("python-").unwrap_or(version), &path);
    }
    let asked = text_at(&home.project, &["project", "requires-python"])
        .or_else(|| text_at(&home.project, &["tool", "poetry", "dependencies", "python"]));
    found.toolchain("python", asked.unwrap_or_default(), &join(home.directory, "pyproject.toml"));
    packages(scan, found, home);
}

/// Members of a uv workspace.
fn packages(scan: &Scan<'_>, found: &mut Found, home: &Home<'_>) {
    let members = value_at(&home.project, &["tool", "uv", "workspace", "members"]);
    let members = members.and_then(toml::Value::as_array).into_iter().flatten();
    let members: Vec<String> =
        members.filter_map(toml::Value::as_str).map(|member| join(home.directory, member)).collect();
    for file in scan.named("pyproject.toml") {
        let directory = parent(file);
        if is_below(file, home.directory)
            && members.iter().any(|member| super::rust::covers(member, directory))
        {
            let manifest = scan.toml(file).unwrap_or_default();
            found.package(directory, text_at(&manifest, &["project", "name"]), file);
        }
    }
}
