//! `make torture`: the heavy scenario as a program of its own. Exits with 0 only if every promise held.

use std::process::ExitCode;

use integration_tests::{Failure, built_program, torture};
use signalbox::scene::Console;

fn main() -> ExitCode {
    // The witness reads with the same client as the product.
    let _ = signalbox::zeroed::ensure();
    match endure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            Console::start().print(&format!("torture: FAILED\n{failure}"));
            ExitCode::FAILURE
        }
    }
}

fn endure() -> Result<(), Failure> {
    let doing = Failure::while_doing("starting the async runtime");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(doing)?;
    runtime.block_on(Box::pin(torture::run(built_program()?, torture::FULL)))
}
