//! Contracts of the twins in memory, which simulations believe, with the servers that they stand for: the same things are
//! done with both, drawn from a seed, and every answer that a caller acts on has to be the same.

mod bus;
mod store;

pub(crate) use bus::of_the_bus;
pub(crate) use store::of_the_store;

/// How many answers there are, or where they part.
fn alike(server: &str, real: &[String], simulated: &[String]) -> Result<usize, String> {
    for (number, (real, simulated)) in real.iter().zip(simulated).enumerate() {
        if real != simulated {
            return Err(format!("answer {number}\n  {server}: {real}\n  the twin: {simulated}"));
        }
    }
    match real.len() == simulated.len() {
        true => Ok(real.len()),
        false => Err(format!("{} answers and {}", real.len(), simulated.len())),
    }
}
