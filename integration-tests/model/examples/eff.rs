//! scratch
use signalbox_model::{
    effect::*,
    explore::{explore, explore_ends},
};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let f: u8 = a[1].parse().unwrap();
    let sm: u8 = a[2].parse().unwrap();
    let r = a[3] == "r";
    let mut vs = vec![Variant::Sound];
    vs.extend(Way::ALL.map(Variant::WayOutUnchecked));
    vs.extend([
        Variant::NotFoundIsProof,
        Variant::ResentWithoutKey,
        Variant::VendorIgnoresKey,
        Variant::WholeWindow,
        Variant::PermitNeverAges,
        Variant::ResendNeverAges,
        Variant::SentBeforePermit,
        Variant::ResendUncounted,
        Variant::RefusalAlwaysProof,
        Variant::RefusalByOwnCount,
        Variant::ResendOverResult,
        Variant::TimerEndsDoubt,
        Variant::RulingLeavesOpen,
        Variant::RestoreNotHeld,
        Variant::NobodyRules,
    ]);
    for v in vs.iter().take(a[4].parse().unwrap()) {
        for (n, t) in [("keys", KEYS), ("replays", REPLAYS), ("none", NO_KEYS)] {
            let m = EffectModel { variant: *v, terms: t, faults: f, sends_max: sm, restore: r };
            let x = explore(m.clone(), 1);
            println!(
                "{v:?} {n} states {} depth {} {:?} unreached {:?}\n   {:?}",
                x.states,
                x.depth,
                x.took,
                x.unreached,
                x.violated.map(|v| (v.property, v.trace.len(), v.trace))
            );
            if matches!(*v, Variant::Sound | Variant::NobodyRules) && x.states < 1_000_000 {
                let x = explore_ends(&m);
                println!("ends {:?} {:?} {:?}", x.states, x.took, x.violated);
            }
        }
    }
}
