//! The lane and effect protocols as bounded models that are explored completely: three small ones that lean on each
//! other's promises instead of one that nobody could explore. Each names what it covers, what it assumes and where in
//! the code each of its actions is. It runs none of the product's I/O; rules that are pure in the product are run as
//! they are.

#![allow(
    clippy::indexing_slicing,
    reason = "a model fails by panicking: an index that is not there is a bug of the model"
)]

/// Everything that is explored, and what it must come to.
pub mod catalogue;
mod consume;
/// One payment of one flow.
pub mod effect;
/// Exploring a model.
pub mod explore;
/// Two lanes.
pub mod forward;
/// One lane with two outputs.
pub mod lane;
