//! How objects get from one version to another.

use serde_json::Value;

use super::super::{Faults, extension, list, text};
use crate::status::FieldError;

const PATH: &str = "spec.conversion";

pub(super) fn check(conversion: &Value, faults: &mut Faults) {
    match text(conversion, "strategy") {
        "" => faults.push(FieldError::required(format!("{PATH}.strategy"), "")),
        "None" => {
            if conversion["webhook"].is_object() {
                let message = "should not be set when strategy is not set to Webhook";
                faults.push(FieldError::forbidden(format!("{PATH}.webhookClientConfig"), message));
            }
        }
        "Webhook" => webhook(&conversion["webhook"], faults),
        other => {
            let supported = ["None", "Webhook"];
            faults.push(FieldError::not_supported(format!("{PATH}.strategy"), other, &supported));
        }
    }
}

fn webhook(webhook: &Value, faults: &mut Faults) {
    let path = format!("{PATH}.webhookClientConfig");
    if webhook["clientConfig"].is_object() {
        extension::client(&path, &webhook["clientConfig"], faults);
    } else {
        faults.push(FieldError::required(path, "required when strategy is set to Webhook"));
    }
    let path = format!("{PATH}.conversionReviewVersions");
    let versions = list(webhook, "conversionReviewVersions");
    if versions.is_empty() {
        faults.push(FieldError::required(path, ""));
    } else if !versions.iter().any(|version| *version == "v1" || *version == "v1beta1") {
        let message = "must include at least one of v1, v1beta1";
        faults.push(FieldError::invalid(path, versions.to_vec(), message));
    }
}
