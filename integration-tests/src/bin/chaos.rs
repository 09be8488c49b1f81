//! `make chaos`: faults on real parts as a program of its own, `chaos payouts=10000 faults=50 seed=7 rate=20 disks=own`. Exits with 0
//! only if every promise held and the run was not too tame.

use std::process::ExitCode;
use std::time::Duration;

use integration_tests::chaos::{self, Plan};
use integration_tests::{Failure, built_program};
use signalbox::scene::Console;

fn main() -> ExitCode {
    // The witness reads with the same client as the product.
    let _ = signalbox::zeroed::ensure();
    match endure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            Console::start().print(&format!("chaos: FAILED\n{failure}"));
            ExitCode::FAILURE
        }
    }
}

fn endure() -> Result<(), Failure> {
    let plan = plan(std::env::args().skip(1))?;
    let doing = Failure::while_doing("starting the async runtime");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(doing)?;
    runtime.block_on(Box::pin(chaos::run(built_program()?, plan)))
}

fn plan(words: impl Iterator<Item = String>) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    for word in words {
        let wrong = || {
            Failure::Broken(format!(
                "{word:?} is not understood: payouts=N, faults=N, seed=N, rate=N, only=WORD,
                 away=SECONDS or disks=own"
            ))
        };
        let (name, value) = word.split_once('=').ok_or_else(wrong)?;
        match name {
            "payouts" => plan.payouts = value.parse().map_err(|_| wrong())?,
            "faults" => plan.faults = value.parse().map_err(|_| wrong())?,
            "seed" => plan.seed = value.parse().map_err(|_| wrong())?,
            "rate" => plan.rate = value.parse().map_err(|_| wrong())?,
            "away" => {
                plan.away = Some(Duration::from_secs(value.parse().map_err(|_| wrong())?));
            }
            "only" => value.clone_into(&mut plan.only),
            "disks" => plan.disks = value == "own",
            _ => return Err(wrong()),
        }
    }
    Ok(plan)
}
