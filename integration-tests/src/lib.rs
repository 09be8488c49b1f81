//! What tests with real parts and chaos share: an installation on this machine, a witness that reads the
//! product's topics as a consumer does, the bank's own ledger, and the people who decide. It looks into no process.

mod bank;
mod books;
pub mod chaos;
mod collector;
mod failure;
mod installation;
mod majors;
mod notebook;
mod people;
mod program;
mod scenarios;
mod stream;
mod witness;

pub use bank::{Bank, Transfer};
pub use books::{Expectation, Verified, verify};
pub use chaos::answer_to_nothing;
pub use collector::{Collector, SeenSpan};
pub use failure::Failure;
pub use installation::{Installation, Said, Setting, Vendors};
pub use majors::{FIRST_REQUEST_PAYOUT, in_first_major};
pub use notebook::Notebook;
pub use people::People;
pub use program::{built_program, previous_program};
pub use scenarios::{Onlooker, Part, Script, flow_of, journeys, scripts};
pub use signalbox::cast::{Asks, Moment, Persona, Ruling, cast};
pub use stream::Stream;
pub use witness::{Course, DeadLetter, Ending, Sightings, Task, Witness};
