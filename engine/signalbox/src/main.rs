//! The `signalbox` program: hands its arguments over and turns the answer into an exit code. Nothing else.

use clap::Parser;
use std::process::ExitCode;

/// Engine and adapters make and drop many small values per record; the system's allocator costs a quarter more there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Where it cannot be had the program still works; see there for what may happen then.
    let _ = signalbox::zeroed::ensure();
    signalbox::main(signalbox::Cli::parse())
}
