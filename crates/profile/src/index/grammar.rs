//! Definitions in sources, by tree-sitter's grammars. A source that is wrong somewhere is understood elsewhere.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tree_sitter::{Language, Node, ParseOptions, Parser};

use super::{Symbol, SymbolKind};

/// Steps between two questions of the parser whether to go on; it asks after each hundred or so operations. A
/// source that takes more is no source.
const MAX_QUESTIONS: u32 = 2_000_000;
/// Nodes of one source that are looked at.
const MAX_NODES: usize = 2_000_000;
/// Symbols of one source.
const MAX_SYMBOLS: usize = 20_000;
/// Characters of a name; what is longer is no name.
const MAX_NAME: usize = 200;

/// A language that can be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grammar {
    Rust,
    Python,
    JavaScript,
    TypeScript,
    Tsx,
    Go,
    Java,
}

impl Grammar {
    /// By the file's ending.
    pub(super) fn of(path: &str) -> Option<Self> {
        let (_, ending) = path.rsplit_once('.')?;
        Some(match ending {
            "rs" => Self::Rust,
            "py" | "pyi" => Self::Python,
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "mts" | "cts" => Self::TypeScript,
            "tsx" => Self::Tsx,
            "go" => Self::Go,
            "java" => Self::Java,
            _ => return None,
        })
    }

    fn language(self) -> Language {
        match self {
            Self::Rust => tree_sitter_rust::LANGUAGE.into(),
            Self::Python => tree_sitter_python::LANGUAGE.into(),
            Self::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
            Self::Go => tree_sitter_go::LANGUAGE.into(),
            Self::Java => tree_sitter_java::LANGUAGE.into(),
        }
    }

    /// What a node of this kind defines.
    fn defines(self, kind: &str) -> Option<Defined> {
        use Defined::{Callable, Constant, Container, Extension, Field, Module, Variable};
        Some(match self {
            Self::Rust => match kind {
                "function_item" | "function_signature_item" | "macro_definition" => Callable,
                "struct_item" | "enum_item" | "union_item" | "trait_item" | "type_item"
                | "associated_type" => Container,
                "impl_item" => Extension,
                "const_item" | "static_item" | "enum_variant" => Constant,
                "field_declaration" => Field,
                "mod_item" => Module,
                _ => return None,
            },
            Self::Python => match kind {
                "function_definition" => Callable,
                "class_definition" => Container,
                "assignment" => Variable,
                _ => return None,
            },
            Self::JavaScript | Self::TypeScript | Self::Tsx => match kind {
                "function_declaration"
                | "generator_function_declaration"
                | "function_signature"
                | "method_definition"
                | "method_signature"
                | "abstract_method_signature" => Callable,
                "class_declaration"
                | "abstract_class_declaration"
                | "interface_declaration"
                | "type_alias_declaration"
                | "enum_declaration" => Container,
                "internal_module" | "module" => Module,
                "variable_declarator" => Variable,
                "enum_assignment" => Constant,
                "field_definition" | "public_field_definition" | "property_signature" => Field,
                _ => return None,
            },
            Self::Go => match kind {
                "function_declaration" | "method_declaration" | "method_elem" => Callable,
                "type_spec" | "type_alias" => Container,
                "const_spec" | "var_spec" => Variable,
                "field_declaration" => Field,
                _ => return None,
            },
            Self::Java => match kind {
                "method_declaration" | "constructor_declaration" | "compact_constructor_declaration" => {
                    Callable
                }
                "class_declaration"
                | "interface_declaration"
                | "enum_declaration"
                | "record_declaration"
                | "annotation_type_declaration" => Container,
                "enum_constant" => Constant,
                "variable_declarator" => Variable,
                _ => return None,
            },
        })
    }
}

/// How a node defines something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defined {
    Callable,
    Container,
    /// Adds to a type that is defined elsewhere.
    Extension,
    Constant,
    Field,
    Module,
    /// A constant outside of functions, nothing inside.
    Variable,
}

/// One parser per language, made when it is first needed.
#[derive(Default)]
pub(super) struct Parsers {
    made: BTreeMap<Grammar, Option<Parser>>,
}

impl Parsers {
    /// The symbols that a source defines; `None` when it could not be parsed within its bounds.
    pub(super) fn symbols(&mut self, grammar: Grammar, file: &str, source: &[u8]) -> Option<Vec<Symbol>> {
        let parser = self.made.entry(grammar).or_insert_with(|| {
            let mut parser = Parser::new();
            parser.set_language(&grammar.language()).is_ok().then_some(parser)
        });
        let parser = parser.as_mut()?;
        let mut asked = 0_u32;
        let mut may_go_on = |_: &tree_sitter::ParseState| {
            asked += 1;
            if asked > MAX_QUESTIONS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let options = ParseOptions::new().progress_callback(&mut may_go_on);
        let mut read = |at: usize, _| source.get(at..).unwrap_or_default();
        let parsed = parser.parse_with_options(&mut read, None, Some(options));
        // What was given up is not gone on with at the next source.
        parser.reset();
        Some(collect(grammar, file, source, parsed?.root_node()))
    }
}

/// What lies around a node: the types it is in, and whether it is inside a function.
struct Around {
    depth: usize,
    container: Option<String>,
    in_function: bool,
}

/// Walks a tree without recursion: sources may be nested as deep as they like.
fn collect(grammar: Grammar, file: &str, source: &[u8], root: Node<'_>) -> Vec<Symbol> {
    let mut found = Vec::new();
    let mut around: Vec<Around> = Vec::new();
    let mut cursor = root.walk();
    let mut depth = 0_usize;
    for _ in 0..MAX_NODES {
        let node = cursor.node();
        while around.last().is_some_and(|last| last.depth >= depth) {
            around.pop();
        }
        if node.is_named()
            && let Some(defined) = grammar.defines(node.kind())
        {
            let outer = around.last();
            let container = outer.and_then(|outer| outer.container.clone());
            let in_function = outer.is_some_and(|outer| outer.in_function);
            let definition = Definition { grammar, file, source, node, defined, container, in_function };
            definition.record(&mut found);
            around.extend(definition.around(depth));
        }
        if found.len() >= MAX_SYMBOLS {
            break;
        }
        if cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        loop {
            if cursor.goto_next_sibling() {
                break;
            }
            if !cursor.goto_parent() {
                return found;
            }
            depth -= 1;
        }
    }
    found
}

struct Definition<'a> {
    grammar: Grammar,
    file: &'a str,
    source: &'a [u8],
    node: Node<'a>,
    defined: Defined,
    container: Option<String>,
    in_function: bool,
}

impl Definition<'_> {
    fn record(&self, found: &mut Vec<Symbol>) {
        let kind = match self.defined {
            Defined::Extension => return,
            Defined::Variable if self.in_function => return,
            Defined::Variable if self.holds_function() => SymbolKind::Function,
            Defined::Variable | Defined::Constant => SymbolKind::Constant,
            Defined::Callable if self.owner().is_some() => SymbolKind::Method,
            Defined::Callable => SymbolKind::Function,
            Defined::Container => SymbolKind::Type,
            Defined::Field => SymbolKind::Field,
            Defined::Module => SymbolKind::Module,
        };
        let line = u32::try_from(self.node.start_position().row).unwrap_or(u32::MAX).saturating_add(1);
        for name in self.names() {
            let (file, container) = (self.file.to_owned(), self.owner());
            found.push(Symbol { file, line, name, kind, container });
        }
    }

    /// What its parts stand in.
    fn around(&self, depth: usize) -> Option<Around> {
        let inside = |container, in_function| Some(Around { depth, container, in_function });
        match self.defined {
            Defined::Container => inside(self.names().into_iter().next(), self.in_function),
            Defined::Extension => inside(self.text("type").map(base_type), self.in_function),
            // Functions of a module belong to no type; a function inside another is found by its name.
            Defined::Module => inside(None, self.in_function),
            Defined::Callable => inside(None, true),
            Defined::Variable if self.holds_function() => inside(None, true),
            Defined::Constant | Defined::Field | Defined::Variable => None,
        }
    }

    fn owner(&self) -> Option<String> {
        if self.grammar == Grammar::Go && self.node.kind() == "method_declaration" {
            return self.text("receiver").map(receiver);
        }
        self.container.clone()
    }

    fn names(&self) -> Vec<String> {
        if self.grammar == Grammar::Go {
            let mut cursor = self.node.walk();
            let names = self.node.children_by_field_name("name", &mut cursor);
            return names.filter_map(|name| self.named(name)).collect();
        }
        let field = if self.grammar == Grammar::Python && self.defined == Defined::Variable {
            "left"
        } else if self.grammar == Grammar::JavaScript && self.defined == Defined::Field {
            "property"
        } else {
            "name"
        };
        self.node.child_by_field_name(field).and_then(|name| self.named(name)).into_iter().collect()
    }

    /// The text of a node that is a name.
    fn named(&self, node: Node<'_>) -> Option<String> {
        let text = node.utf8_text(self.source).ok()?.trim_start_matches('#').trim_matches(['"', '\'']);
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        (!text.is_empty() && text.len() <= MAX_NAME && text.chars().all(is_name)).then(|| text.to_owned())
    }

    fn text(&self, field: &str) -> Option<&str> {
        let text = self.node.child_by_field_name(field)?.utf8_text(self.source).ok()?;
        (text.len() <= MAX_NAME).then_some(text)
    }

    fn holds_function(&self) -> bool {
        let value = self.node.child_by_field_name("value");
        value.is_some_and(|value| {
            matches!(value.kind(), "arrow_function" | "function_expression" | "generator_function")
        })
    }
}

/// `Type` of `path::Type<'a, T>`.
fn base_type(text: &str) -> String {
    let text = text.split('<').next().unwrap_or(text).trim_start_matches(['&', '*']);
    text.rsplit("::").next().unwrap_or(text).trim().to_owned()
}

/// `Type` of `(name *Type[T])`.
fn receiver(text: &str) -> String {
    let inner = text.trim_matches(['(', ')']).split('[').next().unwrap_or_default();
    inner.rsplit([' ', '*']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn symbols(file: &str, source: &str) -> Vec<String> {
        let found = Parsers::default().symbols(Grammar::of(file).unwrap(), file, source.as_bytes()).unwrap();
        let one = |symbol: &Symbol| {
            let owner = symbol.container.as_ref().map(|owner| format!("{owner}.")).unwrap_or_default();
            format!("{} {owner}{} {}", symbol.kind.name(), symbol.name, symbol.line)
        };
        found.iter().map(one).collect()
    }

    #[test]
    fn rust() {
        let source = "const A: u8 = 1;\nstruct B<T> { c: T }\nimpl<T> x::Y for B<T> {\n fn d() { fn e() {} }\n}\n\
                      enum F { G }\nmod h { fn i() {} }\nmacro_rules! j { () => {} }\ntrait K { fn l(); }\n";
        let expected = [
            "constant A 1",
            "type B 2",
            "field B.c 2",
            "method B.d 4",
            "function e 4",
            "type F 6",
            "constant F.G 6",
            "module h 7",
            "function i 7",
            "function j 8",
            "type K 9",
            "method K.l 9",
        ];
        assert_eq!(symbols("a.rs", source), expected);
    }

    #[test]
    fn python() {
        let source =
            "A = 1\nclass B:\n    c = 2\n    def d(self):\n        e = 3\n\nasync def f():\n    pass\n";
        let expected = ["constant A 1", "type B 2", "constant B.c 3", "method B.d 4", "function f 7"];
        assert_eq!(symbols("a.py", source), expected);
    }

    #[test]
    fn javascript_and_typescript() {
        let source = "export const a = () => { const no = 1 };\nconst b = 2;\nfunction c() {}\n\
                      class D { e = 1; f() {} #g() {} }\n";
        let expected = [
            "function a 1",
            "constant b 2",
            "function c 3",
            "type D 4",
            "field D.e 4",
            "method D.f 4",
            "method D.g 4",
        ];
        assert_eq!(symbols("a.mjs", source), expected);
        let source = "interface A { b: string; c(): void }\ntype D = string;\nenum E { F = 1 }\n\
                      export abstract class G { private h = 1; abstract i(): void }\n";
        let expected = [
            "type A 1",
            "field A.b 1",
            "method A.c 1",
            "type D 2",
            "type E 3",
            "constant E.F 3",
            "type G 4",
            "field G.h 4",
            "method G.i 4",
        ];
        assert_eq!(symbols("a.ts", source), expected);
        assert_eq!(symbols("a.tsx", "export const V = () => <p/>;\n"), ["function V 1"]);
    }

    #[test]
    fn go() {
        let source = "package a\nconst A, B = 1, 2\nvar c = 3\ntype D struct { e, f int }\nfunc (d *D) G() { var no = 1 }\n\
                      func H[T any]() {}\ntype I interface { J() }\n";
        let expected = [
            "constant A 2",
            "constant B 2",
            "constant c 3",
            "type D 4",
            "field D.e 4",
            "field D.f 4",
            "method D.G 5",
            "function H 6",
            "type I 7",
            "method I.J 7",
        ];
        assert_eq!(symbols("a.go", source), expected);
    }

    #[test]
    fn java() {
        let source =
            "class A { int b = 1; A() {} void c() { int no = 1; } enum D { E } }\nrecord F(int g) {}\n";
        let expected = [
            "type A 1",
            "constant A.b 1",
            "method A.A 1",
            "method A.c 1",
            "type D 1",
            "constant D.E 1",
            "type F 2",
        ];
        let found = symbols("A.java", source);
        let without_owner_of_types: Vec<String> =
            found.iter().map(|one| one.replace("type A.D", "type D")).collect();
        assert_eq!(without_owner_of_types, expected);
    }

    #[test]
    fn what_is_wrong_somewhere_is_understood_elsewhere_and_depth_is_no_danger() {
        assert!(symbols("a.rs", "fn a() {}\n}}} ((( fn\nfn b() {}\n").contains(&"function a 1".to_owned()));
        let deep = format!("x = {}1{}\ndef f(): pass\n", "(".repeat(20_000), ")".repeat(20_000));
        drop(symbols("a.py", &deep));
        let nested: String =
            (0..3_000).map(|depth| format!("{}class C{depth}:\n", " ".repeat(depth))).collect();
        drop(symbols("b.py", &nested));
    }
}
