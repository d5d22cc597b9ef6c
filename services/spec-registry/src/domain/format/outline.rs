//! The structure of a Markdown text, with the place of everything in it.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Headings, blocks and the stretches that are code or comment, all in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    pub(crate) headings: Vec<Heading>,
    pub(crate) blocks: Vec<Block>,
    /// Fenced and indented code.
    pub(crate) code: Vec<Range<usize>>,
    /// Code within a line.
    pub(crate) inline_code: Vec<Range<usize>>,
    /// HTML comments.
    pub(crate) comments: Vec<Range<usize>>,
    /// Where a comment begins that never ends.
    pub(crate) unclosed_comment: Option<usize>,
}

/// A heading, `#` or underlined.
#[derive(Debug)]
pub(crate) struct Heading {
    pub(crate) level: u8,
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
}

/// A piece of content that can carry a criterion, a dependency or a plan.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) range: Range<usize>,
    pub(crate) text: String,
    pub(crate) kind: BlockKind,
}

/// What kind of piece it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// An item of an outermost list, with everything nested in it; `done` is the state of its box.
    Item { done: Option<bool> },
    /// A paragraph outside lists; its lines stay lines.
    Paragraph,
    /// A fenced block; `info` is the first word after the fence.
    Fence { info: String },
}

impl Outline {
    /// Reads `text` from `start` on; all places are offsets into the whole text.
    pub(crate) fn read(text: &str, start: usize) -> Self {
        let body = text.get(start..).unwrap_or_default();
        let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
        let mut reader = Reader::default();
        for (event, range) in Parser::new_ext(body, options).into_offset_iter() {
            let range = range.start + start..range.end + start;
            reader.take(event, range, text);
        }
        reader.outline
    }

    /// Whether the offset lies in a code block or a comment.
    pub(crate) fn is_masked(&self, offset: usize) -> bool {
        contains(&self.code, offset) || contains(&self.comments, offset)
    }

    /// Whether the offset lies in code within a line.
    pub(crate) fn is_inline_code(&self, offset: usize) -> bool {
        contains(&self.inline_code, offset)
    }

    /// The blocks that begin within the range.
    pub(crate) fn blocks_in(&self, range: &Range<usize>) -> &[Block] {
        let from = self.blocks.partition_point(|b| b.range.start < range.start);
        let to = self.blocks.partition_point(|b| b.range.start < range.end);
        self.blocks.get(from..to).unwrap_or_default()
    }

    /// The source of the range without its comments, trimmed.
    pub(crate) fn visible_text(&self, text: &str, range: &Range<usize>) -> String {
        let mut out = String::new();
        let mut at = range.start;
        let first = self.comments.partition_point(|c| c.end <= range.start);
        for comment in self.comments.get(first..).unwrap_or_default() {
            if comment.start >= range.end {
                break;
            }
            out.push_str(text.get(at..comment.start.max(at)).unwrap_or_default());
            at = comment.end.min(range.end);
        }
        out.push_str(text.get(at..range.end).unwrap_or_default());
        out.trim().to_owned()
    }
}

/// Whether one of the ranges, sorted and apart from each other, contains the offset.
fn contains(ranges: &[Range<usize>], offset: usize) -> bool {
    let after = ranges.partition_point(|range| range.end <= offset);
    ranges.get(after).is_some_and(|range| range.contains(&offset))
}

/// The state while walking over the parser's events.
#[derive(Default)]
struct Reader {
    outline: Outline,
    /// How many lists enclose the current place.
    depth: usize,
    heading: Option<Heading>,
    block: Option<Block>,
    /// A fenced block, which takes all text until it is closed.
    fence: Option<Block>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, range: Range<usize>, source: &str) {
        match event {
            Event::Start(tag) => self.start(tag, range, source),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.push(&text),
            Event::Code(text) => {
                self.push(&format!("`{text}`"));
                self.outline.inline_code.push(range);
            }
            Event::SoftBreak | Event::HardBreak => self.line_break(),
            Event::TaskListMarker(checked) => self.mark(checked),
            Event::InlineHtml(_) => self.comment(range, source),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>, source: &str) {
        match tag {
            Tag::Heading { level, .. } => {
                self.heading = Some(Heading { level: level as u8, text: String::new(), range });
            }
            Tag::List(_) => self.depth += 1,
            Tag::Item if self.depth == 1 => {
                self.block = Some(block(range, BlockKind::Item { done: None }));
            }
            // What is nested in an item belongs to it.
            Tag::Item | Tag::Paragraph if self.depth > 0 => self.push(" "),
            Tag::Paragraph => self.block = Some(block(range, BlockKind::Paragraph)),
            Tag::CodeBlock(kind) => {
                self.outline.code.push(range.clone());
                if let CodeBlockKind::Fenced(info) = kind {
                    let info = info.split_whitespace().next().unwrap_or_default();
                    let info = info.to_ascii_lowercase();
                    self.fence = Some(block(range, BlockKind::Fence { info }));
                }
            }
            Tag::HtmlBlock => self.comment(range, source),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => self.outline.headings.extend(self.heading.take()),
            TagEnd::List(_) => self.depth = self.depth.saturating_sub(1),
            TagEnd::Item if self.depth == 1 => self.finish_block(),
            TagEnd::Paragraph if self.depth == 0 => self.finish_block(),
            TagEnd::CodeBlock => {
                // A fence inside a list item begins after the item, which is only finished later.
                let fence = self.fence.take();
                self.outline.blocks.extend(fence);
            }
            _ => {}
        }
    }

    fn finish_block(&mut self) {
        if let Some(block) = self.block.take() {
            let at = self.outline.blocks.partition_point(|b| b.range.start < block.range.start);
            self.outline.blocks.insert(at, block);
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(fence) = &mut self.fence {
            fence.text.push_str(text);
        } else if let Some(heading) = &mut self.heading {
            heading.text.push_str(text);
        } else if let Some(block) = &mut self.block {
            block.text.push_str(text);
        }
    }

    fn line_break(&mut self) {
        let in_paragraph = self.heading.is_none()
            && self.block.as_ref().is_some_and(|block| block.kind == BlockKind::Paragraph);
        self.push(if in_paragraph { "\n" } else { " " });
    }

    fn mark(&mut self, checked: bool) {
        if self.depth == 1
            && let Some(Block { kind: BlockKind::Item { done }, .. }) = &mut self.block
        {
            *done = Some(checked);
        }
    }

    fn comment(&mut self, range: Range<usize>, source: &str) {
        let mut at = range.start;
        while let Some(found) = source.get(at..range.end).and_then(|rest| rest.find("<!--")) {
            let start = at + found;
            let close = source.get(start..range.end).and_then(|rest| rest.find("-->"));
            let end = match close {
                Some(close) => start + close + "-->".len(),
                None => {
                    self.outline.unclosed_comment = Some(start);
                    range.end
                }
            };
            self.outline.comments.push(start..end);
            at = end;
        }
    }
}

fn block(range: Range<usize>, kind: BlockKind) -> Block {
    Block { range, text: String::new(), kind }
}

/// The line of an offset, counted from 1.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    /// Finds the lines of a text.
    pub(crate) fn of(text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// The line that the offset is on.
    pub(crate) fn number(&self, offset: usize) -> u32 {
        let number = self.starts.partition_point(|start| *start <= offset);
        u32::try_from(number.max(1)).unwrap_or(u32::MAX)
    }

    /// Every line with its offset, without its line break.
    pub(crate) fn each<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        self.starts.iter().enumerate().map(move |(index, start)| {
            let end = self.starts.get(index + 1).copied().unwrap_or(text.len());
            let line = text.get(*start..end).unwrap_or_default();
            (*start, line.trim_end_matches(['\n', '\r']))
        })
    }
}
