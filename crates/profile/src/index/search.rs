//! Looking things up by name, the nearest name, and the places that a text speaks of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Index, Symbol};
use crate::scan::base;

/// Names that are offered in place of one that does not exist.
const OFFERED: usize = 3;
/// How much alike two names must be at least, from 0 to 1, for one to be offered.
const ALIKE: f64 = 0.5;
/// Symbols of one anchor.
const ANCHOR_SYMBOLS: usize = 8;
/// Words of a text that are looked for.
const MAX_WORDS: usize = 500;

/// What each hit counts. A symbol that the text names as it is written outweighs any number of shared words.
const WHOLE_PATH: u32 = 50;
const WHOLE_FILE_NAME: u32 = 20;
const WHOLE_SYMBOL: u32 = 20;
const WORD_OF_FILE_NAME: u32 = 4;
const WORD_OF_FOLDER: u32 = 1;
const WORD_OF_SYMBOL: u32 = 2;
/// Points from words of symbols in one file, so that a long file is not always the first.
const MOST_FROM_SYMBOLS: u32 = 12;

/// Words that say nothing about a place.
const EMPTY_WORDS: &[&str] = &[
    "add", "all", "and", "any", "are", "but", "can", "file", "for", "from", "get", "has", "have", "into",
    "its", "may", "must", "new", "not", "one", "set", "shall", "should", "test", "that", "the", "then",
    "there", "this", "use", "when", "which", "will", "with",
];

/// A place that a text speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The file.
    pub file: String,
    /// How much speaks for it.
    pub score: u32,
    /// Its symbols that the text speaks of, the best first.
    pub symbols: Vec<Symbol>,
}

impl Index {
    /// Whether there is such a file. `./a` is `a`.
    #[must_use]
    pub fn contains_file(&self, path: &str) -> bool {
        let path = path.trim_start_matches("./");
        self.files.binary_search_by(|file| file.as_str().cmp(path)).is_ok()
    }

    /// The definitions of a name, in one file or in all. The name may be qualified (`Type::method`,
    /// `Type.method`, `module.function`) and may end with `()`; what stands before it must be its type, its file
    /// or a folder of it.
    #[must_use]
    pub fn find_symbol(&self, file: Option<&str>, name: &str) -> Vec<&Symbol> {
        let parts = parts(name);
        let Some((last, before)) = parts.split_last() else { return Vec::new() };
        let among = match file {
            Some(file) => self.symbols_of(file.trim_start_matches("./")),
            None => self.symbols(),
        };
        let fits = |symbol: &&Symbol| symbol.name == *last && qualifies(symbol, before);
        among.iter().filter(fits).collect()
    }

    /// The files whose names come nearest to a path.
    #[must_use]
    pub fn nearest_files(&self, path: &str) -> Vec<String> {
        let wanted = base(path).to_lowercase();
        let whole = path.to_lowercase();
        let score = |file: &String| {
            let name = strsim::normalized_damerau_levenshtein(&base(file).to_lowercase(), &wanted);
            let path = strsim::normalized_levenshtein(&file.to_lowercase(), &whole);
            // The name says more than the way to it.
            (2.0 * name + path) / 3.0
        };
        best(self.files.iter().map(|file| (score(file), file.clone())))
    }

    /// The symbols whose names come nearest, as `name (file:line)`; those of `file` are preferred.
    #[must_use]
    pub fn nearest_symbols(&self, file: Option<&str>, name: &str) -> Vec<String> {
        let parts = parts(name);
        let Some(last) = parts.last() else { return Vec::new() };
        let wanted = last.to_lowercase();
        let mut scores: BTreeMap<&str, f64> = BTreeMap::new();
        let score = |symbol: &Symbol, scores: &mut BTreeMap<_, f64>| {
            let known = scores.get(symbol.name.as_str()).copied();
            known.unwrap_or_else(|| {
                strsim::normalized_damerau_levenshtein(&symbol.name.to_lowercase(), &wanted)
            })
        };
        let mut scored = Vec::new();
        for symbol in self.symbols() {
            let alike = score(symbol, &mut scores);
            scores.insert(symbol.name.as_str(), alike);
            let is_here = file.is_some_and(|file| symbol.file == file);
            if alike >= ALIKE {
                let owner = symbol.container.as_ref().map(|owner| format!("{owner}::")).unwrap_or_default();
                let shown = format!("{owner}{} ({}:{})", symbol.name, symbol.file, symbol.line);
                scored.push((if is_here { alike + 0.25 } else { alike }, shown));
            }
        }
        best(scored.into_iter())
    }

    /// What comes nearest to a name: files for what looks like a path, else symbols, else files.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Vec<String> {
        let looks_like_a_path = name.contains('/') || base(name).contains('.');
        let symbols = if looks_like_a_path { Vec::new() } else { self.nearest_symbols(None, name) };
        if symbols.is_empty() { self.nearest_files(name) } else { symbols }
    }

    /// The places that a text speaks of, the best first: files whose path, name or symbols share words with it.
    /// The same text and tree give the same answer.
    #[must_use]
    pub fn anchors(&self, text: &str, limit: usize) -> Vec<Anchor> {
        let asked = Asked::of(text);
        let mut anchors: Vec<Anchor> =
            self.files.iter().filter_map(|file| self.anchor(&asked, file)).collect();
        anchors.sort_by(|one, other| other.score.cmp(&one.score).then_with(|| one.file.cmp(&other.file)));
        anchors.truncate(limit);
        anchors
    }

    fn anchor(&self, asked: &Asked, file: &str) -> Option<Anchor> {
        let shared = |text: &str| words(text).filter(|word| asked.words.contains(word)).count();
        let times =
            |points: u32, count: usize| points.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let name = base(file);
        let folders = file.strip_suffix(name).unwrap_or_default();
        let mut score = times(WORD_OF_FILE_NAME, shared(name)) + times(WORD_OF_FOLDER, shared(folders));
        if asked.tokens.contains(file) {
            score += WHOLE_PATH;
        } else if asked.tokens.contains(name) {
            score += WHOLE_FILE_NAME;
        }
        let mut from_words = 0_u32;
        let mut symbols: Vec<(u32, &Symbol)> = Vec::new();
        for symbol in self.symbols_of(file) {
            let points = if asked.names.contains(&symbol.name) {
                score += WHOLE_SYMBOL;
                WHOLE_SYMBOL
            } else {
                let points = times(WORD_OF_SYMBOL, shared(&symbol.name));
                from_words = from_words.saturating_add(points);
                points
            };
            if points > 0 {
                symbols.push((points, symbol));
            }
        }
        score += from_words.min(MOST_FROM_SYMBOLS);
        symbols.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1)));
        let symbols = symbols.into_iter().take(ANCHOR_SYMBOLS).map(|(_, symbol)| symbol.clone()).collect();
        (score > 0).then(|| Anchor { file: file.to_owned(), score, symbols })
    }
}

/// A text, taken apart.
struct Asked {
    /// What stands between spaces, without punctuation around it: paths among them.
    tokens: BTreeSet<String>,
    /// Identifiers as they are written, but for plain words, which name nothing.
    names: BTreeSet<String>,
    /// Words in lower case.
    words: BTreeSet<String>,
}

impl Asked {
    fn of(text: &str) -> Self {
        let around = |c: char| {
            matches!(c, '`' | '"' | '\'' | '(' | ')' | ',' | ';' | ':' | '*' | '<' | '>' | '[' | ']')
        };
        let tokens: BTreeSet<String> = text
            .split_whitespace()
            .map(|token| token.trim_matches(around).trim_end_matches('.').trim_start_matches("./").to_owned())
            .take(MAX_WORDS)
            .collect();
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let is_told = |name: &&str| {
            name.chars().skip(1).any(|c| c == '_' || c.is_uppercase()) || text.contains(&format!("`{name}"))
        };
        let names = text.split(|c| !is_part(c)).filter(|name| name.len() > 2).filter(is_told);
        let names = names.map(str::to_owned).take(MAX_WORDS).collect();
        Self { tokens, names, words: words(text).take(MAX_WORDS).collect() }
    }
}

/// Words of a text in lower case: `snake_case` and `camelCase` are two each. A final `s` does not count.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for run in text.split(|c: char| !c.is_alphanumeric()) {
        let mut word = String::new();
        let mut was_lower = false;
        for c in run.chars() {
            if c.is_uppercase() && was_lower {
                found.push(std::mem::take(&mut word));
            }
            was_lower = c.is_lowercase() || c.is_numeric();
            word.extend(c.to_lowercase());
        }
        found.push(word);
    }
    let stem = |word: String| match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem.to_owned(),
        _ => word,
    };
    found
        .into_iter()
        .map(stem)
        .filter(|word| word.chars().count() > 2 && !EMPTY_WORDS.contains(&word.as_str()))
}

/// `a::b()`, `a.b`, `a#b` and `a->b` in parts; types in angle brackets are left out.
fn parts(name: &str) -> Vec<&str> {
    let name = name.split(['(', '<', '[']).next().unwrap_or_default().trim();
    let parts =
        name.split("::").flat_map(|part| part.split("->")).flat_map(|part| part.split(['.', '#', '/']));
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty() && !matches!(*part, "self" | "this" | "crate" | "super"))
        .collect()
}

/// Whether what stands before a name is where its symbol is: its type, its file's stem, or a folder above.
fn qualifies(symbol: &Symbol, before: &[&str]) -> bool {
    let is_there = |part: &&str| {
        let plain = |text: &str| text.replace('-', "_");
        symbol.container.as_deref() == Some(*part)
            || symbol.file.split('/').any(|folder| {
                let stem = folder.split('.').next().unwrap_or_default();
                plain(stem) == plain(part)
            })
    };
    // Of a long way only the last two parts are looked at: `millrace_router::crew::Crew` starts with a package.
    before.iter().rev().take(1).all(is_there)
}

/// The best few, each once.
fn best(scored: impl Iterator<Item = (f64, String)>) -> Vec<String> {
    let mut scored: Vec<(f64, String)> = scored.filter(|(score, _)| *score >= ALIKE).collect();
    scored.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    scored.dedup_by(|one, other| one.1 == other.1);
    scored.into_iter().take(OFFERED).map(|(_, name)| name).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::tree::Memory;

    fn index() -> Index {
        Index::of_tree(&Memory::new([
            ("README.md", "text"),
            (
                "src/orders/list.rs",
                "pub struct OrderList { rows: u8 }\nimpl OrderList { pub fn page(&self) {} }\n",
            ),
            ("src/orders/price.rs", "pub fn total_price() {}\nconst TAX: u8 = 1;\n"),
            ("src/users.rs", "pub fn page() {}\nfn load_users() {}\n"),
            ("static/style.css", "a {}"),
        ]))
    }

    #[test]
    fn symbols_are_found_by_name_file_and_owner() {
        let index = index();
        let found = |file, name: &str| {
            index.find_symbol(file, name).iter().map(|symbol| symbol.file.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(found(None, "page"), ["src/orders/list.rs", "src/users.rs"]);
        assert_eq!(found(Some("./src/users.rs"), "page()"), ["src/users.rs"]);
        assert_eq!(found(None, "OrderList::page"), ["src/orders/list.rs"]);
        assert_eq!(found(None, "orderlist.rs"), [""; 0]);
        assert_eq!(found(None, "crate::users::page"), ["src/users.rs"]);
        assert_eq!(found(None, "Invented::page"), [""; 0]);
        assert_eq!(found(Some("src/users.rs"), "total_price"), [""; 0]);
        assert!(index.contains_file("./static/style.css") && !index.contains_file("static"));
    }

    #[test]
    fn the_nearest_names_are_offered() {
        let index = index();
        assert_eq!(index.nearest("src/order/price.rs")[0], "src/orders/price.rs");
        assert_eq!(index.nearest("totalPrice"), ["total_price (src/orders/price.rs:1)"]);
        assert_eq!(index.nearest_symbols(Some("src/users.rs"), "pages")[0], "page (src/users.rs:1)");
        assert_eq!(index.nearest("zzzzzzzzzzzz/qqqqqqqqq"), [""; 0]);
    }

    #[test]
    fn a_text_is_anchored_where_it_speaks_of() {
        let index = index();
        let files =
            |text: &str| index.anchors(text, 2).into_iter().map(|anchor| anchor.file).collect::<Vec<_>>();
        assert_eq!(files("The total price of orders is wrong")[0], "src/orders/price.rs");
        assert_eq!(files("Change `OrderList`.")[0], "src/orders/list.rs");
        assert_eq!(files("See static/style.css, please"), ["static/style.css"]);
        assert_eq!(files("nothing of that kind"), [""; 0]);
        let anchor = &index.anchors("users are loaded by load_users", 1)[0];
        assert_eq!(anchor.symbols[0].name, "load_users");
        assert_eq!(index.anchors("orders", 9), index.anchors("orders", 9));
    }
}
