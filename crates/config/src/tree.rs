//! The file as a tree in which every key and value knows where it stands. Duplicate keys, aliases and merges (`<<`) are
//! settled here; what a value means is not.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::error::{ConfigError, Place, Problem};

/// Nodes in one file, aliases counted as often as they are used: a short file that expands without end stops here.
const NODES_MAX: usize = 100_000;
/// Nesting.
const DEPTH_MAX: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text; `plain` when it stands there without quotes, so that it may mean a number, a truth value or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Rc<Node>,
}

impl Node {
    /// Whether nothing stands there: `null`, `~`, or really nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if is_null_word(text))
    }

    /// What stands there, in few words.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Scalar { text, plain: true } if text.is_empty() => "nothing".to_owned(),
            Value::Scalar { text, .. } => quoted(text),
        }
    }
}

pub(crate) fn is_null_word(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The text in quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head:?}…")
}

/// Reads the one document of a file. The tree is whole unless the text is no YAML; `errors` has what is wrong with it
/// beside that.
pub(crate) fn read(text: &str, errors: &mut Vec<ConfigError>) -> Option<Rc<Node>> {
    let mut builder = Builder { parser: Parser::new_from_str(text), text, anchors: HashMap::new(), nodes: 0, errors };
    match builder.document() {
        Ok(root) => Some(root),
        Err(stop) => {
            let error = builder.explain(stop);
            errors.push(error);
            None
        }
    }
}

/// What ends the reading.
enum Stop {
    Scan(ScanError),
    At(Place, &'static str),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    errors: &'a mut Vec<ConfigError>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Err(Stop::At(Place::default(), "the text ends too early")),
        }
    }

    fn document(&mut self) -> Result<Rc<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(Stop::At(self.place(span), "a second document; one file is one document"));
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?);
                }
                _ => {}
            }
        }
        let nothing = Value::Scalar { text: String::new(), plain: true };
        Ok(root.unwrap_or_else(|| Rc::new(Node { place: Place { line: 1, column: 1, length: 1 }, value: nothing })))
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Rc<Node>, Stop> {
        let place = self.place(span);
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Stop::At(place, "more values than any configuration has (aliases count as often as they are used)"));
        }
        if depth > DEPTH_MAX {
            return Err(Stop::At(place, "nested too deeply"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let foreign = tag.as_ref().is_some_and(|tag| !tag.is_yaml_core_schema() && tag.to_string() != "!");
                if foreign {
                    return Err(Stop::At(place, "tags other than YAML's own mean nothing here"));
                }
                let text_tag = tag.is_some_and(|tag| tag.suffix == "str");
                let plain = style == ScalarStyle::Plain && !text_tag;
                (Value::Scalar { text: Cow::into_owned(text), plain }, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Stop::At(place, "an alias of a value that contains it"));
                };
                self.nodes += size(&node);
                return Ok(node);
            }
            _ => return Err(Stop::At(place, "expected a value")),
        };
        let node = Rc::new(Node { place, value });
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merges = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                other => other,
            };
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, plain } = &key.value else {
                return Err(Stop::At(key.place, "expected a key, which is a word"));
            };
            let (event, span) = self.next()?;
            let mut node = self.node(event, span, depth + 1)?;
            if let Value::Scalar { text: empty, plain: true } = &node.value
                && empty.is_empty()
            {
                // Nothing has no place of its own: the key's will do.
                node = Rc::new(Node { place: key.place, value: node.value.clone() });
            }
            if *plain && text == "<<" {
                merges.push(node);
            } else if let Some(first) = entries.iter().find(|entry| entry.key == *text) {
                let problem = Problem::DuplicateKey { first: first.place.line };
                self.errors.push(ConfigError { place: key.place, key: text.clone(), problem, help: None, hide_from: None });
            } else {
                entries.push(Entry { key: text.clone(), place: key.place, node });
            }
        }
        for merge in merges {
            merge_into(&mut entries, &merge)?;
        }
        Ok(Value::Map(entries))
    }

    fn place(&self, span: Span) -> Place {
        let length = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            // A value over several lines is marked on its first.
            let line = self.text.lines().nth(span.start.line().saturating_sub(1)).unwrap_or_default();
            line.trim_end().chars().count().saturating_sub(span.start.col())
        };
        Place { line: span.start.line().max(1), column: span.start.col() + 1, length: length.max(1) }
    }

    fn explain(&self, stop: Stop) -> ConfigError {
        let (place, message) = match stop {
            Stop::At(place, message) => (place, message.to_owned()),
            Stop::Scan(error) => {
                let mark = error.marker();
                let place = Place { line: mark.line().max(1), column: mark.col() + 1, length: 1 };
                (place, error.info().to_owned())
            }
        };
        let line = self.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        let indented_by_tab = line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
        let help = if indented_by_tab {
            Some("YAML is indented with spaces, never with tabs".to_owned())
        } else if line.trim_start().starts_with(['@', '`', '%']) {
            Some("put quotes around a value that begins with a special character".to_owned())
        } else if line.contains("${") && line.contains(['{', '[']) {
            Some("inside { } and [ ] put quotes around a value with a variable: \"${NAME}\"".to_owned())
        } else if let Some((bracket, line)) = open_bracket(self.text, place.line) {
            Some(format!("the {bracket} on line {line} is not closed"))
        } else {
            Some("what stands below this place was not checked".to_owned())
        };
        ConfigError { place, key: String::new(), problem: Problem::Syntax { message }, help, hide_from: None }
    }
}

/// Adds what `<<` names, where the mapping doesn't say it itself.
fn merge_into(entries: &mut Vec<Entry>, merge: &Rc<Node>) -> Result<(), Stop> {
    match &merge.value {
        Value::Map(more) => {
            for entry in more {
                if !entries.iter().any(|known| known.key == entry.key) {
                    entries.push(entry.clone());
                }
            }
            Ok(())
        }
        Value::List(maps) if maps.iter().all(|map| matches!(map.value, Value::Map(_))) => {
            maps.iter().try_for_each(|map| merge_into(entries, map))
        }
        _ => Err(Stop::At(merge.place, "<< takes a mapping, or a list of mappings")),
    }
}

/// The last bracket above (or on) this line that nothing closes, with its line.
fn open_bracket(text: &str, line: usize) -> Option<(char, usize)> {
    let mut open = Vec::new();
    for (index, text) in text.lines().take(line).enumerate() {
        let mut quote = None;
        let mut before = ' ';
        for c in text.chars() {
            match (quote, c) {
                (Some(end), c) if c == end => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(c),
                (None, '#') if before.is_whitespace() => break,
                (None, '[' | '{') => open.push((c, index + 1)),
                (None, ']' | '}') => drop(open.pop()),
                (None, _) => {}
            }
            before = c;
        }
    }
    open.pop()
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(|item| size(item)).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.node)).sum::<usize>(),
    }
}
