//! Environments by table.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn check(env_from: &Value, env: &Value, expected: Expect) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u", "labels": { "app": "web" } },
        "spec": { "nodeName": "host", "containers": [] },
    }))
    .unwrap();
    let container: Container = serde_json::from_value(json!({
        "name": "c", "envFrom": env_from, "env": env,
        "resources": { "limits": { "cpu": "1500m" }, "requests": { "memory": "1Gi" } },
    }))
    .unwrap();
    let service = json!({
        "metadata": { "name": "my-db" },
        "spec": { "clusterIP": "10.2.0.1", "ports": [{ "name": "sql", "port": 5432 }] },
    });
    let mut sources = Sources::default();
    sources.services.push(serde_json::from_value(service).unwrap());
    sources
        .config_maps
        .insert("cm".into(), serde_json::from_value(json!({ "data": { "k": "v", "x": "$(k)" } })).unwrap());
    sources
        .secrets
        .insert("s".into(), serde_json::from_value(json!({ "data": { "pw": "aHVzaA==" } })).unwrap());
    let host = Host { ip: "10.0.0.1".into(), milli_cpu: 2000, memory: 4 << 30 };
    let ips = ["10.1.0.7".to_owned()];
    let scope = Scope { pod: &pod, pod_ips: &ips, host: &host, sources: &sources };
    let shown = match environment(&container, &scope) {
        Ok(environment) => environment
            .iter()
            .filter(|(name, _)| !name.starts_with("MY_DB_PORT"))
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&shown);
}

#[test]
fn sources_come_in_order_and_references_are_expanded() {
    check(
        &json!([{ "prefix": "P_", "configMapRef": { "name": "cm" } }, { "secretRef": { "name": "s" } }]),
        &json!([
            { "name": "A", "value": "1" },
            { "name": "B", "value": "$(A)-$(P_k)-$$(A)-$(NONE)-$" },
            { "name": "pw", "value": "again" },
            { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
            { "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
            { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
            { "name": "MEM", "valueFrom": { "resourceFieldRef": { "resource": "requests.memory", "divisor": "1Mi" } } },
            { "name": "MAX", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Gi" } } },
            { "name": "SKIPPED", "valueFrom": { "configMapKeyRef": { "name": "none", "key": "k", "optional": true } } },
        ]),
        expect![[r#"
            MY_DB_SERVICE_HOST=10.2.0.1
            MY_DB_SERVICE_PORT=5432
            MY_DB_SERVICE_PORT_SQL=5432
            P_k=v
            P_x=$(k)
            pw=again
            A=1
            B=1-v-$(A)-$(NONE)-$
            IP=10.1.0.7
            APP=web
            CPU=2
            MEM=1024
            MAX=4"#]],
    );
}

#[test]
fn what_is_missing_is_named() {
    let none = json!([]);
    let key = |kind: &str, name: &str, key: &str| json!([{ "name": "A", "valueFrom": { kind: { "name": name, "key": key } } }]);
    check(&none, &key("configMapKeyRef", "none", "k"), expect![[r#"configmap "none" not found"#]]);
    check(&none, &key("secretKeyRef", "s", "k"), expect!["couldn't find key k in Secret s"]);
    check(&json!([{ "secretRef": { "name": "none" } }]), &none, expect![[r#"secret "none" not found"#]]);
    let field = json!([{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "spec.priority" } } }]);
    check(&none, &field, expect![[r#"field path "spec.priority" is not supported"#]]);
}

proptest::proptest! {
    #[test]
    fn expansion_never_panics(text in ".{0,40}") {
        let _expanded = Environment::default().expand(&text);
    }
}
