//! scratch
use signalbox_model::{
    explore::{explore, explore_ends},
    lane::{Input, LaneModel, Variant},
};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let f: u8 = a[1].parse().unwrap();
    let e: u8 = a[2].parse().unwrap();
    let r = a[3] == "r";
    let vs = [
        Variant::Sound,
        Variant::NoFence,
        Variant::FenceByOffset,
        Variant::OffsetOutside,
        Variant::MarkedBeforeAck,
        Variant::MarkedOverHoles,
        Variant::LaterPassesFailed,
        Variant::OneResumePoint,
        Variant::LostTailIgnored,
        Variant::ExpiryHidesLostTail,
        Variant::TopicsNotChecked,
        Variant::LostAnswerIsFailure,
        Variant::LostAnswerIsSuccess,
        Variant::TimerNotLookedUp,
        Variant::TimerByOwnClock,
        Variant::BrokerForgetsProducer,
        Variant::TailLostUnseen,
    ];
    let inputs = if a[4] == "2" {
        vec![Input::Start, Input::Answer]
    } else {
        vec![Input::Start, Input::Note, Input::Answer]
    };
    for v in vs.iter().take(a[5].parse().unwrap()) {
        let m =
            LaneModel { variant: *v, inputs: inputs.clone(), faults: f, expiries: e, restore: r };
        let x = explore(m.clone(), 1);
        println!(
            "{v:?} states {} depth {} {:?} unreached {:?}\n   {:?}",
            x.states,
            x.depth,
            x.took,
            x.unreached,
            x.violated.map(|v| (v.property, v.trace.len(), v.trace))
        );
        if *v == Variant::Sound && f < 3 {
            let x = explore_ends(&m);
            println!("ends {:?} {:?} {:?}", x.states, x.took, x.violated);
        }
    }
}
