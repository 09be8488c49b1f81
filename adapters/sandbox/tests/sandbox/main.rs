//! The sandbox as its users see it: over real HTTP. One binary, so that it links once.
//! It does not look inside; pure rules are tested beside their code.

#![allow(clippy::unwrap_used, clippy::panic)]

mod checks;
mod control;
mod payouts;
mod support;
