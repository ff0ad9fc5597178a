//! The recorded answers of a real API server as an oracle: the same bodies, decoded, filled in and judged here.
//!
//! The recordings lie beside the repository or where `CREST_GOLDEN` says; without them the test says so and ends.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "the helpers of a test are a test")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use kinds::status::Failure;
use kinds::{Kind, decode, defaults, patch, validate};
use serde_json::{Map, Value, json};

const UID: &str = "00000000-0000-0000-0000-000000000001";

/// Replays a group of cases and names the steps whose answer differs, with what differs.
fn check(group: &str, expected: Expect) {
    let Some(cases) = recorded(group) else {
        println!("skipped: no recorded cases of {group}; set CREST_GOLDEN to the folder that holds them");
        return;
    };
    let mut report = String::new();
    for case in cases["cases"].as_array().unwrap() {
        let mut server = Server::default();
        for step in case["steps"].as_array().unwrap() {
            if let Some(difference) = server.replay(step) {
                report.push_str(&format!(
                    "{} {}: {difference}\n",
                    case["case"].as_str().unwrap(),
                    step["method"]
                ));
            }
        }
    }
    expected.assert_eq(&report);
}

fn recorded(group: &str) -> Option<Value> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/cases");
    let folder = std::env::var_os("CREST_GOLDEN")
        .map_or_else(|| PathBuf::from(beside), |golden| PathBuf::from(golden).join("cases"));
    let text = std::fs::read_to_string(folder.join(format!("{group}.json"))).ok()?;
    serde_json::from_str(&text.replace("{{ns}}", "ns").replace("{{sfx}}", "s")).ok()
}

/// Just enough of a server: the objects by path.
#[derive(Default)]
struct Server {
    objects: Map<String, Value>,
}

impl Server {
    fn replay(&mut self, step: &Value) -> Option<String> {
        let path = step["path"].as_str()?.split('?').next()?.to_owned();
        let (kind, name) = resource(&path)?;
        let content_type = step["headers"]["Content-Type"].as_str().unwrap_or_default();
        let body = match &step["body"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let answer = match (step["method"].as_str()?, name) {
            ("POST", None) => self.create(kind, &path, content_type, body.as_bytes()),
            ("PATCH", Some(_)) => self.patch(kind, &path, content_type, body.as_bytes())?,
            _ => return None,
        };
        compare(&step["response"], &answer)
    }

    fn create(&mut self, kind: &Kind, path: &str, content_type: &str, body: &[u8]) -> Result<Value, Failure> {
        let mut object = decode::body(kind, content_type, body)?.object;
        if kind.is_namespaced() {
            object["metadata"]["namespace"] = "ns".into();
        }
        object["metadata"]["uid"] = UID.into();
        if object["metadata"]["name"].is_null()
            && let Some(prefix) = object["metadata"]["generateName"].as_str()
        {
            object["metadata"]["name"] = format!("{prefix}abcde").into();
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        defaults::apply(kind, &mut object);
        if kind.kind == "CustomResourceDefinition" {
            object["status"] = kinds::custom::status::initial(&object);
        }
        refuse(kind, &name, validate::create(kind, &object))?;
        self.objects.insert(format!("{path}/{name}"), object.clone());
        Ok(object)
    }

    fn patch(
        &mut self,
        kind: &Kind,
        path: &str,
        media_type: &str,
        body: &[u8],
    ) -> Option<Result<Value, Failure>> {
        let current = self.objects.get(path)?.clone();
        let Some(patch_type) = patch::PatchType::from_content_type(media_type) else {
            return Some(Err(Failure::unsupported_media_type(&[])));
        };
        let patched = patch::apply(kind, patch_type, &current, body).and_then(|mut object| {
            // What a real server keeps under `$patch: replace` as well.
            object["metadata"]["namespace"] = current["metadata"]["namespace"].clone();
            if object["metadata"]["uid"].is_null() {
                object["metadata"]["uid"] = UID.into();
            }
            let mut object = decode::object(kind, object)
                .map_err(|failure| Failure::unprocessable(failure.to_string()))?
                .object;
            defaults::apply(kind, &mut object);
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            refuse(kind, &name, validate::update(kind, &object, &current))?;
            Ok(object)
        });
        if let Ok(object) = &patched {
            self.objects.insert(path.to_owned(), object.clone());
        }
        Some(patched)
    }
}

fn refuse(kind: &Kind, name: &str, faults: Vec<kinds::status::FieldError>) -> Result<(), Failure> {
    if faults.is_empty() { Ok(()) } else { Err(Failure::invalid(kind, name, faults)) }
}

/// The kind and, if it is there, the name of a path.
fn resource(path: &str) -> Option<(&'static Kind, Option<&str>)> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let name = match rest {
        [_plural] => None,
        [_plural, name] => Some(*name),
        _ => return None,
    };
    Some((kinds::find(group, version, rest[0])?, name))
}

fn compare(recorded: &Value, answer: &Result<Value, Failure>) -> Option<String> {
    let recorded_code = recorded["status"].as_u64().unwrap();
    let code = answer.as_ref().map_or_else(
        |failure| u64::from(failure.code()),
        |_| if recorded_code < 300 { recorded_code } else { 200 },
    );
    if code != recorded_code {
        let said = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
        return Some(format!("{recorded_code} there, {code} here {said}"));
    }
    match answer {
        Ok(object) => {
            let mut paths = Vec::new();
            differences("", &stable(&recorded["body"]), &stable(object), &mut paths);
            (!paths.is_empty()).then(|| paths.join(", "))
        }
        Err(failure) => {
            let (there, here) = (causes(&recorded["body"]), causes(&failure.to_value()));
            (there != here).then(|| format!("causes there {there:?}, here {here:?}"))
        }
    }
}

fn causes(status: &Value) -> BTreeSet<String> {
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    causes
        .map(|cause| {
            format!(
                "{} {}",
                cause["field"].as_str().unwrap_or_default(),
                cause["reason"].as_str().unwrap_or_default()
            )
        })
        .collect()
}

/// Without what only a whole server adds: identity, times, ownership, addresses, the token volume.
fn stable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
            metadata.remove(field);
        }
    }
    let text = object.to_string().replace(UID, "<uid>");
    let mut object: Value = serde_json::from_str(&text).unwrap();
    if object["kind"] == "Pod" {
        let is_token =
            |item: &Value| item["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access"));
        for list in ["/spec/volumes", "/spec/containers/0/volumeMounts"] {
            if let Some(items) = object.pointer_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !is_token(item));
            }
        }
    }
    object
}

fn differences(path: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(there), Value::Object(here)) => {
            let names: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
            for name in names {
                let of = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or(Value::Null);
                differences(&format!("{path}.{name}"), &of(there), &of(here), found);
            }
        }
        (Value::Array(there), Value::Array(here)) if there.len() == here.len() => {
            for (index, (there, here)) in there.iter().zip(here).enumerate() {
                differences(&format!("{path}[{index}]"), there, here, found);
            }
        }
        // An empty list or map is as good as none.
        (there, here) if there == here || is_empty(there) && is_empty(here) => {}
        (Value::String(there), _) if there.starts_with('<') => {}
        (there, here) => found.push(format!("{path} {there} there, {here} here")),
    }
}

fn is_empty(value: &Value) -> bool {
    *value == Value::Null || *value == json!([]) || *value == json!({}) || *value == json!("")
}

// What still differs below needs more than this crate: addresses and admission (a store), requests that are checked
// before the object is (namespace, query parameters, resourceVersion), and steps that went to subresources.

#[test]
fn minimal_objects_are_filled_in_as_there() {
    check(
        "create-minimal",
        expect![[r#"
            pods "POST": .spec.preemptionPolicy "PreemptLowerPriority" there, null here, .spec.priority 0 there, null here, .spec.serviceAccount "default" there, null here, .spec.serviceAccountName "default" there, null here, .spec.tolerations [{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}] there, null here
            services-headless "POST": .spec.clusterIPs ["None"] there, null here, .spec.ipFamilies ["IPv4"] there, null here, .spec.ipFamilyPolicy "SingleStack" there, null here
            services-nodeport "POST": .spec.clusterIPs ["<clusterIP>"] there, null here, .spec.ipFamilies ["IPv4"] there, null here, .spec.ipFamilyPolicy "SingleStack" there, null here
            services-loadbalancer "POST": .spec.clusterIPs ["<clusterIP>"] there, null here, .spec.ipFamilies ["IPv4"] there, null here, .spec.ipFamilyPolicy "SingleStack" there, null here
            persistentvolumes "POST": .metadata.finalizers ["kubernetes.io/pv-protection"] there, null here
            persistentvolumeclaims "POST": .metadata.finalizers ["kubernetes.io/pvc-protection"] there, null here
            nodes "POST": .spec.taints [{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready"}] there, null here
            daemonsets "POST": .metadata.annotations.deprecated.daemonset.template.generation "1" there, "0" here
            certificatesigningrequests "POST": .spec.extra {"authentication.kubernetes.io/credential-id":["X509SHA256=bfb41f3b644af5f7ebc7c2a84778ac3f11245c89eda8861324c9383071550e1f"]} there, null here, .spec.groups ["system:masters","system:authenticated"] there, null here
        "#]],
    );
}

#[test]
fn invalid_objects_are_refused_for_the_same_causes() {
    check(
        "create-invalid",
        expect![[r#"
            pods-ns-mismatch "POST": 400 there, 200 here 
            pods-uid-on-create "POST": .spec.preemptionPolicy "PreemptLowerPriority" there, null here, .spec.priority 0 there, null here, .spec.serviceAccount "default" there, null here, .spec.serviceAccountName "default" there, null here, .spec.tolerations [{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}] there, null here
            pods-termination-grace "POST": .spec.preemptionPolicy "PreemptLowerPriority" there, null here, .spec.priority 0 there, null here, .spec.serviceAccount "default" there, null here, .spec.serviceAccountName "default" there, null here, .spec.tolerations [{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}] there, null here
            pods-priority-mismatch "POST": 403 there, 200 here 
            pods-runtimeclass-missing "POST": 403 there, 200 here 
            pods-overhead-norc "POST": 403 there, 200 here 
            services-clusterip "POST": 422 there, 200 here 
            services-nodeport-range "POST": 422 there, 200 here 
        "#]],
    );
}

#[test]
fn patches_have_the_same_outcome() {
    check(
        "patch",
        expect![[r#"
            json-patch-array "POST": .spec.preemptionPolicy "PreemptLowerPriority" there, null here, .spec.priority 0 there, null here, .spec.serviceAccount "default" there, null here, .spec.serviceAccountName "default" there, null here, .spec.tolerations [{"key":"a","operator":"Exists"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}] there, [{"key":"a","operator":"Exists"}] here
            json-patch-array "PATCH": .spec.preemptionPolicy "PreemptLowerPriority" there, null here, .spec.priority 0 there, null here, .spec.serviceAccount "default" there, null here, .spec.serviceAccountName "default" there, null here, .spec.tolerations [{"key":"a","operator":"Exists"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}] there, [{"key":"a","operator":"Exists"}] here
            json-patch-array "PATCH": .spec.preemptionPolicy "PreemptLowerPriority" there, null here, .spec.priority 0 there, null here, .spec.serviceAccount "default" there, null here, .spec.serviceAccountName "default" there, null here, .spec.tolerations [{"key":"a","operator":"Exists"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}] there, [{"key":"a","operator":"Exists"}] here
            json-patch-array "PATCH": .spec.preemptionPolicy "PreemptLowerPriority" there, null here, .spec.priority 0 there, null here, .spec.serviceAccount "default" there, null here, .spec.serviceAccountName "default" there, null here, .spec.tolerations [{"key":"a","operator":"Exists"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}] there, [{"key":"a","operator":"Exists"}] here
            merge-patch "PATCH": 409 there, 200 here 
            merge-patch "PATCH": causes there {"patch FieldValueInvalid"}, here {}
            merge-patch "PATCH": causes there {"patch FieldValueInvalid"}, here {}
            patch-media-types "PATCH": 422 there, 200 here 
            patch-media-types "PATCH": 422 there, 200 here 
            patch-media-types "PATCH": 422 there, 200 here 
        "#]],
    );
}
