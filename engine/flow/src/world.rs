//! What a step cannot know from the flow alone: answered by the facts in a running flow, tried both ways in the checker.
//! It is no way to the outside: nothing here reads a clock or a store.

/// What a step cannot know from the flow alone. In a real step there is an answer; in the checker both are tried.
pub(crate) trait World {
    /// Whether a guard holds whose facts are unknown.
    fn unknown_guard(&mut self) -> bool;
    /// Whether `used` tries of `at_most` are all there are.
    fn exhausted(&mut self, used: u32, at_most: u32) -> bool;
}

/// The world of a running flow.
pub(crate) struct Real;

impl World for Real {
    /// Every fact is there when a flow runs; what is not, is false, so that `otherwise` is taken.
    fn unknown_guard(&mut self) -> bool {
        false
    }

    fn exhausted(&mut self, used: u32, at_most: u32) -> bool {
        used >= at_most
    }
}
