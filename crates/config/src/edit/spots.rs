//! Where in the text each value of a file begins and ends, in bytes.

use saphyr_parser::{Event, Parser, Span, StrInput};

/// A value as it is written.
#[derive(Debug)]
pub(super) struct Spot {
    /// Its first byte.
    pub(super) start: usize,
    /// Behind its last byte; of a block list or mapping, behind the last of what is inside.
    pub(super) end: usize,
    pub(super) shape: Shape,
}

#[derive(Debug)]
pub(super) enum Shape {
    Scalar,
    /// `*name`.
    Alias,
    List {
        items: Vec<Spot>,
        flow: bool,
    },
    Map {
        entries: Vec<(Spot, Spot)>,
        flow: bool,
    },
}

impl Spot {
    /// The key and the value that a mapping itself has under this name.
    pub(super) fn entry(&self, text: &str, name: &str) -> Option<(&Self, &Self)> {
        let Shape::Map { entries, .. } = &self.shape else { return None };
        let named = |key: &Self| text.get(key.start..key.end).is_some_and(|key| key.trim_matches(['"', '\'']) == name);
        entries.iter().find(|(key, _)| named(key)).map(|(key, value)| (key, value))
    }
}

/// The root of the document. `None` where there is no value, or the text is no YAML (which somebody else complains of).
pub(super) fn read(text: &str) -> Option<Spot> {
    let mut offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    offsets.push(text.len());
    let mut reader = Reader { parser: Parser::new_from_str(text), text, offsets };
    loop {
        match reader.next()? {
            (Event::DocumentStart(_), _) => {
                let (event, span) = reader.next()?;
                return reader.spot(&event, span);
            }
            (Event::StreamEnd, _) => return None,
            _ => {}
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    /// Where each character begins: the parser counts characters.
    offsets: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        self.parser.next_event()?.ok()
    }

    fn byte(&self, index: usize) -> usize {
        self.offsets.get(index).copied().unwrap_or(self.text.len())
    }

    /// Behind the bracket that ends a flow list or mapping. The parser's span of it may reach on to what follows.
    fn close(&self, span: Span) -> usize {
        let start = self.byte(span.start.index());
        if self.text[start..].starts_with([']', '}']) { start + 1 } else { self.byte(span.end.index()) }
    }

    fn spot(&mut self, event: &Event<'a>, span: Span) -> Option<Spot> {
        let (start, own_end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        match event {
            Event::Scalar(..) => {
                let length = self.text.get(start..own_end)?.trim_end().len();
                Some(Spot { start, end: start + length, shape: Shape::Scalar })
            }
            Event::Alias(_) => Some(Spot { start, end: own_end, shape: Shape::Alias }),
            Event::SequenceStart(..) => {
                let flow = self.text[start..].starts_with('[');
                let mut items = Vec::new();
                let close = loop {
                    match self.next()? {
                        (Event::SequenceEnd, span) => break self.close(span),
                        (event, span) => items.push(self.spot(&event, span)?),
                    }
                };
                let end = if flow { close } else { items.last().map_or(own_end, |item| item.end) };
                Some(Spot { start, end, shape: Shape::List { items, flow } })
            }
            Event::MappingStart(..) => {
                let flow = self.text[start..].starts_with('{');
                let mut entries = Vec::new();
                let close = loop {
                    let (event, key) = match self.next()? {
                        (Event::MappingEnd, span) => break self.close(span),
                        other => other,
                    };
                    let key = self.spot(&event, key)?;
                    let (event, value) = self.next()?;
                    let mut value = self.spot(&event, value)?;
                    if value.start == value.end {
                        // Nothing stands wherever the parser noticed it; it belongs to its key.
                        (value.start, value.end) = (key.end, key.end);
                    }
                    entries.push((key, value));
                };
                let end = if flow { close } else { entries.last().map_or(own_end, |(_, value)| value.end) };
                Some(Spot { start, end, shape: Shape::Map { entries, flow } })
            }
            _ => None,
        }
    }
}
