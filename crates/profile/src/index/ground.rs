//! Whether what a plan cites exists. S4-EX3.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Index;

/// A file, a symbol, or a symbol in a file that a plan speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    /// From the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Such as `total`, `Order::total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The plan makes it: it need not exist.
    #[serde(default)]
    pub is_new: bool,
}

impl Citation {
    /// A file that exists.
    #[must_use]
    pub fn file(path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// A symbol that exists, anywhere.
    #[must_use]
    pub fn symbol(name: impl Into<String>) -> Self {
        Self { symbol: Some(name.into()), ..Self::default() }
    }

    /// A symbol that exists in a file.
    #[must_use]
    pub fn symbol_in(path: impl Into<String>, name: impl Into<String>) -> Self {
        Self { path: Some(path.into()), symbol: Some(name.into()), is_new: false }
    }

    /// The same, to be made by the plan.
    #[must_use]
    pub fn made(self) -> Self {
        Self { is_new: true, ..self }
    }
}

/// A citation of what does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ungrounded {
    /// As the plan has it: `path`, `symbol`, or `path: symbol`.
    pub cited: String,
    /// What exists and comes nearest.
    pub nearest: Vec<String>,
}

impl fmt::Display for Ungrounded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` does not exist", self.cited)?;
        match self.nearest.as_slice() {
            [] => Ok(()),
            nearest => write!(formatter, "; nearest: {}", nearest.join(", ")),
        }
    }
}

/// Checks every citation. A file or symbol that the plan declares as new need not exist, nor need the symbols of a
/// file that it makes. Symbols of a file that cannot be parsed (no grammar, too long) are taken on trust; the file
/// itself must be there.
///
/// # Errors
/// All that do not exist, each with what comes nearest. The code is PLAN_UNGROUNDED.
pub fn ground(citations: &[Citation], index: &Index) -> Result<(), Vec<Ungrounded>> {
    let made: Vec<&Citation> = citations.iter().filter(|citation| citation.is_new).collect();
    let ungrounded: Vec<Ungrounded> = citations
        .iter()
        .filter(|citation| !citation.is_new)
        .filter_map(|citation| missing(citation, &made, index))
        .collect();
    if ungrounded.is_empty() { Ok(()) } else { Err(ungrounded) }
}

fn missing(citation: &Citation, made: &[&Citation], index: &Index) -> Option<Ungrounded> {
    let plain = |path: &str| path.trim_start_matches("./").to_owned();
    let path = citation.path.as_deref().map(plain);
    let is_made = |path: &str| {
        made.iter().any(|new| new.symbol.is_none() && new.path.as_deref().map(plain).as_deref() == Some(path))
    };
    let symbol_is_made = |name: &str| {
        made.iter().any(|new| {
            let is_there = path.is_none() || new.path.is_none() || new.path.as_deref().map(plain) == path;
            is_there && new.symbol.as_deref() == Some(name)
        })
    };
    if let Some(path) = &path
        && !index.contains_file(path)
    {
        let cited = path.clone();
        return (!is_made(path)).then(|| Ungrounded { cited, nearest: index.nearest_files(path) });
    }
    let name = citation.symbol.as_deref()?;
    let is_unknowable = path.as_deref().is_some_and(|path| !index.knows_symbols_of(path));
    if is_unknowable || symbol_is_made(name) || !index.find_symbol(path.as_deref(), name).is_empty() {
        return None;
    }
    let cited = path.as_ref().map_or_else(|| name.to_owned(), |path| format!("{path}: {name}"));
    Some(Ungrounded { cited, nearest: index.nearest_symbols(path.as_deref(), name) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::tree::Memory;

    fn index() -> Index {
        Index::of_tree(&Memory::new([
            ("src/price.rs", "pub struct Cart;\nimpl Cart { pub fn total(&self) {} }\n"),
            ("static/style.css", ".nav {}"),
        ]))
    }

    /// S4-EX3: an invented path or symbol is refused with the nearest that exists.
    #[test]
    fn s4_ex3_what_is_invented_is_refused_with_the_nearest() {
        let cited = [
            Citation::file("src/price.rs"),
            Citation::file("src/prices.rs"),
            Citation::symbol("Cart::total"),
            Citation::symbol("Cart::totals"),
            Citation::symbol_in("src/price.rs", "checkout_everything"),
            Citation::symbol_in("src/gone.rs", "total"),
        ];
        let refused = ground(&cited, &index()).unwrap_err();
        let told: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "`src/prices.rs` does not exist; nearest: src/price.rs",
                "`Cart::totals` does not exist; nearest: Cart::total (src/price.rs:2)",
                "`src/price.rs: checkout_everything` does not exist",
                "`src/gone.rs` does not exist; nearest: src/price.rs",
            ]
        );
    }

    #[test]
    fn s4_ex3_what_exists_or_is_declared_as_new_is_let_through() {
        let cited = [
            Citation::file("./static/style.css"),
            // Nobody knows the symbols of a style sheet.
            Citation::symbol_in("static/style.css", ".nav"),
            Citation::file("src/tax.rs").made(),
            Citation::file("src/tax.rs"),
            Citation::symbol_in("src/tax.rs", "rate"),
            Citation::symbol_in("src/price.rs", "discount").made(),
            Citation::symbol("discount"),
        ];
        assert_eq!(ground(&cited, &index()), Ok(()));
        assert!(ground(&[Citation::symbol("discount")], &index()).is_err(), "new nowhere");
    }
}
