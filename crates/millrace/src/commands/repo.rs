//! `repo profile`, `repo index`, `repo dry-run`: a folder is looked at, nothing in it is run or written.

use std::path::Path;

use millrace_events::Code;
use millrace_policy::exec::ExecPolicy;
use millrace_profile::{
    Change, DryRun, Folder, Index, Profile, Symbol, Touch, Verdict, detect_in, dry_run, gate,
};
use serde_json::Value;

use crate::cli::{RepoCommand, RepoDryRun, RepoIndex};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output, Tone, printable};

/// Bytes of a change set.
const MAX_CHANGE_BYTES: u64 = 16 * 1024 * 1024;

/// `repo …`
pub(super) fn run(command: &RepoCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        RepoCommand::Profile { path } => profile(path, output),
        RepoCommand::Index(arguments) => index(arguments, output),
        RepoCommand::DryRun(arguments) => rehearse(arguments, output),
    }
}

fn tree(path: &Path) -> Result<Folder, Failure> {
    Folder::working_copy(path).map_err(|error| Failure::file(path, &error))
}

fn profile(path: &Path, output: &Output) -> Result<Exit, Failure> {
    let profile = detect_in(&tree(path)?);
    if output.is_json() {
        output.json(&profile);
    } else {
        show_profile(&profile, output);
    }
    match gate(&profile) {
        Ok(()) => Ok(Exit::Ok),
        Err(missing) => {
            let code = Code::ProfileMissing.name();
            output.remark(format!(
                "{code}: {}\n  help: {}",
                printable(&missing.what),
                printable(&missing.advice)
            ));
            Ok(Exit::Unsuccessful)
        }
    }
}

fn show_profile(profile: &Profile, output: &Output) {
    let title = |text: &str| output.line(output.paint(Tone::Strong, text));
    let line = |text: &str| output.line(printable(&format!("  {text}")));
    title("Languages");
    for language in &profile.languages {
        line(&format!("{:>3} %  {} ({} files)", language.percent, language.name, language.files));
    }
    let commands = profile.commands();
    let rows: Vec<[Cell; 3]> = commands
        .selected
        .iter()
        .map(|found| [found.purpose.name().into(), found.file.as_str().into(), found.command.as_str().into()])
        .collect();
    section("Commands", ["PURPOSE", "FROM", "COMMAND"], &rows, output);
    let gates = commands.gates.iter();
    let rows: Vec<[Cell; 3]> = gates
        .map(|gate| [gate.name.as_str().into(), gate.file.as_str().into(), gate.command.as_str().into()])
        .collect();
    section("Gates of a change", ["GATE", "FROM", "COMMAND"], &rows, output);
    let managers = profile.package_managers.iter().map(|found| {
        let lock = found.lockfile.as_deref().unwrap_or("no lockfile");
        [found.name.as_str().into(), found.file.as_str().into(), lock.into()]
    });
    section("Package managers", ["NAME", "FROM", "LOCKFILE"], &managers.collect::<Vec<[Cell; 3]>>(), output);
    let tools = |kind: &'static str, found: &[millrace_profile::Finding]| {
        let row = |found: &millrace_profile::Finding| {
            [kind.into(), found.file.as_str().into(), found.name.as_str().into()]
        };
        found.iter().map(row).collect::<Vec<[Cell; 3]>>()
    };
    let mut rows = tools("tests", &profile.test_runners);
    rows.extend(tools("coverage", &profile.coverage_tools));
    rows.extend(profile.toolchains.iter().map(|found| {
        ["version".into(), found.file.as_str().into(), format!("{} {}", found.name, found.version).into()]
    }));
    rows.extend(profile.ci.iter().map(|found| {
        let count = format!("{} ({} commands)", found.system, found.commands.len());
        ["ci".into(), found.file.as_str().into(), count.into()]
    }));
    rows.extend(
        profile
            .packages
            .iter()
            .map(|found| ["package".into(), found.file.as_str().into(), found.name.as_str().into()]),
    );
    if let Some(owners) = &profile.owners {
        rows.push([
            "owners".into(),
            owners.file.as_str().into(),
            format!("{} rules", owners.rules.len()).into(),
        ]);
    }
    section("Found", ["WHAT", "FROM", "NAME"], &rows, output);
    let limit = &profile.diff_limit;
    let from = limit.file.as_deref().unwrap_or("the default");
    output.line("");
    output.line(format!("A change may touch {} files and {} lines ({from}).", limit.files, limit.lines));
    if !profile.missing.is_empty() {
        output.line("");
        title("Missing");
        for gap in &profile.missing {
            line(&format!("{}; {}", gap.message, gap.advice));
        }
    }
}

fn section(title: &str, headers: [&str; 3], rows: &[[Cell; 3]], output: &Output) {
    if rows.is_empty() {
        return;
    }
    output.line("");
    output.line(output.paint(Tone::Strong, title));
    output.table(headers, rows);
}

fn index(arguments: &RepoIndex, output: &Output) -> Result<Exit, Failure> {
    let index = Index::of_tree(&tree(&arguments.path)?);
    let Some(name) = &arguments.symbol else {
        if output.is_json() {
            output.json(&index);
        } else {
            index.files().iter().for_each(|file| show_file(&index, file, output));
            let (files, symbols) = (index.files().len(), index.symbols().len());
            output.remark(format!("{files} files, {symbols} symbols"));
        }
        return Ok(Exit::Ok);
    };
    let found = index.find_symbol(None, name);
    if found.is_empty() {
        let nearest = index.nearest(name);
        let advice = match nearest.as_slice() {
            [] => "Nothing has a name like it.".to_owned(),
            nearest => format!("Nearest: {}.", nearest.join(", ")),
        };
        let message = format!("no symbol `{name}` is defined in {}", arguments.path.display());
        return Err(Failure::new(Exit::NotFound, printable(&message), printable(&advice)));
    }
    if output.is_json() {
        output.json(&found);
    } else {
        let rows: Vec<[Cell; 3]> = found.iter().map(|symbol| row(symbol)).collect();
        output.table(["KIND", "NAME", "PLACE"], &rows);
    }
    Ok(Exit::Ok)
}

fn show_file(index: &Index, file: &str, output: &Output) {
    output.line(printable(file));
    for symbol in index.symbols_of(file) {
        output.line(printable(&format!(
            "  {:>5}  {} {}",
            symbol.line,
            symbol.kind.name(),
            full_name(symbol)
        )));
    }
}

fn row(symbol: &Symbol) -> [Cell; 3] {
    let place = format!("{}:{}", symbol.file, symbol.line);
    [symbol.kind.name().into(), full_name(symbol).into(), place.into()]
}

fn full_name(symbol: &Symbol) -> String {
    let owner = symbol.container.as_ref().map(|owner| format!("{owner}::")).unwrap_or_default();
    format!("{owner}{}", symbol.name)
}

fn rehearse(arguments: &RepoDryRun, output: &Output) -> Result<Exit, Failure> {
    let change = read_change(&arguments.change)?;
    let tree = tree(&arguments.path)?;
    let profile = detect_in(&tree);
    let policy = ExecPolicy::built_in().map_err(|error| Failure::internal(error.to_string()))?;
    let tried = dry_run(&tree, &profile, &change, &policy).map_err(|error| {
        let advice = "An edit must fit the files as they are; correct it in the change set.";
        Failure::new(Exit::Unsuccessful, printable(&error.to_string()), advice)
    })?;
    if output.is_json() {
        output.json(&tried);
    } else {
        show_dry_run(&tried, output);
    }
    let is_forbidden = tried.rules.iter().any(|rule| rule.verdict == Verdict::Forbid);
    Ok(if tried.exceeds_limit || is_forbidden { Exit::Unsuccessful } else { Exit::Ok })
}

/// A change set, alone or as the part `change` of a plan. JSON is YAML.
fn read_change(path: &Path) -> Result<Change, Failure> {
    let found = std::fs::metadata(path).map_err(|error| Failure::file(path, &error))?;
    let unusable = |problem: String| {
        let advice = "docs/specs.md says what a change set is: `edits`, each with `path` and `action`, and `commands`.";
        Failure::configuration(format!("{}: {problem}", path.display()), advice)
    };
    if found.len() > MAX_CHANGE_BYTES {
        return Err(unusable(format!("it has more than {MAX_CHANGE_BYTES} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
    let text = String::from_utf8(bytes).map_err(|error| unusable(format!("it is not UTF-8: {error}")))?;
    let mut value: Value = serde_norway::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    if let Some(change) = value.get_mut("change") {
        value = change.take();
    }
    if value.get("edits").is_none() {
        return Err(unusable("it has no `edits`".to_owned()));
    }
    serde_json::from_value(value).map_err(|error| unusable(error.to_string()))
}

fn show_dry_run(tried: &DryRun, output: &Output) {
    let rows = tried.files.iter().map(|file| {
        let touch = match file.touch {
            Touch::Added => Cell::toned("added", Some(Tone::Good)),
            Touch::Modified => Cell::toned("modified", Some(Tone::Waiting)),
            Touch::Deleted => Cell::toned("deleted", Some(Tone::Bad)),
        };
        [touch, format!("+{} -{}", file.added, file.removed).into(), file.path.as_str().into()]
    });
    section("Files", ["HOW", "LINES", "PATH"], &rows.collect::<Vec<[Cell; 3]>>(), output);
    for path in &tried.ignored {
        output.line(printable(&format!("{path}: written, but .gitignore keeps it out of the change")));
    }
    output.line("");
    let (limit, is) = (&tried.limit, if tried.exceeds_limit { "more than" } else { "within" });
    output.line(format!(
        "{} files, {} lines added, {} removed: {is} the limit of {} files and {} lines.",
        tried.files.len(),
        tried.added,
        tried.removed,
        limit.files,
        limit.lines
    ));
    if !tried.commands.is_empty() {
        output.line(format!(
            "{} commands would run after the edits; what they write is not foreseen.",
            tried.commands.len()
        ));
    }
    let rows = tried.rules.iter().map(|rule| {
        let verdict = match rule.verdict {
            Verdict::Allow => Cell::from("allow"),
            Verdict::Prompt => Cell::toned("prompt", Some(Tone::Waiting)),
            Verdict::Forbid => Cell::toned("forbid", Some(Tone::Bad)),
        };
        [verdict, rule.subject.as_str().into(), rule.why.as_str().into()]
    });
    section("Rules", ["VERDICT", "ABOUT", "WHY"], &rows.collect::<Vec<[Cell; 3]>>(), output);
    let rows = tried.missing_evidence.iter().map(|missing| {
        [missing.evidence.as_str().into(), missing.why.as_str().into(), missing.advice.as_str().into()]
    });
    section("Missing evidence", ["EVIDENCE", "WHY", "WHAT TO DO"], &rows.collect::<Vec<[Cell; 3]>>(), output);
}
