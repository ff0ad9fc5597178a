//! What keeps a job's quota, or one that this is a part of, from giving it more.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use kube::ResourceExt;
use model::Quantity;
use model::batch_quota::{BatchQuota, IN_FORCE};
use model::dagjob::{DagJob, Task};

/// What is in the way, and what would mend it.
pub(super) fn finding(job: &DagJob, quotas: &[BatchQuota]) -> Option<(String, String)> {
    let name = job.spec.quota.as_ref()?;
    let namespace = job.namespace().unwrap_or_default();
    if let Some(refusal) = control::fuxi::quota_refusal(quotas, name, &namespace) {
        let fault = quotas.iter().find(|quota| quota.name_any() == *name).and_then(fault);
        let why = fault.map_or(refusal, |fault| format!("its BatchQuota {name} is not in force: {fault}"));
        let remedy = "A job keeps the quota that it was made with: mend that one, or make another job.";
        return Some((why, remedy.to_owned()));
    }
    let by_name = |name: &String| quotas.iter().find(|quota| quota.name_any() == *name);
    let parent = |quota: &&BatchQuota| by_name(quota.status.as_ref()?.in_force.as_ref()?.parent.as_ref()?);
    let mut chain = std::iter::successors(by_name(name), parent);
    chain.find_map(|quota| spent(job, quota))
}

fn fault(quota: &BatchQuota) -> Option<String> {
    let status = quota.status.as_ref().filter(|status| status.in_force.is_none())?;
    let condition = status.conditions.iter().find(|condition| condition.type_ == IN_FORCE)?;
    Some(condition.message.clone())
}

/// Whether a quota has no room for one more worker of any task of the job.
fn spent(job: &DagJob, quota: &BatchQuota) -> Option<(String, String)> {
    let status = quota.status.as_ref()?;
    let milli = |text: &Text| Quantity::parse(&text.0).map_or(0, Quantity::to_milli);
    let is_spent = |(resource, max): (&String, &Text)| {
        let used = status.used.get(resource).map_or(0, milli);
        let least = job.spec.tasks.iter().map(|task| needs(task, resource)).min().unwrap_or(0);
        (used + least > milli(max))
            .then(|| format!("{resource} {} of {}", text_of(&status.used, resource), max.0))
    };
    let spent: Vec<String> = status.in_force.as_ref()?.max.iter().filter_map(is_spent).collect();
    let name = quota.name_any();
    let remedy = format!("Wait for its other jobs, or raise spec.max of BatchQuota {name}.");
    (!spent.is_empty()).then(|| (format!("BatchQuota {name} is spent: {}", spent.join(", ")), remedy))
}

fn text_of<'a>(used: &'a BTreeMap<String, Text>, resource: &str) -> &'a str {
    used.get(resource).map_or("0", |quantity| quantity.0.as_str())
}

/// What one worker of the task takes of a resource, in thousandths.
pub(super) fn needs(task: &Task, resource: &str) -> i128 {
    let milli = |text: &str| Quantity::parse(text).map_or(0, Quantity::to_milli);
    match resource {
        "cpu" => milli(&task.resources.cpu.0),
        "memory" => milli(&task.resources.memory.0),
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use model::batch_quota::{BatchQuota, BatchQuotaSpec};
    use model::dagjob::DagJob;
    use serde_json::{Value, json};

    use super::super::super::progress::tests::spec;
    use super::finding;

    fn check(quotas: &[(&str, Value)], expected: Option<&str>) {
        let mut job = DagJob::new("words", spec());
        job.spec.quota = Some("q".to_owned());
        job.metadata.namespace = Some("n".to_owned());
        let quota = |(name, status): &(&str, Value)| {
            let mut quota = BatchQuota::new(name, BatchQuotaSpec::default());
            quota.status = serde_json::from_value(status.clone()).unwrap();
            quota
        };
        let quotas: Vec<BatchQuota> = quotas.iter().map(quota).collect();
        let found = finding(&job, &quotas);
        assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
        let (what, remedy) = found.unwrap_or_default();
        assert!(what.contains(expected.unwrap_or_default()), "{what}");
        assert!(expected.is_none() || remedy.ends_with('.'), "{remedy}");
    }

    #[test]
    fn a_quota_that_gives_no_more_is_named() {
        check(&[], Some("`q` is not there"));
        let fault = json!({"type": "InForce", "status": "False", "reason": "Faulty", "message": "no such parent",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        check(&[("q", json!({"conditions": [fault]}))], Some("not in force: no such parent"));
        check(&[("q", json!({"inForce": {"namespaces": ["m"]}}))], Some("not for namespace `n`"));
        let part = ("p", json!({"inForce": {"parent": "q"}}));
        check(&[("q", json!({"inForce": {}})), part], Some("name one of them: p"));
        let spent = json!({"inForce": {"max": {"cpu": "2", "workers": "9"}}, "used": {"cpu": "1500m", "workers": "2"}});
        check(&[("q", spent.clone())], Some("BatchQuota q is spent: cpu 1500m of 2"));
        let wide = json!({"inForce": {"max": {"cpu": "4"}, "parent": "all"}, "used": {"cpu": "1500m"}});
        check(&[("q", wide.clone()), ("all", spent)], Some("BatchQuota all is spent"));
        check(&[("q", wide), ("all", json!({"inForce": {}}))], None);
    }
}
