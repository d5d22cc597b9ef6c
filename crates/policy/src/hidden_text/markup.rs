//! Comments and hidden elements in Markdown, found where a renderer would find HTML, so that code stays.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag};

use super::{Hidden, Removal};

/// Elements whose content is never shown.
const UNSHOWN: [&str; 9] =
    ["script", "style", "template", "noscript", "title", "head", "object", "iframe", "textarea"];
/// Elements without content, of which only the attributes could say something.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr",
];
/// Void elements that a reader sees nothing of.
const UNSEEN_VOID: [&str; 6] = ["base", "embed", "link", "meta", "param", "source"];
/// Styles that hide an element, without blanks.
const HIDING_STYLES: [&str; 12] = [
    "display:none",
    "visibility:hidden",
    "opacity:0",
    "font-size:0",
    "width:0",
    "height:0",
    "color:transparent",
    "left:-",
    "text-indent:-",
    "clip:rect(0",
    "max-height:0",
    "transform:scale(0",
];

/// A piece of HTML.
#[derive(Debug)]
struct Token {
    range: Range<usize>,
    what: What,
}

#[derive(Debug)]
enum What {
    Comment,
    Open { name: String, hides: bool, is_void: bool },
    Close { name: String },
}

/// `text` without hidden markup; `None` if there is none.
pub(super) fn strip(text: &str, removed: &mut Vec<Removal>) -> Option<String> {
    let mut ranges = hidden_ranges(&tokens(text), text.len());
    ranges.extend(comment_definitions(text).map(|range| (range, Hidden::Comment)));
    ranges.sort_by_key(|(range, _)| range.start);
    if ranges.is_empty() {
        return None;
    }
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    let (mut line, mut counted) = (1, 0);
    for (range, kind) in ranges {
        if range.start < from {
            continue;
        }
        kept.push_str(text.get(from..range.start).unwrap_or_default());
        line += text.get(counted..range.start).unwrap_or_default().matches('\n').count();
        counted = range.start;
        let characters = text.get(range.clone()).unwrap_or_default().chars().count();
        removed.push(Removal { kind, line, characters });
        from = range.end;
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    Some(kept)
}

/// From each comment, and each tag that hides something, to its end; an element that is not closed hides the rest.
fn hidden_ranges(tokens: &[Token], end: usize) -> Vec<(Range<usize>, Hidden)> {
    let mut found = Vec::new();
    let mut tokens = tokens.iter();
    while let Some(token) = tokens.next() {
        match &token.what {
            What::Comment => found.push((token.range.clone(), Hidden::Comment)),
            What::Open { hides: true, is_void: true, .. } => {
                found.push((token.range.clone(), Hidden::Element))
            }
            What::Open { name, hides: true, is_void: false } => {
                let mut depth = 1_usize;
                let mut until = end;
                for inner in tokens.by_ref() {
                    match &inner.what {
                        What::Open { name: other, is_void: false, .. } if other == name => depth += 1,
                        What::Close { name: other } if other == name => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        until = inner.range.end;
                        break;
                    }
                }
                found.push((token.range.start..until, Hidden::Element));
            }
            What::Open { .. } | What::Close { .. } => {}
        }
    }
    found
}

/// The comments and tags of a Markdown text, in order.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        // A block of HTML comes as a whole first, then line by line.
        let is_html = matches!(event, Event::Start(Tag::HtmlBlock) | Event::InlineHtml(_));
        if is_html {
            in_html(text.get(range.clone()).unwrap_or_default(), range.start, &mut found);
        }
    }
    found
}

fn in_html(html: &str, offset: usize, found: &mut Vec<Token>) {
    let mut from = 0;
    while let Some(at) = html.get(from..).and_then(|rest| rest.find('<')) {
        let start = from + at;
        let rest = html.get(start..).unwrap_or_default();
        let (length, what) = token(rest);
        if let Some(what) = what {
            found.push(Token { range: offset + start..offset + start + length, what });
        }
        from = start + length.max(1);
    }
}

/// The comment or tag at the beginning of `rest`, and its length.
fn token(rest: &str) -> (usize, Option<What>) {
    let until = |end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
    if rest.starts_with("<!--") {
        // `<!-->` and `<!--->` are comments that are over at once.
        let over = ["<!-->", "<!--->"].into_iter().find(|short| rest.starts_with(short));
        return (over.map_or_else(|| until("-->"), str::len), Some(What::Comment));
    }
    if rest.starts_with("<![CDATA[") {
        return (until("]]>"), Some(What::Comment));
    }
    if rest.starts_with("<!") || rest.starts_with("<?") {
        return (until(">"), Some(What::Comment));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let (inner, closes) = match rest.strip_prefix("</") {
        Some(inner) => (inner, true),
        None => (rest.strip_prefix('<').unwrap_or_default(), false),
    };
    let name = inner.get(..inner.find(|c| !is_name(c)).unwrap_or(inner.len())).unwrap_or_default();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return (1, None);
    }
    let length = tag_length(rest);
    let name = name.to_ascii_lowercase();
    if closes {
        return (length, Some(What::Close { name }));
    }
    let attributes = rest.get(1 + name.len()..length).unwrap_or_default();
    let is_void = VOID.contains(&name.as_str()) || attributes.trim_end().ends_with("/>");
    let hides = UNSHOWN.contains(&name.as_str())
        || UNSEEN_VOID.contains(&name.as_str())
        || has_hiding_attributes(&attributes.to_ascii_lowercase(), is_void);
    (length, Some(What::Open { name, hides, is_void }))
}

/// To the `>` that ends a tag, those in quotes not counted.
fn tag_length(rest: &str) -> usize {
    let mut quote = None;
    for (at, character) in rest.char_indices() {
        match (quote, character) {
            (None, '>') => return at + 1,
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    // Without its end it is no tag to a renderer, but what follows the first `>` may be.
    rest.find('>').map_or(rest.len(), |at| at + 1)
}

fn has_hiding_attributes(attributes: &str, is_void: bool) -> bool {
    let outside = without_quoted(attributes);
    let words = || outside.split(|c: char| c.is_whitespace() || matches!(c, '/' | '>'));
    let compact: String = attributes.chars().filter(|c| !c.is_whitespace()).collect();
    let is_tiny = |name: &str| {
        [format!("{name}=0"), format!("{name}=\"0"), format!("{name}='0"), format!("{name}=1>")]
            .iter()
            .any(|form| compact.contains(form.as_str()))
    };
    words().any(|word| word == "hidden" || word.starts_with("hidden="))
        || compact.contains("aria-hidden=\"true\"")
        || compact.contains("type=\"hidden\"")
        || compact.contains("type='hidden'")
        || compact.contains("type=hidden")
        || (compact.contains("style=") && HIDING_STYLES.iter().any(|style| hides(&compact, style)))
        || (is_void && (is_tiny("width") || is_tiny("height")))
}

/// Whether a style is there and its number is not the beginning of a larger one: `opacity:0` but not `opacity:0.9`.
fn hides(compact: &str, style: &str) -> bool {
    compact.match_indices(style).any(|(at, _)| {
        let before = compact.get(..at).and_then(|before| before.chars().next_back());
        let after = compact.get(at + style.len()..).unwrap_or_default();
        let is_zero = !style.ends_with('0')
            || !after.trim_start_matches(['.', '0']).starts_with(|c: char| c.is_ascii_digit());
        is_zero && !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

fn without_quoted(attributes: &str) -> String {
    let (mut kept, mut quote) = (String::with_capacity(attributes.len()), None);
    for character in attributes.chars() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, _) => kept.push(character),
            (Some(_), _) => {}
        }
    }
    kept
}

/// `[//]: # (text)` and `[comment]: <> (text)`: link definitions that nothing can refer to, outside code.
fn comment_definitions(text: &str) -> impl Iterator<Item = Range<usize>> {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES);
    let spans: Vec<Range<usize>> = parser
        .reference_definitions()
        .iter()
        .filter(|(_, definition)| matches!(definition.dest.as_ref(), "#" | ""))
        .map(|(_, definition)| definition.span.clone())
        .collect();
    spans.into_iter()
}
