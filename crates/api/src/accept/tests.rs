use expect_test::{Expect, expect};

use super::{Accept, aggregated_discovery};

fn check(header: &str, expect: Expect) {
    let answer = match Accept::parse(Some(header)) {
        Ok(accept) => format!("{:?} {:?}", accept.encoding, accept.shape),
        Err(failure) => failure.code().to_string(),
    };
    expect.assert_eq(&answer);
}

#[test]
fn the_best_that_can_be_written_is_chosen() {
    check("application/json", expect!["Json Object"]);
    check("*/*", expect!["Json Object"]);
    check("application/json;q=0.5,application/yaml", expect!["Yaml Object"]);
    check("application/vnd.kubernetes.protobuf,application/json", expect!["Json Object"]);
    check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", expect!["Json Table"]);
    check("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json", expect!["Json Object"]);
    check("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", expect!["Json Metadata"]);
    check("text/html", expect!["406"]);
    check("garbage", expect!["406"]);
}

#[test]
fn discovery_comes_in_the_newest_form_that_the_client_knows() {
    let aggregated = |header| aggregated_discovery(Some(header)).map(|form| form.version());
    let both = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;\
                g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    assert_eq!(aggregated(both), Some("v2"));
    assert_eq!(aggregated("application/json"), None);
}
