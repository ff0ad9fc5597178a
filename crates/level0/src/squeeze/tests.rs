//! The squeezer against scripted hosts and against a host that answers to the quota.

use proptest::prelude::{any, proptest};

use super::*;

const CAPACITY: f64 = 4000.0;

fn squeezer(class: Class) -> Squeezer {
    Squeezer::new(Policy::default(), class)
}

fn sample(tick: u64, online: f64, batch: f64, delay: f64) -> Sample<'static> {
    Sample {
        now: Duration::from_millis(100 * tick),
        capacity: CAPACITY,
        online,
        batch,
        system: 100.0,
        online_delay: Some(delay),
        news: &[],
    }
}

fn quota(squeeze: Squeeze) -> f64 {
    squeeze.quota.map_or(CAPACITY, |quota| quota.0 as f64)
}

#[test]
fn batch_is_free_while_online_feels_nothing() {
    let mut squeezer = squeezer(Class::Idle);
    for tick in 0..100 {
        let squeeze = squeezer.step(sample(tick, 1200.0, 2600.0, 0.05));
        assert_eq!((squeeze.quota, squeeze.idle, squeeze.suffering), (None, true, Some(0.2)));
    }
}

#[test]
fn delay_halves_batch_within_one_tick() {
    let mut squeezer = squeezer(Class::Idle);
    squeezer.step(sample(0, 1200.0, 2600.0, 0.05));
    assert_eq!(squeezer.step(sample(1, 1200.0, 2600.0, 0.5)).quota, Some(MilliCpu(1300)));
    assert_eq!(squeezer.step(sample(2, 1200.0, 1300.0, 0.5)).quota, Some(MilliCpu(650)));
}

#[test]
fn without_the_idle_class_the_quota_follows_online_at_once_and_returns_gently() {
    let mut squeezer = squeezer(Class::Weight);
    assert_eq!(squeezer.step(sample(0, 1000.0, 2000.0, 0.0)).quota, Some(MilliCpu(2700)));
    assert_eq!(squeezer.step(sample(1, 2500.0, 2000.0, 0.0)).quota, Some(MilliCpu(1200)));
    let after = quota(squeezer.step(sample(2, 1000.0, 2000.0, 0.0)));
    assert!((1200.0..1400.0).contains(&after), "{after}");
}

#[test]
fn a_host_full_of_online_leaves_batch_its_floor() {
    let mut squeezer = squeezer(Class::Idle);
    for tick in 0..6 {
        squeezer.step(sample(tick, 3850.0, 100.0, 0.1));
    }
    assert_eq!(squeezer.step(sample(6, 3850.0, 100.0, 0.1)).quota, Some(MilliCpu(200)));
}

#[test]
fn after_one_scare_batch_is_free_again_within_ten_seconds() {
    let mut squeezer = squeezer(Class::Idle);
    squeezer.step(sample(0, 1200.0, 2600.0, 0.9));
    let back = (1..100).find(|tick| squeezer.step(sample(*tick, 1200.0, 100.0, 0.0)).quota.is_none());
    assert!(back.is_some());
}

#[test]
fn delay_that_is_not_batchs_doing_is_learnt() {
    let mut squeezer = squeezer(Class::Idle);
    let quotas: Vec<f64> =
        (0..400).map(|tick| quota(squeezer.step(sample(tick, 1200.0, 300.0, 0.6)))).collect();
    assert!(quotas[10] <= 200.0);
    assert!((quotas[399] - CAPACITY).abs() < 1.0, "acquitted, and free: {}", quotas[399]);
}

/// A service that tells its latency once a second, which depends on what batch had in that second.
fn with_latency(
    squeezer: &mut Squeezer,
    ticks: std::ops::Range<u64>,
    latency: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let mut allowed = CAPACITY;
    let mut all = Vec::new();
    for tick in ticks {
        let batch = allowed.min(2600.0);
        let news = [("web", latency(batch))];
        let news = if tick % 10 == 9 { &news[..] } else { &[] };
        allowed = quota(squeezer.step(Sample { news, ..sample(tick, 1200.0, batch, 0.05) }));
        all.push(allowed);
    }
    all
}

#[test]
fn a_service_that_is_slow_shrinks_batch_once_for_each_time_that_it_says_so() {
    let mut squeezer = squeezer(Class::Idle);
    let quotas = with_latency(&mut squeezer, 0..40, |batch| if batch > 700.0 { 2.0 } else { 0.5 });
    assert_eq!([quotas[8], quotas[9], quotas[18]], [CAPACITY, 1300.0, 1300.0], "kept between two tellings");
    assert_eq!([quotas[19], quotas[28]], [650.0, 650.0]);
}

#[test]
fn a_service_that_is_always_slow_does_not_keep_batch_down() {
    let mut squeezer = squeezer(Class::Idle);
    let quotas = with_latency(&mut squeezer, 0..600, |_| 7.0);
    assert!(quotas.iter().any(|quota| *quota <= 200.0));
    assert!((quotas[599] - CAPACITY).abs() < 1.0, "acquitted, and free: {}", quotas[599]);
}

/// In how many seconds of an hour `web` suffers that does so whenever batch has more than 700, beside one that tells `other`.
fn hurts_in_an_hour(other: f64) -> usize {
    let mut squeezer = squeezer(Class::Idle);
    let (mut allowed, mut hurts) = (CAPACITY, 0);
    for tick in 0..36_000 {
        let batch = allowed.min(2600.0);
        let latency = if batch > 700.0 { 3.0 } else { 0.5 };
        let news = [("liar", other), ("web", latency)];
        let news = if tick % 10 == 9 { &news[..] } else { &[] };
        hurts += usize::from(!news.is_empty() && latency > 1.0);
        allowed = quota(squeezer.step(Sample { news, ..sample(tick, 1200.0, batch, 0.05) }));
    }
    hurts
}

#[test]
fn a_service_that_tells_nonsense_takes_no_other_ones_protection() {
    let (alone, beside) = (hurts_in_an_hour(0.5), hurts_in_an_hour(7.0));
    println!("hurt in {alone} seconds of an hour alone, in {beside} beside one that tells nonsense");
    assert!(alone < 180 && beside < 360, "{alone} {beside}");
}

#[test]
fn a_service_that_falls_silent_counts_for_three_seconds() {
    let mut squeezer = squeezer(Class::Idle);
    squeezer.step(Sample { news: &[("web", 5.0)], ..sample(0, 1200.0, 2600.0, 0.05) });
    let quotas: Vec<f64> =
        (1..200).map(|tick| quota(squeezer.step(sample(tick, 1200.0, 100.0, 0.05)))).collect();
    assert!(quotas[28] < 1301.0 && quotas[198] > CAPACITY - 1.0, "{quotas:?}");
}

#[test]
fn who_is_pardoned_is_back_within_seconds() {
    let mut squeezer = squeezer(Class::Idle);
    // Hurt again and again, batch has become wary.
    let wary = with_latency(&mut squeezer, 0..3000, |batch| if batch > 700.0 { 2.0 } else { 0.5 });
    assert!(wary[2950..].iter().all(|quota| *quota < 1000.0));
    squeezer.pardon();
    let back = with_latency(&mut squeezer, 3000..3070, |_| 0.5);
    assert!((back[69] - CAPACITY).abs() < 1.0, "{back:?}");
}

/// A host where online suffers whenever batch gets more than `bearable`.
fn hurts_in_ten_minutes(bearable: f64, class: Class) -> usize {
    let mut squeezer = squeezer(class);
    let mut allowed = CAPACITY;
    let mut hurts = 0;
    for tick in 0..6000 {
        let batch = allowed.min(CAPACITY - 1300.0);
        let delay = if batch > bearable { 0.5 } else { 0.05 };
        hurts += usize::from(batch > bearable);
        allowed = quota(squeezer.step(sample(tick, 1200.0, batch, delay)));
    }
    hurts
}

proptest! {
    #[test]
    fn what_batch_cannot_help_never_holds_it_for_long(
        wanted in 10.0..4000.0_f64, floor in 1_u32..=20, delay in any::<bool>(),
    ) {
        let policy = Policy { floor: f64::from(floor) / 100.0, ..Policy::default() };
        let mut squeezer = Squeezer::new(policy, Class::Idle);
        let (mut allowed, mut held_for) = (CAPACITY, 0);
        for tick in 0..3000 {
            let news: &[News<'_>] = if !delay && tick % 10 == 9 { &[("web", 7.0)] } else { &[] };
            let delay = if delay { 0.9 } else { 0.05 };
            let sample = Sample { news, ..sample(tick, 1200.0, allowed.min(wanted), delay) };
            allowed = quota(squeezer.step(sample));
            held_for = if allowed < CAPACITY { held_for + 1 } else { 0 };
            // Down to the floor within eight seconds, five there, and five back up.
            assert!(held_for < 200, "held at {allowed} for {held_for} ticks");
        }
    }

    #[test]
    fn probing_never_flaps(bearable in 300.0..2600.0_f64) {
        let hurts = hurts_in_ten_minutes(bearable, Class::Idle);
        assert!(hurts < 60, "online was hurt in {hurts} of 6000 ticks");
    }

    #[test]
    fn constant_load_means_a_constant_quota(
        online in 0.0..5000.0_f64, batch in 0.0..4000.0_f64, delay in 0.0..0.2_f64, weight in any::<bool>(),
    ) {
        let mut squeezer = squeezer(if weight { Class::Weight } else { Class::Idle });
        let quotas: Vec<Squeeze> = (0..600).map(|tick| squeezer.step(sample(tick, online, batch, delay))).collect();
        let changes = quotas[100..].windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 0);
    }

    #[test]
    fn pressure_always_shrinks_within_one_tick(
        warm in proptest::collection::vec((0.0..3000.0_f64, 300.0..4000.0_f64, 0.0..0.2_f64), 0..50),
    ) {
        let mut squeezer = squeezer(Class::Idle);
        for (tick, (online, batch, delay)) in warm.iter().enumerate() {
            squeezer.step(sample(tick as u64, *online, *batch, *delay));
        }
        let before = quota(squeezer.step(sample(50, 1000.0, 2000.0, 0.0)));
        let after = quota(squeezer.step(sample(51, 1000.0, before.min(2000.0), 0.9)));
        assert!(after <= (before / 2.0).max(200.0) + 1.0, "{before} -> {after}");
    }

    #[test]
    fn broken_samples_are_harmless(
        samples in proptest::collection::vec(any::<(u32, f64, f64, f64, f64, Option<f64>, f64)>(), 1..60),
        weight in any::<bool>(),
    ) {
        let mut squeezer = squeezer(if weight { Class::Weight } else { Class::Idle });
        for (now, capacity, online, batch, system, online_delay, latency) in samples {
            let now = Duration::from_millis(u64::from(now));
            let news = &[("web", latency)];
            let squeeze = squeezer.step(Sample { now, capacity, online, batch, system, online_delay, news });
            assert!(squeeze.quota.is_none_or(|quota| quota.0 >= 10));
        }
    }
}
