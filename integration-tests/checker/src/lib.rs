//! Judges a run of Signalbox from outside. It shares no code with the product and reads only what others can read too:
//! topics with the schemas of the registry, the ledger of the bank's sandbox, and an export of the audit trail. What it
//! believes about them it has from `docs/consumers.md`, `docs/operations.md` and the journeys' own files.
//!
//! `gather` reads, `judge` decides and does nothing else: evidence that was kept is judged as it was.

mod cases;
mod chain;
mod evidence;
mod gather;
mod graph;
mod money;
mod recovery;
mod report;
mod sequence;

pub use evidence::{Evidence, EvidenceError, Line, Record, Row, Transfer};
pub use gather::{Sources, gather};
pub use graph::{Graph, GraphError};
pub use recovery::{Fault, Recovery};
pub use report::{Counted, Finding, Promise, Report, judge};

#[cfg(test)]
mod tests;
