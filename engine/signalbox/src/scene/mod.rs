//! A whole installation of our own on this machine: the local stack, prepared, and the product's processes on it.
//!
//! `dev`, `demo`, `bench` and tests with real parts set it up here. It decides nothing about what is played on it.

mod children;
mod commands;
mod console;
mod error;
mod figures;
mod prepare;
mod processes;
mod settings;
mod watcher;

pub use children::{Child, Program};
pub use commands::{COMMANDS, Commands, DECISIONS, Decision, Word, codec, now};
pub use console::Console;
pub use error::SceneError;
pub use figures::{Cpu, Quantiles, cpu_of_tree, memory, own_cpu, peak_memory, topic_bytes};
pub(crate) use prepare::{contract, kafka};
pub(crate) use processes::assignments;
pub use processes::{EngineName, SandboxWish, Scene, Started};
pub use settings::Settings;
pub use watcher::{Seen, Tally, Watcher};
