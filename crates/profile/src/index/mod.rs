//! What stands where: files, and the symbols that they define. Asked by name, it answers what there is, or what
//! comes nearest.

mod grammar;
mod ground;
mod search;

pub use ground::{Citation, Ungrounded, ground};
pub use search::Anchor;

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::tree::{Folder, Tree};
use grammar::Grammar;

/// Bytes of one source that is parsed; longer ones are generated as a rule.
const MAX_SOURCE_BYTES: u64 = 512 * 1024;
/// Bytes of all sources together that are parsed.
const MAX_ALL_BYTES: u64 = 48 * 1024 * 1024;
/// Symbols that are kept.
const MAX_SYMBOLS: usize = 300_000;

/// The files and symbols of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Every file, sorted.
    files: Vec<String>,
    /// By file, then by line.
    symbols: Vec<Symbol>,
    /// Sources that have a grammar and were not parsed: too long, or beyond the bounds.
    unparsed: Vec<String>,
    /// Whether there are more files than are listed.
    is_cut: bool,
}

/// A definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symbol {
    /// Where.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub kind: SymbolKind,
    /// The type or class that it belongs to.
    pub container: Option<String>,
}

/// What a symbol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymbolKind {
    /// A function that belongs to no type.
    Function,
    /// A function of a type.
    Method,
    /// A class, structure, enumeration, interface or alias.
    Type,
    /// A constant, a variable of a module, a member of an enumeration.
    Constant,
    /// A field of a type.
    Field,
    /// A module inside a file.
    Module,
}

impl SymbolKind {
    /// As it stands in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Method => "method",
            Self::Type => "type",
            Self::Constant => "constant",
            Self::Field => "field",
            Self::Module => "module",
        }
    }
}

impl Index {
    /// The index of a folder in which somebody works.
    ///
    /// # Errors
    /// `root` is no folder that can be read.
    pub fn of(root: &Path) -> io::Result<Self> {
        Ok(Self::of_tree(&Folder::working_copy(root)?))
    }

    /// The index of a tree. Sources that cannot be parsed have the symbols that were understood.
    #[must_use]
    pub fn of_tree(tree: &dyn Tree) -> Self {
        let mut index = Self { is_cut: tree.is_cut(), ..Self::default() };
        let mut parsers = grammar::Parsers::default();
        let mut left = MAX_ALL_BYTES;
        for entry in tree.files() {
            index.files.push(entry.path.clone());
            let Some(grammar) = Grammar::of(&entry.path) else { continue };
            let source = (entry.size <= left.min(MAX_SOURCE_BYTES) && index.symbols.len() < MAX_SYMBOLS)
                .then(|| tree.read(&entry.path, MAX_SOURCE_BYTES))
                .flatten();
            let found = source.as_deref().and_then(|source| parsers.symbols(grammar, &entry.path, source));
            left = left.saturating_sub(source.map_or(0, |source| source.len() as u64));
            match found {
                Some(found) => index.symbols.extend(found),
                None => index.unparsed.push(entry.path.clone()),
            }
        }
        index.symbols.truncate(MAX_SYMBOLS);
        index.symbols.sort();
        index.symbols.dedup();
        index
    }

    /// Every file, sorted.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Every symbol, by file and line.
    #[must_use]
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// The symbols of one file.
    #[must_use]
    pub fn symbols_of(&self, file: &str) -> &[Symbol] {
        let start = self.symbols.partition_point(|symbol| symbol.file.as_str() < file);
        let end = self.symbols.partition_point(|symbol| symbol.file.as_str() <= file);
        self.symbols.get(start..end).unwrap_or_default()
    }

    /// Sources that have a grammar and were not parsed.
    #[must_use]
    pub fn unparsed(&self) -> &[String] {
        &self.unparsed
    }

    /// Whether something was left out: files beyond the bounds, or sources that were not parsed.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.is_cut || !self.unparsed.is_empty()
    }

    /// Whether there are more files than are listed.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether all symbols of a file are known: it has a grammar and was parsed.
    #[must_use]
    pub fn knows_symbols_of(&self, file: &str) -> bool {
        Grammar::of(file).is_some()
            && self.unparsed.binary_search_by(|found| found.as_str().cmp(file)).is_err()
    }
}
