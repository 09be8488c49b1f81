//! What the routes share: clock, ledger, faults, counters and the vendors' small memories.
//! It holds things together and decides nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::checks::Checks;
use crate::clock::Clock;
use crate::faults::{Chance, Faults, Repeats};
use crate::ledger::{Ledger, LedgerError};
use crate::options::SandboxOptions;
use crate::personas::Vendor;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: SandboxOptions,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) chance: Chance,
    pub(crate) repeats: Repeats,
    pub(crate) calls: Calls,
    pub(crate) checks: Checks,
    stopping: watch::Receiver<bool>,
}

impl State {
    pub(crate) fn new(
        options: SandboxOptions,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, LedgerError> {
        let file = options.ledger_file.as_deref();
        let ledger = Ledger::open(options.seed, options.effects_max, file)?;
        let clock = Clock::default();
        clock.set_offset(ledger.clock_offset_ms());
        Ok(Self {
            chance: Chance::new(Faults::of(options.latency), options.seed),
            checks: Checks::new(options.seed),
            clock,
            ledger,
            repeats: Repeats::default(),
            calls: Calls::default(),
            stopping,
            options,
        })
    }

    /// Back to the state after start with an empty ledger.
    pub(crate) fn reset(&self) -> Result<(), LedgerError> {
        self.ledger.reset()?;
        self.clock.set_offset(0);
        self.chance
            .set(Faults { seed: Some(self.options.seed), ..Faults::of(self.options.latency) });
        self.repeats.reset();
        self.calls.reset();
        self.checks.reset();
        Ok(())
    }

    /// Waits, but not beyond the end of the sandbox.
    pub(crate) async fn sleep(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
}

/// Requests per vendor and operation, those with injected faults included.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    counts: Mutex<BTreeMap<Vendor, BTreeMap<String, u64>>>,
}

impl Calls {
    pub(crate) fn count(&self, vendor: Vendor, operation: String) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(vendor).or_default().entry(operation).or_default() += 1;
    }

    pub(crate) fn all(&self) -> BTreeMap<Vendor, BTreeMap<String, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reset(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
