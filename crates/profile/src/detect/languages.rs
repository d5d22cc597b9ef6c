//! Languages by the endings of files, and of scripts without one by their first line.

use std::collections::BTreeMap;

use crate::profile::Language;
use crate::scan::{Scan, base};
use crate::tree::Entry;

/// Scripts without an ending that are opened for their first line.
const MAX_SCRIPTS: usize = 200;

/// The language of a file; text that is no program (prose, data, locks) has none.
fn of_name(path: &str) -> Option<&'static str> {
    let name = base(path);
    match name {
        "Makefile" | "GNUmakefile" | "makefile" => return Some("Makefile"),
        "Dockerfile" | "Containerfile" => return Some("Dockerfile"),
        "CMakeLists.txt" => return Some("CMake"),
        "Rakefile" | "Gemfile" => return Some("Ruby"),
        "justfile" | "Justfile" => return Some("Just"),
        "Jenkinsfile" => return Some("Groovy"),
        _ => {}
    }
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending {
        "rs" => "Rust",
        "py" | "pyi" => "Python",
        "js" | "mjs" | "cjs" | "jsx" => "JavaScript",
        "ts" | "tsx" | "mts" | "cts" => "TypeScript",
        "go" => "Go",
        "java" => "Java",
        "kt" | "kts" => "Kotlin",
        "scala" => "Scala",
        "groovy" | "gradle" => "Groovy",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "hh" | "hpp" => "C++",
        "cs" => "C#",
        "fs" => "F#",
        "rb" => "Ruby",
        "php" => "PHP",
        "swift" => "Swift",
        "ex" | "exs" => "Elixir",
        "lua" => "Lua",
        "pl" | "pm" => "Perl",
        "sh" | "bash" | "zsh" | "bats" => "Shell",
        "ps1" => "PowerShell",
        "sql" => "SQL",
        "proto" => "Protocol Buffers",
        "tf" => "HCL",
        "html" | "htm" => "HTML",
        "css" | "scss" | "less" => "CSS",
        "vue" => "Vue",
        "svelte" => "Svelte",
        "mk" => "Makefile",
        "cmake" => "CMake",
        _ => return None,
    })
}

fn of_first_line(text: &str) -> Option<&'static str> {
    let program = text.lines().next()?.strip_prefix("#!")?;
    let word = |name: &str| program.split(['/', ' ']).any(|word| word.starts_with(name));
    [("python", "Python"), ("node", "JavaScript"), ("ruby", "Ruby"), ("perl", "Perl")]
        .into_iter()
        .chain([("bash", "Shell"), ("sh", "Shell"), ("zsh", "Shell"), ("bats", "Shell")])
        .find_map(|(name, language)| word(name).then_some(language))
}

/// The languages of the repository's own files, the largest share first.
pub(super) fn find(scan: &Scan<'_>) -> Vec<Language> {
    let mut shares: BTreeMap<&'static str, (u64, u64, &Entry)> = BTreeMap::new();
    let mut scripts = 0;
    for &entry in scan.own() {
        let mut language = of_name(&entry.path);
        if language.is_none() && !base(&entry.path).contains('.') && scripts < MAX_SCRIPTS {
            scripts += 1;
            language = scan.text(&entry.path).and_then(|text| of_first_line(&text));
        }
        let Some(language) = language else { continue };
        let share = shares.entry(language).or_insert((0, 0, entry));
        share.0 += 1;
        share.1 += entry.size;
        if entry.size > share.2.size {
            share.2 = entry;
        }
    }
    let all: u64 = shares.values().map(|(_, bytes, _)| bytes).sum();
    let mut found: Vec<Language> = shares
        .into_iter()
        .map(|(name, (files, bytes, largest))| Language {
            name: name.to_owned(),
            files,
            bytes,
            percent: percent(bytes, all),
            file: largest.path.clone(),
        })
        .collect();
    found.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.name.cmp(&other.name)));
    found
}

fn percent(part: u64, all: u64) -> u8 {
    let rounded = part.saturating_mul(100).saturating_add(all / 2).checked_div(all).unwrap_or(0);
    u8::try_from(rounded).unwrap_or(100)
}
