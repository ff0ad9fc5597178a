//! What a namespace that cannot go says of itself.

use expect_test::expect;
use k8s_openapi::api::core::v1::Namespace;

use super::decide::{Remains, status};

#[test]
fn it_names_what_remains_and_what_holds_it() {
    let remains = Remains {
        objects: [("configmaps".to_owned(), 1), ("deployments.apps".to_owned(), 2)].into(),
        finalizers: [("x.io/h".to_owned(), 1)].into(),
        failures: Vec::new(),
    };
    assert!(!remains.is_empty());
    let status = status(&Namespace::default(), &remains, jiff::Timestamp::UNIX_EPOCH);
    let lines = status.conditions.iter().flatten().map(|each| {
        format!("{}={} {}", each.type_, each.status, each.message.as_deref().unwrap_or_default())
    });
    expect![[r#"
        NamespaceDeletionDiscoveryFailure=False All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure=False All legacy kube types successfully parsed
        NamespaceDeletionContentFailure=False All content successfully deleted, may be waiting on finalization
        NamespaceContentRemaining=True Some resources are remaining: configmaps. has 1 resource instances, deployments.apps has 2 resource instances
        NamespaceFinalizersRemaining=True Some content in the namespace has finalizers remaining: x.io/h in 1 resource instances"#]].assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}
