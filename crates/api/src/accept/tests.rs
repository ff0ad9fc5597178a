use expect_test::{Expect, expect};

use super::{Accept, Discovery, Encoding};

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
    check("application/vnd.kubernetes.protobuf", expect!["Protobuf Object"]);
    check(
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json;\
         as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json",
        expect!["Json Metadata"],
    );
    check("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", expect!["406"]);
    check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", expect!["Json Table"]);
    check("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json", expect!["Json Table"]);
    check("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", expect!["Json Metadata"]);
    check("text/html", expect!["406"]);
    check("garbage", expect!["406"]);
}

#[test]
fn discovery_comes_in_the_newest_form_that_the_client_knows() {
    let form = |header: &str| Discovery::parse(Some(header)).ok();
    let both = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;\
                g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let older = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    assert_eq!(form(both), Some(Discovery::Aggregated));
    assert_eq!(form(&format!("{older},application/json")), Some(Discovery::Plain(Encoding::Json)));
    assert_eq!(form(older), None);
    assert_eq!(form("text/html"), None);
    assert_eq!(Discovery::parse(None).ok(), Some(Discovery::Plain(Encoding::Json)));
}
