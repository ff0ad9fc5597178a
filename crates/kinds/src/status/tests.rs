//! Refusals as clients read them.

use expect_test::{Expect, expect};

use super::{Failure, FieldError};
use crate::find;

fn check(failure: &Failure, expected: Expect) {
    expected.assert_eq(&failure.to_value().to_string());
}

#[test]
fn refusals_name_the_resource_with_its_group() {
    let pods = find("", "v1", "pods").unwrap();
    let deployments = find("apps", "v1", "deployments").unwrap();
    check(
        &Failure::not_found(pods, "web"),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"web\" not found","reason":"NotFound","details":{"name":"web","kind":"pods"},"code":404}"#
        ]],
    );
    check(
        &Failure::already_exists(deployments, "web"),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"web\" already exists","reason":"AlreadyExists","details":{"name":"web","group":"apps","kind":"deployments"},"code":409}"#
        ]],
    );
}

#[test]
fn every_fault_is_a_cause() {
    let pods = find("", "v1", "pods").unwrap();
    let errors = vec![
        FieldError::required("spec.containers[0].image", ""),
        FieldError::not_supported("spec.restartPolicy", "Never!", &["OnFailure", "Always", "Never"]),
    ];
    check(
        &Failure::invalid(pods, "web", errors),
        expect![[
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Pod \"web\" is invalid: [spec.containers[0].image: Required value, spec.restartPolicy: Unsupported value: \"Never!\": supported values: \"Always\", \"Never\", \"OnFailure\"]","reason":"Invalid","details":{"name":"web","kind":"Pod","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.containers[0].image"},{"reason":"FieldValueNotSupported","message":"Unsupported value: \"Never!\": supported values: \"Always\", \"Never\", \"OnFailure\"","field":"spec.restartPolicy"}]},"code":422}"#
        ]],
    );
}
