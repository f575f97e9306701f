//! A configuration's text with its tree and the places of its values, and the cuts that edits make in it.

use std::rc::Rc;

use dccd_model::{ExchangeName, Span, Symbol};
use serde_yaml::Value as Yaml;

use super::spots::{self, Shape, Spot};
use super::{Change, EditError, Edited, HistoEdit};
use crate::scalar::{self, Whole};
use crate::tree::{self, Node, Value};

/// A text with its tree and the places of its values.
pub(super) struct Document<'a> {
    /// What stands before: a byte order mark.
    mark: &'a str,
    text: &'a str,
    pub(super) tree: Rc<Node>,
    spots: Option<Spot>,
    eol: &'static str,
}

impl<'a> Document<'a> {
    pub(super) fn read(whole: &'a str) -> Result<Self, EditError> {
        let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
        let mark = &whole[..whole.len() - text.len()];
        let mut errors = Vec::new();
        let tree = tree::read(text, &mut errors);
        if let Some(error) = errors.first() {
            return Err(EditError::Unreadable { line: error.place.line, message: error.problem.to_string() });
        }
        let tree = tree.ok_or_else(|| EditError::Unreadable { line: 1, message: "not YAML".to_owned() })?;
        let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
        Ok(Self { mark, text, tree, spots: spots::read(text), eol })
    }

    pub(super) fn unsupported(&self, at: usize, what: &'static str) -> EditError {
        EditError::Unsupported { line: self.line(at), what }
    }

    pub(super) fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Behind the line's end, its newline included.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    pub(super) fn jobs(&self) -> &[Rc<Node>] {
        match get(&self.tree, "histo_jobs").map(|node| &node.value) {
            Some(Value::List(jobs)) => jobs,
            _ => &[],
        }
    }

    /// All series of the jobs whose values can be read as they stand.
    pub(super) fn series(&self) -> Vec<HistoEdit> {
        let of = |job: &Rc<Node>| {
            let exchange: Option<ExchangeName> = word(job, "exchange").and_then(|text| text.parse().ok());
            let span = get(job, "span").and_then(span_of);
            let pairs = symbols(job).into_iter().flatten();
            pairs.filter_map(move |pair| Some(HistoEdit { exchange: exchange.clone()?, pair, span: span? })).collect()
        };
        self.jobs().iter().flat_map(of as fn(&_) -> Vec<_>).collect()
    }

    /// The job that has the series, and which of its pairs that is.
    pub(super) fn find(&self, edit: &HistoEdit) -> Option<(usize, usize)> {
        self.jobs().iter().enumerate().filter(|(_, job)| is_of(job, edit)).find_map(|(index, job)| {
            let pair = symbols(job).iter().position(|symbol| symbol.as_ref() == Some(&edit.pair))?;
            Some((index, pair))
        })
    }

    pub(super) fn job_list(&self) -> Option<&Spot> {
        Some(self.spots.as_ref()?.entry(self.text, "histo_jobs")?.1)
    }

    pub(super) fn spot_of(&self, job: usize, pair: Option<usize>) -> Option<&Spot> {
        let Shape::List { items, .. } = &self.job_list()?.shape else { return None };
        let job = items.get(job)?;
        let Some(pair) = pair else { return Some(job) };
        match &job.entry(self.text, "pairs")?.1.shape {
            Shape::List { items, .. } => items.get(pair),
            _ => Some(job),
        }
    }

    pub(super) fn job_line(&self, job: usize) -> usize {
        self.line(self.spot_of(job, None).map_or(0, |spot| spot.start))
    }

    /// The list of a job's pairs, where it stands in the job itself.
    pub(super) fn pairs(&self, job: usize) -> Result<&Spot, EditError> {
        let spot = self.spot_of(job, None).ok_or_else(|| self.unsupported(0, "jobs by an alias"))?;
        let pairs = spot.entry(self.text, "pairs").map(|(_, value)| value);
        pairs
            .filter(|value| matches!(value.shape, Shape::List { .. }))
            .ok_or_else(|| self.unsupported(spot.start, "pairs by an alias or a merge"))
    }

    fn splice(&self, cuts: &[(usize, usize, &str)]) -> String {
        let mut out = String::with_capacity(self.text.len() + 128);
        let mut at = 0;
        for (from, to, with) in cuts {
            out.push_str(&self.text[at..*from]);
            out.push_str(with);
            at = *to;
        }
        out.push_str(&self.text[at..]);
        out
    }

    /// The result, if it means what it should.
    pub(super) fn checked(&self, text: String, expected: &Yaml, what: Change) -> Result<Edited, EditError> {
        let mut errors = Vec::new();
        let same = tree::read(&text, &mut errors).is_some_and(|tree| values(&tree) == *expected);
        if !same || !errors.is_empty() {
            let (Change::AppendedPair { line }
            | Change::NewJob { line }
            | Change::RemovedPair { line }
            | Change::RemovedJob { line }) = what;
            return Err(EditError::Unsupported { line, what: "the change would touch more than this series" });
        }
        Ok(Edited { text: format!("{}{text}", self.mark), what })
    }

    /// Lines put behind the line that ends at `end`; a text without a newline at its end stays one.
    fn insert_lines(&self, end: usize, lines: &str) -> String {
        if end > 0 && !self.text[..end].ends_with('\n') {
            return self.splice(&[(end, end, &format!("{}{lines}", self.eol))]);
        }
        self.splice(&[(end, end, &format!("{lines}{}", self.eol))])
    }

    /// What stands before an item of a block list on its line, up to the item: spaces, `-`, spaces.
    fn dash(&self, item: &Spot) -> Result<&'a str, EditError> {
        let prefix = &self.text[self.line_start(item.start)..item.start];
        let is_dash = prefix.trim() == "-" && !prefix.contains('\t');
        is_dash
            .then_some(prefix)
            .ok_or_else(|| self.unsupported(item.start, "an item that doesn't follow a dash of its own"))
    }

    /// The text with one more item at the end of a list.
    pub(super) fn append(&self, list: &Spot, item: &dyn Fn(bool, Option<char>) -> String) -> Result<String, EditError> {
        let Shape::List { items, flow } = &list.shape else { return Err(self.unsupported(list.start, "no list")) };
        let Some(last) = items.last() else { return Err(self.unsupported(list.start, "an empty list")) };
        let quote = self.text[last.start..].chars().next().filter(|c| matches!(c, '"' | '\''));
        if !*flow {
            let line = format!("{}{}", self.dash(last)?, item(false, quote));
            return Ok(self.insert_lines(self.line_end(last.end), &line));
        }
        let before = &self.text[self.line_start(last.start)..last.start];
        let behind = self.text[last.end..self.line_end(last.end)].trim();
        let own_line = before.trim().is_empty() && matches!(behind, "" | ",");
        let gap = if own_line { format!(",{}{before}", self.eol) } else { ", ".to_owned() };
        Ok(self.splice(&[(last.end, last.end, &format!("{gap}{}", item(true, quote)))]))
    }

    /// The text without one of several items of a list.
    pub(super) fn without(&self, list: &Spot, index: usize, comments: bool) -> Result<String, EditError> {
        let Shape::List { items, flow } = &list.shape else { return Err(self.unsupported(list.start, "no list")) };
        let Some(item) = items.get(index) else { return Err(self.unsupported(list.start, "no such item")) };
        if !*flow {
            let (from, to) = self.lines_of(item, comments)?;
            return Ok(self.splice(&[(from, to, "")]));
        }
        let (from, to) = match (index.checked_sub(1).and_then(|index| items.get(index)), items.get(index + 1)) {
            (Some(before), _) => (before.end, item.end),
            (None, Some(after)) => (item.start, after.start),
            (None, None) => (item.start, item.end),
        };
        let gap = if from < item.start { &self.text[from..item.start] } else { &self.text[item.end.min(to)..to] };
        if !gap.contains('#') {
            return Ok(self.splice(&[(from, to, "")]));
        }
        let (start, end) = (self.line_start(item.start), self.line_end(item.end));
        let behind = self.text[item.end..end].trim_start().trim_start_matches(',').trim_start();
        let alone = self.text[start..item.start].trim().is_empty() && (behind.is_empty() || behind.starts_with('#'));
        if !alone {
            return Err(self.unsupported(item.start, "a comment in the middle of a list"));
        }
        Ok(self.splice(&[(start, end, "")]))
    }

    /// The lines of an item of a block list, with the comments directly above where these are its own.
    fn lines_of(&self, item: &Spot, comments: bool) -> Result<(usize, usize), EditError> {
        let dash = self.dash(item)?;
        let (mut from, to) = (self.line_start(item.start), self.line_end(item.end));
        if comments {
            let column = dash.len() - dash.trim_start().len();
            let mut above = from;
            let mut commented_out = false;
            while above > 0 {
                let start = self.line_start(above - 1);
                let line = self.text[start..above].trim_end();
                let Some(comment) = line.trim_start().strip_prefix('#') else { break };
                if line.len() - line.trim_start().len() != column {
                    break;
                }
                // A job that somebody commented out is none of this one's.
                commented_out |= comment.trim_start().starts_with("- ");
                above = start;
            }
            if !commented_out {
                from = above;
            }
        }
        if !self.text[..to].ends_with('\n') && from > 0 {
            // The file ended without a newline and shall again.
            from -= 1;
            from -= usize::from(self.text[..from].ends_with('\r'));
        }
        Ok((from, to))
    }

    /// The text with an empty list of jobs.
    pub(super) fn without_jobs(&self, list: &Spot) -> Result<String, EditError> {
        let Shape::List { items, flow } = &list.shape else { return Err(self.unsupported(list.start, "no list")) };
        if *flow {
            return Ok(self.splice(&[(list.start, list.end, "[]")]));
        }
        let key = self.spots.as_ref().and_then(|root| root.entry(self.text, "histo_jobs")).map(|(key, _)| key.end);
        let colon = key.and_then(|end| self.text[end..list.start].find(':').map(|at| end + at + 1));
        let (Some(colon), Some(item)) = (colon, items.first()) else {
            return Err(self.unsupported(list.start, "no key before the list"));
        };
        let (from, to) = self.lines_of(item, true)?;
        Ok(self.splice(&[(colon, colon, " []"), (from.max(colon), to, "")]))
    }

    /// The text with a new job at the end of the list of jobs, in the style of the last one.
    pub(super) fn with_new_job(&self, edit: &HistoEdit) -> Result<String, EditError> {
        let eol = self.eol;
        let job = |indent: &str, block_pairs: bool, quote: Option<char>| {
            let pair = scalar_text(edit.pair.as_str(), !block_pairs, quote);
            let deeper = format!("{indent}  ");
            let pairs = if block_pairs { format!("{eol}{deeper}- {pair}") } else { format!(" [{pair}]") };
            let (exchange, span) = (&edit.exchange, edit.span.as_secs());
            format!("exchange: {exchange}{eol}{indent}pairs:{pairs}{eol}{indent}span: {span}")
        };
        let in_flow = |quote| {
            let pair = scalar_text(edit.pair.as_str(), true, quote);
            format!("{{exchange: {}, pairs: [{pair}], span: {}}}", edit.exchange, edit.span.as_secs())
        };
        let first = format!("  - {}", job("    ", false, None));
        let Some(root) = self.spots.as_ref().filter(|root| root.start < root.end) else {
            return Ok(self.insert_lines(self.end_of_document(), &format!("histo_jobs:{eol}{first}")));
        };
        let Shape::Map { flow: false, .. } = root.shape else {
            return Err(self.unsupported(root.start, "the file is no block of `key: value` lines"));
        };
        let Some((key, list)) = root.entry(self.text, "histo_jobs") else {
            return Ok(self.insert_lines(self.end_of_document(), &format!("histo_jobs:{eol}{first}")));
        };
        let last = match &list.shape {
            Shape::List { items, flow } if !items.is_empty() => items.last().map(|last| (last, *flow)),
            Shape::Alias => return Err(self.unsupported(list.start, "jobs by an alias")),
            _ => None,
        };
        let Some((last, _)) = last else {
            // `[]`, `~` or nothing gives way to the first job.
            let end = self.line_end(list.end);
            let lead = if self.text[..end].ends_with('\n') { "" } else { eol };
            let trail = if lead.is_empty() { eol } else { "" };
            let written = self.text[key.end..list.start.max(key.end)].trim_end().len();
            let from = if list.start > key.end { key.end + written } else { list.start };
            return Ok(self.splice(&[(from, list.end, ""), (end, end, &format!("{lead}{first}{trail}"))]));
        };
        let Shape::Map { flow, .. } = last.shape else { return Err(self.unsupported(last.start, "a job by an alias")) };
        let (mut block_pairs, mut quote) = (false, None);
        if let Some(Shape::List { items, flow }) = last.entry(self.text, "pairs").map(|(_, value)| &value.shape) {
            block_pairs = !*flow;
            let pair = items.last().and_then(|pair| self.text[pair.start..].chars().next());
            quote = pair.filter(|c| matches!(c, '"' | '\''));
        }
        self.append(list, &|in_list, _| {
            if flow || in_list {
                return in_flow(quote);
            }
            let indent = " ".repeat(last.start - self.line_start(last.start));
            job(&indent, block_pairs, quote)
        })
    }

    /// Where a document ends: before `...`, else with the text.
    fn end_of_document(&self) -> usize {
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            if line.trim_end() == "..." {
                return at;
            }
            at += line.len();
        }
        at
    }
}

fn get<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == name).map(|entry| &*entry.node)
}

fn word<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    match &get(node, name)?.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn span_of(node: &Node) -> Option<Span> {
    let Value::Scalar { text, plain } = &node.value else { return None };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| !digits).or_else(|| {
        let (Whole::Clear(seconds) | Whole::Old(seconds)) = scalar::whole(text, *plain)?;
        u32::try_from(seconds).ok().and_then(Span::from_secs)
    })
}

/// The pairs of a job; `None` for those that can't be read as they stand.
fn symbols(job: &Node) -> Vec<Option<Symbol>> {
    let Some(Value::List(items)) = get(job, "pairs").map(|node| &node.value) else { return Vec::new() };
    let symbol = |node: &Node| match &node.value {
        Value::Scalar { text, .. } => text.parse().ok(),
        _ => None,
    };
    items.iter().map(|item| symbol(item)).collect()
}

pub(super) fn is_of(job: &Node, edit: &HistoEdit) -> bool {
    word(job, "exchange") == Some(edit.exchange.as_str()) && get(job, "span").and_then(span_of) == Some(edit.span)
}

pub(super) fn seconds(edit: &HistoEdit) -> Yaml {
    Yaml::from(edit.span.as_secs().to_string())
}

/// A symbol as it is written: in the quotes of its neighbour, and in some where a colon within brackets may mislead a reader.
pub(super) fn scalar_text(text: &str, flow: bool, quote: Option<char>) -> String {
    match quote.or_else(|| (flow && text.contains(':')).then_some('"')) {
        Some(quote) => format!("{quote}{text}{quote}"),
        None => text.to_owned(),
    }
}

/// What a tree says, without where.
pub(super) fn values(node: &Node) -> Yaml {
    match &node.value {
        _ if node.is_null() => Yaml::Null,
        Value::Scalar { text, .. } => Yaml::from(text.as_str()),
        Value::List(items) => Yaml::Sequence(items.iter().map(|item| values(item)).collect()),
        Value::Map(entries) => {
            Yaml::Mapping(entries.iter().map(|entry| (Yaml::from(entry.key.as_str()), values(&entry.node))).collect())
        }
    }
}
