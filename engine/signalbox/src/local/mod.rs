//! The local stack: one Kafka, one registry and one Postgres of our own, as child processes.
//!
//! `signalbox dev`, `make demo`, the benchmark and the tests with real parts all start it here. It
//! listens on loopback only and keeps everything in one temporary directory, so any number of
//! stacks run side by side. It deliberately creates no topics, schemas or tables (those have their
//! own commands) and is no way to run in production: one broker, trust authentication.
//!
//! Linux only: the kernel's parent-death signal is what ends the children when the parent is
//! killed, and `setpriv` of util-linux is how it is set without unsafe code.

mod disk;
mod error;
mod install;
mod kafka;
mod ports;
mod postgres;
mod process;
mod programs;
mod progress;
mod registry;
mod scratch;
mod stack;

pub use error::StackError;
pub use postgres::{PostgresBackup, PostgresStandby};
pub use progress::Progress;
pub use stack::{LocalStack, StackOptions};
