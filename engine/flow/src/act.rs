//! What an operator can want of a flow, and the words for it. What comes of it is told in `operators`.

/// What an operator can want; the symbols of `signalbox.operator.OperatorAct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Take no more inputs; they wait.
    Pause,
    /// End a pause.
    Resume,
    /// Let a parked flow go on, from the input that parked it.
    Release,
    /// Let a parked flow go on without the input that parked it, which becomes a dead letter.
    SetAside,
    /// Ask again now instead of waiting.
    Retry,
    /// Ask the journey to cancel.
    Cancel,
}

/// One operator's act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorAct<'a> {
    /// What.
    pub act: Act,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
}

impl Act {
    const ALL: [Self; 6] =
        [Self::Pause, Self::Resume, Self::Release, Self::SetAside, Self::Retry, Self::Cancel];

    /// As in the record.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Release => "release",
            Self::SetAside => "set_aside",
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    /// Out of the record; none for a word that this version does not know.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.word() == word)
    }

    /// Whether it waits in order like any other input where the flow stands. The others are about the standing itself.
    #[must_use]
    pub fn waits(self) -> bool {
        self == Self::Cancel
    }
}
