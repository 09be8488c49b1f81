//! What the `signalbox` command is made of: arguments, configuration, and the wiring of the other packages.
//! It decides nothing that they could decide.

pub mod applications;
pub mod bench;
pub mod cast;
mod cli;
mod commands;
mod config;
pub mod consumer_rule;
pub mod demo;
pub mod dev;
mod error;
pub mod local;
mod logs;
mod masking;
mod output;
pub mod payouts;
mod run;
pub mod scene;
mod shutdown;
mod starter;
pub mod zeroed;

pub use cli::Cli;
pub use error::CliError;
pub use run::main;
