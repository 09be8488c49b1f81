//! Exploring a model completely: how many states, whether a property is violated and in how few steps, and whether
//! there is a state from which no end can be reached any more. It knows no protocol.

use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// A model that says when it has come to an end.
pub trait Protocol: Model {
    /// Whether everything has been done that there is to do, or a person has been called.
    fn ended(&self, state: &Self::State) -> bool;
}

/// What an exploration found.
#[derive(Debug, Clone, PartialEq)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// The property that was violated first, and the steps of the shortest way there.
    pub violated: Option<Violation>,
    /// What ought to be reachable and was not.
    pub unreached: Vec<&'static str>,
}

/// A violated property.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Property.
    pub property: &'static str,
    /// Actions of the shortest trace.
    pub trace: Vec<String>,
}

/// What no step leads out of: see `explore_ends`.
pub const EVERYTHING_CAN_END: &str = "everything can still end";

/// Explores all states, or until a property is violated: then the violation is one with a shortest trace.
pub fn explore<M>(model: M, threads: usize) -> Explored
where
    M: Protocol + Clone + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Debug + Clone + PartialEq,
{
    let whole = explore_to(model.clone(), threads, usize::MAX);
    if whole.violated.is_none() {
        return whole;
    }
    // What is found first need not be what is nearest.
    let depths = (1..).map(|depth| explore_to(model.clone(), 1, depth));
    depths.into_iter().find(|explored| explored.violated.is_some()).unwrap_or(whole)
}

fn explore_to<M>(model: M, threads: usize, depth_max: usize) -> Explored
where
    M: Protocol + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Debug + Clone + PartialEq,
{
    let started = Instant::now();
    let (reachable, promises): (Vec<Property<M>>, Vec<Property<M>>) = model
        .properties()
        .into_iter()
        .partition(|property| property.expectation == Expectation::Sometimes);
    let mut checker = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    if depth_max < usize::MAX {
        checker = checker.target_max_depth(depth_max);
    }
    let checker = checker.spawn_bfs().join();
    let found = checker.discoveries();
    let violation = |promise: &Property<M>| {
        let actions = found.get(promise.name)?.clone().into_actions();
        let trace = actions.iter().map(|action| format!("{action:?}")).collect();
        Some(Violation { property: promise.name, trace })
    };
    let violations = promises.iter().filter_map(violation);
    let names = reachable.iter().map(|property| property.name);
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: started.elapsed(),
        violated: violations.min_by_key(|violation| violation.trace.len()),
        unreached: names.filter(|name| !found.contains_key(name)).collect(),
    }
}

/// Explores all states and looks whether from each of them an end can be reached. stateright's `eventually` judges
/// single paths and is not sound with cycles; this is, and needs memory for every step.
pub fn explore_ends<M: Protocol>(model: &M) -> Explored
where
    M::State: Hash,
    M::Action: Debug + Clone,
{
    let started = Instant::now();
    let mut graph = Graph { numbers: HashMap::new(), before: Vec::new(), first: Vec::new() };
    let mut open: Vec<(usize, M::State)> = Vec::new();
    for state in model.init_states() {
        open.push((graph.add(&state, None).0, state));
    }
    let mut ends = Vec::new();
    let mut actions = Vec::new();
    let mut depth = 0;
    while !open.is_empty() {
        depth += 1;
        for (from, state) in std::mem::take(&mut open) {
            if model.ended(&state) {
                ends.push(from);
            }
            model.actions(&state, &mut actions);
            for action in actions.drain(..) {
                let Some(next) = model.next_state(&state, action.clone()) else { continue };
                let (number, is_new) = graph.add(&next, Some((from, action)));
                if is_new {
                    open.push((number, next));
                }
            }
        }
    }
    let stuck = graph.cannot_reach(ends);
    let trace = |state| graph.way_to(state).iter().map(|action| format!("{action:?}")).collect();
    Explored {
        states: graph.before.len(),
        depth,
        took: started.elapsed(),
        violated: stuck
            .map(|state| Violation { property: EVERYTHING_CAN_END, trace: trace(state) }),
        unreached: Vec::new(),
    }
}

/// States by number in the order of discovery, with the states before them and the action that found them.
struct Graph<A> {
    numbers: HashMap<u64, usize>,
    before: Vec<Vec<usize>>,
    first: Vec<Option<(usize, A)>>,
}

impl<A: Clone> Graph<A> {
    /// The number of a state, and whether it is new.
    fn add<S: Hash>(&mut self, state: &S, by: Option<(usize, A)>) -> (usize, bool) {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        let fresh = self.before.len();
        let number = *self.numbers.entry(hasher.finish()).or_insert(fresh);
        if number == fresh {
            self.before.push(Vec::new());
            self.first.push(by.clone());
        }
        if let Some((from, _)) = by {
            self.before[number].push(from);
        }
        (number, number == fresh)
    }

    /// The first state from which none of the ends can be reached.
    fn cannot_reach(&self, ends: Vec<usize>) -> Option<usize> {
        let mut reaches = vec![false; self.before.len()];
        let mut open = ends;
        while let Some(state) = open.pop() {
            if !std::mem::replace(&mut reaches[state], true) {
                open.extend(self.before[state].iter().filter(|state| !reaches[**state]));
            }
        }
        reaches.iter().position(|reaches| !reaches)
    }

    fn way_to(&self, state: usize) -> Vec<A> {
        let mut way = Vec::new();
        let mut at = state;
        while let Some((from, action)) = &self.first[at] {
            way.push(action.clone());
            at = *from;
        }
        way.reverse();
        way
    }
}
