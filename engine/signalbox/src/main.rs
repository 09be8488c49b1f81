//! The `signalbox` program: hands its arguments over and turns the answer into an exit code. Nothing else.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    signalbox::main(signalbox::Cli::parse())
}
