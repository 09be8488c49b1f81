//! Why a file of ours cannot be used: where, what is wrong, and what to do about it.
//! It does not find mistakes; the parser, `compile` and the others do, and say them here.

use serde_saphyr::Error;

use crate::place::{self, Position};

/// A journey file, or a file beside it, that cannot be used. Somebody corrects the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JourneyError {
    /// Not YAML of the journey language: a typing mistake, an unknown or missing key.
    #[error("{}{problem}", lead(at))]
    Unreadable {
        /// Where in the file.
        at: Option<Position>,
        /// What is wrong.
        problem: String,
    },
    /// Readable, but it means nothing: an unknown name, a type that does not fit.
    #[error("{}{place}: {problem}", lead(at))]
    Mistake {
        /// Where, such as `states.send.on.accepted`.
        place: String,
        /// Where in the file. Nothing for what the file does not speak of, such as an override.
        at: Option<Position>,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// Words that differ in more letters than a third of their length are not each other mistyped.
const LETTERS_PER_MISTAKE: usize = 3;

/// The place and the problem as an error; the position is added by `located`.
pub(crate) fn mistake<T>(
    place: impl Into<String>,
    problem: impl Into<String>,
) -> Result<T, JourneyError> {
    Err(JourneyError::Mistake { place: place.into(), at: None, problem: problem.into() })
}

impl JourneyError {
    /// Where in the file, as far as it can be told.
    pub fn at(&self) -> Option<Position> {
        match self {
            Self::Unreadable { at, .. } | Self::Mistake { at, .. } => *at,
        }
    }

    /// What is wrong and what to do, for those who tell the position themselves.
    pub fn problem(&self) -> String {
        match self {
            Self::Unreadable { problem, .. } => problem.clone(),
            Self::Mistake { place, problem, .. } => format!("{place}: {problem}"),
        }
    }

    /// The mistake with its position in the file.
    pub(crate) fn located(self, yaml: &str) -> Self {
        match self {
            Self::Mistake { place, at: None, problem } => {
                Self::Mistake { at: place::position(yaml, &place), place, problem }
            }
            located => located,
        }
    }
}

impl From<Error> for JourneyError {
    fn from(error: Error) -> Self {
        let at = error.location().and_then(Position::of);
        Self::Unreadable { at, problem: advice(&error) }
    }
}

/// ` Did you mean ...?` where a known word is close, else nothing.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let distance = |other: &&str| strsim::damerau_levenshtein(word, other);
    let closest = known.into_iter().min_by_key(distance);
    let close = closest
        .filter(|other| distance(other) <= other.chars().count().div_ceil(LETTERS_PER_MISTAKE));
    close.map(|close| format!(" Did you mean {close}?")).unwrap_or_default()
}

fn lead(at: &Option<Position>) -> String {
    at.map(|at| format!("{at}: ")).unwrap_or_default()
}

/// What the parser found, and what to do about it.
fn advice(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } => advice(error),
        Error::SerdeUnknownField { field, expected, .. } => format!(
            "{field} is not a key here.{} Keys are {}",
            did_you_mean(field, expected.iter().copied()),
            expected.join(", ")
        ),
        Error::SerdeMissingField { field, .. } => format!("the key {field} is missing; add it"),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("a key");
            format!("{key} is written twice in one place; remove one")
        }
        other => {
            let options =
                serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
            let text = other.render_with_options(options);
            let text = text.split(" at line ").next().unwrap_or_default();
            format!("{text}; docs/journeys.md shows how it is written")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_nearly_right_is_suggested() {
        let known = ["people", "within", "on"];
        assert_eq!(did_you_mean("peple", known), " Did you mean people?");
        assert_eq!(did_you_mean("wihtin", known), " Did you mean within?");
        assert_eq!(did_you_mean("deadline", known), "");
    }
}
