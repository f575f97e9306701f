//! Edits a configuration in place: a pair is added to its history jobs or removed from them, and every other byte of the
//! file stays as it was, comments and order included.
//!
//! Text is changed at the places that the YAML parser names. Whatever was changed is then read again and must mean the old
//! file with just this one change; a style that this way can't handle is refused, never damaged.

mod document;
mod file;
mod spots;

use dccd_model::{ExchangeName, Span, Symbol};
use serde_yaml::Value as Yaml;

use document::{Document, is_of, scalar_text, seconds, values};
pub use file::{EditFileError, edit_file};

/// One series of candles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoEdit {
    /// Where it is traded.
    pub exchange: ExchangeName,
    /// What is traded.
    pub pair: Symbol,
    /// Length of a candle.
    pub span: Span,
}

impl std::fmt::Display for HistoEdit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.exchange, self.pair, self.span)
    }
}

/// An edited text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole of it.
    pub text: String,
    /// What was changed.
    pub what: Change,
}

/// What an edit did. Lines count from 1: where the job begins, in the new text where there is one still, else in the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A job that was there has the pair now.
    AppendedPair {
        /// The job's line.
        line: usize,
    },
    /// There is a new job.
    NewJob {
        /// Its line.
        line: usize,
    },
    /// A job has the pair no more.
    RemovedPair {
        /// The job's line.
        line: usize,
    },
    /// It was the last pair of the job, which is gone.
    RemovedJob {
        /// Where it was.
        line: usize,
    },
}

/// Why a text can't be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It isn't a configuration.
    #[error("line {line}: {message}; `dccd validate` shows the place")]
    Unreadable {
        /// Line of the first error.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The series is there already.
    #[error("{series} is already asked for on line {line}")]
    AlreadyThere {
        /// The series.
        series: String,
        /// Where.
        line: usize,
    },
    /// There is no such series.
    #[error("no history job asks for {series}{}", nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    NotThere {
        /// The series.
        series: String,
        /// The one that is most like it.
        nearest: Option<String>,
    },
    /// It is written in a way that can't be edited without risk.
    #[error("line {line} is written in a way that can't be edited here ({what}); edit the file by hand")]
    Unsupported {
        /// Where.
        line: usize,
        /// What is in the way.
        what: &'static str,
    },
}

/// Adds one pair to the history jobs: to the first job with this exchange and span, else as a job of its own.
///
/// # Errors
/// When the series is there already, or the text can't be edited.
pub fn add_histo(text: &str, edit: &HistoEdit) -> Result<Edited, EditError> {
    let doc = Document::read(text)?;
    if let Some((job, pair)) = doc.find(edit) {
        let line = doc.line(doc.spot_of(job, Some(pair)).map_or(0, |spot| spot.start));
        return Err(EditError::AlreadyThere { series: edit.to_string(), line });
    }
    let mut expected = values(&doc.tree);
    let symbol = Yaml::from(edit.pair.as_str());
    if let Some(job) = doc.jobs().iter().position(|job| is_of(job, edit)) {
        if let Some(list) = expected["histo_jobs"][job]["pairs"].as_sequence_mut() {
            list.push(symbol);
        }
        let list = doc.pairs(job)?;
        let text = doc.append(list, &|flow, quote| scalar_text(edit.pair.as_str(), flow, quote))?;
        return doc.checked(text, &expected, Change::AppendedPair { line: doc.job_line(job) });
    }
    let new = Yaml::Mapping(
        [("exchange", Yaml::from(edit.exchange.as_str())), ("pairs", Yaml::from(vec![symbol])), ("span", seconds(edit))]
            .into_iter()
            .map(|(key, value)| (Yaml::from(key), value))
            .collect(),
    );
    match expected.get_mut("histo_jobs").and_then(Yaml::as_sequence_mut) {
        Some(list) => list.push(new),
        None => {
            let mut root = expected.as_mapping().cloned().unwrap_or_default();
            root.insert(Yaml::from("histo_jobs"), Yaml::from(vec![new]));
            expected = Yaml::Mapping(root);
        }
    }
    let text = doc.with_new_job(edit)?;
    let again = Document::read(&text)?;
    let line = again.job_line(again.jobs().len().saturating_sub(1));
    doc.checked(text, &expected, Change::NewJob { line })
}

/// Removes one pair from the history jobs, and the job with its last pair.
///
/// # Errors
/// When no job has it, or the text can't be edited.
pub fn remove_histo(text: &str, edit: &HistoEdit) -> Result<Edited, EditError> {
    let doc = Document::read(text)?;
    let Some((job, pair)) = doc.find(edit) else {
        let known: Vec<String> = doc.series().iter().map(ToString::to_string).collect();
        let series = edit.to_string();
        let nearest = known.iter().min_by_key(|name| strsim::osa_distance(name, &series)).cloned();
        return Err(EditError::NotThere { series, nearest });
    };
    let mut expected = values(&doc.tree);
    let line = doc.job_line(job);
    let jobs = expected["histo_jobs"].as_sequence_mut().ok_or_else(|| doc.unsupported(0, "no list of jobs"))?;
    let many = jobs[job]["pairs"].as_sequence().is_some_and(|pairs| pairs.len() > 1);
    if many {
        if let Some(pairs) = jobs[job]["pairs"].as_sequence_mut() {
            pairs.remove(pair);
        }
        let text = doc.without(doc.pairs(job)?, pair, false)?;
        return doc.checked(text, &expected, Change::RemovedPair { line });
    }
    jobs.remove(job);
    let empty = jobs.is_empty();
    let list = doc.job_list().ok_or_else(|| doc.unsupported(0, "no list of jobs"))?;
    let text = if empty { doc.without_jobs(list)? } else { doc.without(list, job, true)? };
    doc.checked(text, &expected, Change::RemovedJob { line })
}
