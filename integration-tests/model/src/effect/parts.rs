//! What the effect model is made of: the flow, its attempts, the adapters and the vendor, as small values.

/// Adapters that serve the same requests.
pub(super) const ADAPTERS: usize = 2;
/// Groups that the flow may open: each may go to another vendor.
pub(super) const GROUPS: usize = 2;

/// Ways out of a payment other than its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// No answer in time: people decide whether to try again.
    Deadline,
    /// The customer cancels.
    Cancel,
    /// A check that came late says no.
    LateCheck,
    /// A check that came late holds the flow: people decide.
    Hold,
    /// The flow moves to another version, which pays anew.
    Migration,
    /// Another step failed and everything is undone.
    Compensation,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Deadline,
        Self::Cancel,
        Self::LateCheck,
        Self::Hold,
        Self::Migration,
        Self::Compensation,
    ];
}

/// Where the flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// It waits for the payment of its group.
    Asked,
    /// It does not know what became of it.
    Doubt,
    /// It is proven not to have happened.
    Free,
    Paid,
    Unpaid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) group: u8,
    /// The highest group whose request was ever published, also before a restore.
    pub(super) highest: u8,
    pub(super) stage: Stage,
    /// Groups about which an inquiry was published.
    pub(super) asked_about: u8,
}

impl Flow {
    /// The highest group whose request is on the topic.
    pub(super) fn asked(&self) -> usize {
        usize::from(self.highest)
    }
}

/// How far an attempt has come, as its row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Disposition {
    #[default]
    Missing,
    Planned,
    Sending,
    Abandoned,
}

/// What became of a payment, as far as somebody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Money {
    Accepted,
    Rejected,
    InDoubt,
    Unavailable,
}

/// The row of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Attempt {
    pub(super) disposition: Disposition,
    pub(super) sends: u8,
    /// Since the permit: 0 below half the key's window, 1 below the window, 2 above.
    pub(super) age: u8,
    pub(super) result: Option<Money>,
}

impl Money {
    /// What an outcome with it says to the lane; nothing where the lane only asks again.
    pub(super) fn word(self) -> Option<Word> {
        match self {
            Self::Accepted => Some(Word::Executed),
            Self::Rejected => Some(Word::NotExecuted),
            Self::InDoubt => Some(Word::InDoubt),
            Self::Unavailable => None,
        }
    }
}

impl Attempt {
    /// Whether nothing may be sent any more.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.result, Some(Money::Accepted | Money::Rejected))
    }
}

/// What an adapter answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Question {
    Send,
    Inquiry,
}

/// An adapter with at most one request in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Desk {
    Idle,
    /// It is about to ask the vendor by our reference.
    Asking {
        group: usize,
        sends: u8,
        question: Question,
    },
    /// It is about to raise `sends` for a resend.
    Raising {
        group: usize,
        sends: u8,
        question: Question,
        fresh: bool,
    },
    /// It may send; `fresh` while its permit is young enough.
    Ready {
        group: usize,
        sends: u8,
        question: Question,
        fresh: bool,
    },
    /// The bytes are out; `young` where they left below half the window.
    Out {
        group: usize,
        sends: u8,
        question: Question,
        young: bool,
    },
    /// It has an answer. One that is `firm` is proven by more than the number of sends.
    Done {
        group: usize,
        sends: u8,
        question: Question,
        money: Money,
        firm: bool,
    },
}

impl Desk {
    /// The group of what is in hand.
    pub(super) fn group(&self) -> Option<usize> {
        match self {
            Self::Idle => None,
            Self::Asking { group, .. }
            | Self::Raising { group, .. }
            | Self::Ready { group, .. }
            | Self::Out { group, .. }
            | Self::Done { group, .. } => Some(*group),
        }
    }
}

/// What the vendor of a group remembers, and what is on its way to it from senders that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Vendor {
    pub(super) effects: u8,
    /// What a repeated key is answered with.
    pub(super) key: Option<super::Fate>,
    /// It holds a refusal under our reference.
    pub(super) refused: bool,
    pub(super) adrift_young: u8,
    pub(super) adrift_old: u8,
}

impl Vendor {
    pub(super) fn adrift(&self, young: bool) -> u8 {
        if young { self.adrift_young } else { self.adrift_old }
    }
}

/// What an outcome says of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Word {
    /// It happened.
    Executed,
    /// It is proven not to have happened and not to happen.
    NotExecuted,
    /// Neither.
    InDoubt,
}

/// Outcomes of the current attempt that are on the topic and not yet applied. One that would change nothing is left
/// out: of an older attempt, of one that is settled, of a try that did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Told(u8);

impl Told {
    fn bit(word: Word) -> u8 {
        match word {
            Word::Executed => 1,
            Word::NotExecuted => 2,
            Word::InDoubt => 4,
        }
    }

    pub(super) fn add(&mut self, word: Word) {
        self.0 |= Self::bit(word);
    }

    pub(super) fn take(&mut self, word: Word) {
        self.0 &= !Self::bit(word);
    }

    pub(super) fn each(self) -> impl Iterator<Item = Word> {
        let words = [Word::Executed, Word::NotExecuted, Word::InDoubt];
        words.into_iter().filter(move |word| self.0 & Self::bit(*word) != 0)
    }
}
