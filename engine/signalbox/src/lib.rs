//! What the `signalbox` command is made of.

pub mod local;
