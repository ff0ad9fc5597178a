//! A small report in its three forms.

use expect_test::expect;

use super::{Phase, Report};
use crate::latency::Percentiles;

fn phase(name: &str, cpu_busy: f64, p99_us: u64) -> Phase {
    Phase {
        name: name.to_owned(),
        cpu_busy,
        requests_per_second: 2000.4,
        failed_requests: 0,
        latency: Percentiles { p50_us: 120, p90_us: 200, p99_us, p999_us: 2 * p99_us, max_us: 4 * p99_us },
        tail: vec![(100, 1.0), (120, 0.5), (p99_us, 0.01)],
        batch_instances_per_minute: 30.0,
        cpu_over_time: vec![(0.0, cpu_busy), (1.0, cpu_busy)],
    }
}

fn report() -> Report {
    Report {
        machine: "2 CPUs".to_owned(),
        at: "2026-11-11".to_owned(),
        requests_per_second: 2000,
        phases: vec![phase("service <alone>", 0.3, 1000), phase("with Crest", 0.9, 1050)],
    }
}

#[test]
fn the_table_compares_with_the_first_phase() {
    expect![[r#"
        2 CPUs
        Measured 2026-11-11 with 2000 requests per second offered in every phase.

        PHASE                           CPU     REQ/S       P50       P99     P99.9  P99 +/-  FAILED    BATCH/MIN
        service <alone>                 30%      2000    0.12ms    1.00ms    2.00ms      +0%       0           30
        with Crest                      90%      2000    0.12ms    1.05ms    2.10ms      +5%       0           30
    "#]]
    .assert_eq(&report().to_text());
}

#[test]
fn the_page_stands_alone_and_escapes_names() {
    let page = report().to_html();
    assert!(page.contains("service &lt;alone&gt;") && !page.contains("<alone>"));
    assert!(!page.contains("http://") && !page.contains("<script"));
    assert_eq!(page.matches("<svg").count(), 3);
}

#[test]
fn json_reads_back() {
    let json = serde_json::to_string(&report()).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
}
