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
            r#"{"apiVersion":"v1","code":404,"details":{"kind":"pods","name":"web"},"kind":"Status","message":"pods \"web\" not found","metadata":{},"reason":"NotFound","status":"Failure"}"#
        ]],
    );
    check(
        &Failure::already_exists(deployments, "web"),
        expect![[
            r#"{"apiVersion":"v1","code":409,"details":{"group":"apps","kind":"deployments","name":"web"},"kind":"Status","message":"deployments.apps \"web\" already exists","metadata":{},"reason":"AlreadyExists","status":"Failure"}"#
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
            r#"{"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.containers[0].image","message":"Required value","reason":"FieldValueRequired"},{"field":"spec.restartPolicy","message":"Unsupported value: \"Never!\": supported values: \"Always\", \"Never\", \"OnFailure\"","reason":"FieldValueNotSupported"}],"kind":"Pod","name":"web"},"kind":"Status","message":"Pod \"web\" is invalid: [spec.containers[0].image: Required value, spec.restartPolicy: Unsupported value: \"Never!\": supported values: \"Always\", \"Never\", \"OnFailure\"]","metadata":{},"reason":"Invalid","status":"Failure"}"#
        ]],
    );
}
