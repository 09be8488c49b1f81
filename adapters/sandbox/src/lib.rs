//! Simulators of four vendors (Onfido, yente, SEON, Increase) behind one HTTP listener.
//!
//! They speak each vendor's public wire, keep their own ledger of effects and play scripted
//! personas. This package deliberately knows nothing else of the product: it is the independent
//! witness that the product's tests ask how often money moved.

mod checks;
mod clock;
mod control;
mod faults;
mod increase;
mod ledger;
mod onfido;
mod options;
mod personas;
mod seon;
mod server;
mod state;
mod travel;
mod yente;

pub use ledger::LedgerError;
pub use options::{Latency, SandboxOptions};
pub use personas::{Persona, Vendor, personas};
pub use server::{Sandbox, SandboxError, serve};
