//! scratch
use signalbox_model::{
    explore::{explore, explore_ends},
    forward::*,
};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    for v in [
        Variant::Sound,
        Variant::NoPeer,
        Variant::PeerOutside,
        Variant::OverGap,
        Variant::FenceOneOfTwo,
        Variant::RestForgotten,
        Variant::LostAnswerIsFailure,
    ]
    .iter()
    .take(a[4].parse().unwrap())
    {
        let m = ForwardModel {
            variant: *v,
            foreign: a[1].parse().unwrap(),
            own: a[2].parse().unwrap(),
            faults: a[3].parse().unwrap(),
        };
        let x = explore(m.clone(), 1);
        println!(
            "{v:?} states {} depth {} {:?} unreached {:?}\n   {:?}",
            x.states,
            x.depth,
            x.took,
            x.unreached,
            x.violated.map(|v| (v.property, v.trace.len(), v.trace))
        );
        if *v == Variant::Sound && x.states < 1_000_000 {
            let x = explore_ends(&m);
            println!("ends {:?} {:?} {:?}", x.states, x.took, x.violated);
        }
    }
}
