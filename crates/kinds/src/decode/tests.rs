//! Bodies and what becomes of them.

use expect_test::{Expect, expect};
use model::Quantity;
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::json;

use super::{PROTOBUF, body, object, quantity, raw};
use crate::{Kind, all, find_kind};

fn kind(name: &str) -> &'static Kind {
    all().iter().find(|kind| kind.kind == name).unwrap()
}

fn check(kind_name: &str, content_type: &str, text: &str, expected: Expect) {
    let said = match body(kind(kind_name), content_type, text.as_bytes()) {
        Ok(decoded) => format!("{} {:?}", decoded.object, decoded.problems),
        Err(failure) => format!("{} {failure}", failure.code()),
    };
    expected.assert_eq(&said);
}

const JSON: &str = "application/json";

#[test]
fn unknown_and_duplicate_fields_are_told_and_dropped() {
    check(
        "Pod",
        JSON,
        r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","imagePull":"x","ports":[{"containerport":80,"containerPort":81}]}]}}"#,
        expect![[
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":81}]}]}} ["unknown field \"spec.containers[0].imagePull\"", "unknown field \"spec.containers[0].ports[0].containerport\""]"#
        ]],
    );
    check(
        "ConfigMap",
        JSON,
        r#"{"data":{"a":"1","a":"2"}}"#,
        expect![[
            r#"{"apiVersion":"v1","data":{"a":"2"},"kind":"ConfigMap"} ["duplicate field \"data.a\""]"#
        ]],
    );
}

#[test]
fn yaml_reads_as_json_does() {
    check(
        "ConfigMap",
        "application/yaml",
        "kind: ConfigMap\napiVersion: v1\ndata:\n  1: one\n  a: b\n  a: c\nextra: 1\n",
        expect![[
            r#"{"apiVersion":"v1","data":{"1":"one","a":"c"},"kind":"ConfigMap"} ["duplicate field \"data.a\"", "unknown field \"extra\""]"#
        ]],
    );
    check(
        "ConfigMap",
        "application/yaml",
        "a: [",
        expect![
            "400 error converting YAML to JSON: yaml: while parsing a node, did not find expected node content at byte 4 line 2 column 1"
        ],
    );
    check(
        "ConfigMap",
        "text/plain",
        "a",
        expect![
            "415 the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        ],
    );
}

#[test]
fn wrong_types_are_refused_in_the_words_that_clients_know() {
    check(
        "Pod",
        JSON,
        r#"{"spec":{"containers":"x"}}"#,
        expect![[
            r#"400 Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"#
        ]],
    );
    check(
        "ConfigMap",
        JSON,
        r#"{"data":{"k":5}}"#,
        expect![[
            r#"400 ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data.k of type string"#
        ]],
    );
    check(
        "Secret",
        JSON,
        r#"{"data":{"k":"aGVs\r\nbG8=\n"}}"#,
        expect![[r#"{"apiVersion":"v1","data":{"k":"aGVsbG8="},"kind":"Secret"} []"#]],
    );
    check(
        "Secret",
        JSON,
        r#"{"data":{"k":"not base64!"}}"#,
        expect![[
            r#"400 Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 3"#
        ]],
    );
    check(
        "Pod",
        JSON,
        r#"{"spec":{"containers":[{"resources":{"requests":{"cpu":"1z"}}}]}}"#,
        expect![[
            r#"400 Pod in version "v1" cannot be handled as a Pod: spec.containers[0].resources.requests.cpu: "1z" is no quantity: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#
        ]],
    );
    check(
        "Deployment",
        JSON,
        r#"{"spec":{"replicas":3000000000}}"#,
        expect![[
            r#"400 Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"#
        ]],
    );
    check(
        "Pod",
        JSON,
        r#"{"kind":"ConfigMap","apiVersion":"v1"}"#,
        expect![[
            r#"400 ConfigMap in version "v1" cannot be handled as a Pod: the path takes Pod objects of v1"#
        ]],
    );
    check(
        "Pod",
        JSON,
        r#"{"kind":"Pod","apiVersion":"apps/v1"}"#,
        expect![[
            r#"400 Pod in version "v1" cannot be handled as a Pod: no kind "Pod" is registered for version "apps/v1""#
        ]],
    );
    check("Pod", JSON, "[1]", expect!["400 the object provided is unrecognized: it is no Pod object"]);
    check(
        "Pod",
        JSON,
        "{",
        expect![
            "400 couldn't get version/kind; json parse error: EOF while parsing an object at line 1 column 1"
        ],
    );
}

#[test]
fn texts_get_their_one_form() {
    check(
        "Lease",
        JSON,
        r#"{"metadata":{"creationTimestamp":"2024-05-01T12:00:00+02:00","labels":null},"spec":{"renewTime":"2024-05-01T10:00:00Z"}}"#,
        expect![[
            r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"creationTimestamp":"2024-05-01T10:00:00Z"},"spec":{"renewTime":"2024-05-01T10:00:00.000000Z"}} []"#
        ]],
    );
    let forms = ["1000m", "0.5", "1.5Gi", "1024Mi", "100000", "1e3", "500", "0", "1Ki", "0.5Ki", "-1", "10n"];
    let canonical: Vec<String> = forms.iter().filter_map(|text| quantity::canonical(text)).collect();
    expect!["1 500m 1536Mi 1Gi 100k 1e3 500 0 1Ki 512 -1 10n"].assert_eq(&canonical.join(" "));
}

#[test]
fn dagjobs_are_decoded_by_their_own_schema() {
    check(
        "DagJob",
        JSON,
        r#"{"metadata":{"name":"j"},"spec":{"tasks":[{"name":"a","instances":2,"image":"x","command":["true"],"dependOn":[]}]}}"#,
        expect![[
            r#"{"apiVersion":"crest.dev/v1alpha1","kind":"DagJob","metadata":{"name":"j"},"spec":{"tasks":[{"command":["true"],"image":"x","instances":2,"name":"a"}]}} ["unknown field \"spec.tasks[0].dependOn\""]"#
        ]],
    );
    check(
        "DagJob",
        JSON,
        r#"{"spec":{"tasks":[{"instances":-1}]}}"#,
        expect![[
            r#"400 DagJob in version "v1alpha1" cannot be handled as a DagJob: json: cannot unmarshal number -1 into Go struct field Task.spec.tasks[0].instances of type uint32"#
        ]],
    );
}

/// What kubectl 1.33 sends for `kubectl create configmap c --from-literal=k=v`, by hand.
#[test]
fn protobuf_is_decoded_by_descriptors() {
    let type_meta = field(1, b"v1").into_iter().chain(field(2, b"ConfigMap")).collect::<Vec<u8>>();
    // An empty creationTimestamp, as Go writes it.
    let metadata = [field(1, b"c"), field(3, b""), field(8, b"")].concat();
    let entry = [field(1, b"k"), field(2, b"v")].concat();
    let raw_object = [field(1, &metadata), field(2, &entry)].concat();
    let bytes = [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &raw_object)].concat();
    let decoded = body(kind("ConfigMap"), PROTOBUF, &bytes).unwrap();
    assert_eq!(
        decoded.object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}})
    );
    assert_eq!(body(kind("DagJob"), PROTOBUF, &bytes).unwrap_err().code(), 415);
    assert_eq!(body(kind("Pod"), PROTOBUF, b"{}").unwrap_err().code(), 400);
}

/// Embedded structs, quantities and int-or-strings have another form on the wire.
#[test]
fn protobuf_forms_become_json_forms() {
    let quantity = field(1, b"250m");
    let requests = field(2, &[field(1, b"cpu"), field(2, &quantity)].concat());
    let secret_volume = field(6, &field(1, b"s")); // VolumeSource.secret.secretName
    let volume = [field(1, b"v"), field(2, &secret_volume)].concat();
    let port = field(1, &varint(2, 8080)); // TCPSocketAction.port: IntOrString{intVal}
    let handler = field(3, &port); // ProbeHandler.tcpSocket{port}
    let probe = field(1, &handler);
    let container = [field(1, b"c"), field(2, b"i"), field(8, &requests), field(10, &probe)].concat();
    let spec = [field(1, &volume), field(2, &container)].concat();
    let type_meta = [field(1, b"v1"), field(2, b"Pod")].concat();
    let bytes = [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &field(2, &spec))].concat();
    let decoded = body(kind("Pod"), PROTOBUF, &bytes).unwrap();
    expect![[r#"{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"i","livenessProbe":{"tcpSocket":{"port":8080}},"name":"c","resources":{"requests":{"cpu":"250m"}}}],"volumes":[{"name":"v","secret":{"secretName":"s"}}]}} []"#]]
        .assert_eq(&format!("{} {:?}", decoded.object, decoded.problems));
}

#[test]
fn bodies_of_kinds_outside_the_table_are_read_raw() {
    let type_meta = [field(1, b"v1"), field(2, b"DeleteOptions")].concat();
    let raw_object = [varint(1, 30), field(4, b"Background")].concat();
    let bytes = [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &raw_object)].concat();
    assert_eq!(
        raw(PROTOBUF, &bytes).unwrap(),
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 30, "propagationPolicy": "Background"})
    );
    assert_eq!(raw("application/json", b"{\"a\": 1}").unwrap(), json!({"a": 1}));
}

#[test]
fn an_object_put_together_here_is_checked_the_same_way() {
    let scheduling = find_kind("scheduling.k8s.io", "v1", "PriorityClass").unwrap();
    let decoded = object(scheduling, json!({"value": 1, "nothing": 2})).unwrap();
    assert_eq!(decoded.problems, ["unknown field \"nothing\""]);
    assert!(object(scheduling, json!({"value": "1"})).is_err());
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    assert!(bytes.len() < 128);
    out.extend_from_slice(bytes);
    out
}

fn varint(number: u8, mut value: u32) -> Vec<u8> {
    let mut out = vec![number << 3];
    while value >= 128 {
        out.push((value % 128) as u8 | 128);
        value /= 128;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decoding_never_panics(index in 0..all().len(), text in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let kind = &all()[index];
        let _json = body(kind, "application/json", text.as_bytes());
        let _yaml = body(kind, "application/yaml", text.as_bytes());
        let _protobuf = body(kind, PROTOBUF, &[b"k8s\0".to_vec(), bytes].concat());
        let _quantity = quantity::canonical(&text);
    }

    #[test]
    fn the_one_form_of_a_quantity_stays(text in "[0-9]{1,6}(\\.[0-9]{1,2})?(m|k|M|G|Ki|Mi|Gi|)") {
        // A part of a Ki that is no whole Ki is written without a suffix, `6093.75Ki` as `6240000`, and is read
        // as decimal from then on: the first form may move once, as in Kubernetes, the second never.
        let first = quantity::canonical(&text).unwrap();
        let second = quantity::canonical(&first).unwrap();
        assert!(first == second || text.ends_with('i'), "{text}: {first}, then {second}");
        assert_eq!(Quantity::parse(&first).unwrap().to_milli(), Quantity::parse(&second).unwrap().to_milli());
        assert_eq!(quantity::canonical(&second), Some(second));
    }
}

/// Bodies that were made to hurt: each is answered, soon, and without the stack or the memory running out.
#[test]
fn hostile_bodies_are_refused_in_time() {
    const YAML: &str = "application/yaml";
    let n = 1_000_000;
    let bomb: String = (1..30)
        .map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(",")))
        .fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, line| text + &line);
    let envelope = |tail: &[u8]| [b"k8s\0".as_slice(), b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap", tail].concat();
    let unknown: Vec<String> = (0..100_000).map(|i| format!("\"u{i}\":1")).collect();
    let digits = "9".repeat(n);
    let rows: Vec<(&str, &str, Vec<u8>)> = vec![
        ("deep lists", JSON, "[".repeat(n).into()),
        ("deep objects", JSON, "{\"data\":".repeat(n).into()),
        ("deep yaml flow", YAML, "[".repeat(n).into()),
        ("deep yaml maps", YAML, "{a: ".repeat(n).into()),
        ("deep yaml blocks", YAML, "- ".repeat(n).into()),
        ("aliases", YAML, bomb.into()),
        ("alias of itself", YAML, b"data: &a {x: *a}".to_vec()),
        ("long number", JSON, format!("{{\"data\":{{\"a\":{digits}}}}}").into()),
        ("large exponent", JSON, b"{\"data\":{\"a\":1e999999999}}".to_vec()),
        ("unknown fields", JSON, format!("{{{}}}", unknown.join(",")).into()),
        ("text that is none", JSON, b"{\"data\":{\"a\":\"\xff\xfe\"}}".to_vec()),
        ("no envelope", PROTOBUF, b"k8s\0".to_vec()),
        ("length beyond the end", PROTOBUF, envelope(b"\x12\xff\xff\xff\xff\x0f")),
        ("length beyond all", PROTOBUF, envelope(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
        ("groups in groups", PROTOBUF, envelope(&[0x2b].repeat(100_000))),
    ];
    let mut said = String::new();
    for (name, content_type, bytes) in rows {
        let answer = match body(kind("ConfigMap"), content_type, &bytes) {
            Ok(decoded) => format!("ok, {} problems", decoded.problems.len()),
            Err(failure) => format!("{} {:.60}", failure.code(), failure.message()),
        };
        said.push_str(&format!("{name}: {answer}\n"));
    }
    expect![[r#"
        deep lists: 400 couldn't get version/kind; json parse error: recursion limit
        deep objects: 400 couldn't get version/kind; json parse error: recursion limit
        deep yaml flow: 400 error converting YAML to JSON: 1000000 brackets are too many
        deep yaml maps: 400 error converting YAML to JSON: 1000000 brackets are too many
        deep yaml blocks: 400 error converting YAML to JSON: yaml: more than 128 lists and
        aliases: 400 error converting YAML to JSON: yaml: document contains exces
        alias of itself: 400 error converting YAML to JSON: yaml: the value of an anchor 
        long number: 400 couldn't get version/kind; json parse error: number out of r
        large exponent: 400 couldn't get version/kind; json parse error: number out of r
        unknown fields: ok, 1000 problems
        text that is none: 400 couldn't get version/kind; json parse error: invalid unicode
        no envelope: 400 the envelope names no apiVersion and kind
        length beyond the end: 400 bad envelope: failed to decode Protobuf message: buffer unde
        length beyond all: 400 bad envelope: failed to decode Protobuf message: buffer unde
        groups in groups: 400 bad envelope: failed to decode Protobuf message: recursion l
    "#]]
    .assert_eq(&said);
}

#[test]
fn hostile_quantities_are_judged_in_time() {
    for text in [
        "1e999999999",
        "1e-999999999",
        "-1e9999",
        &"9".repeat(1_000_000),
        &format!("0.{}1", "0".repeat(100_000)),
    ] {
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": text}}}]}});
        let _answer = body(kind("Pod"), JSON, pod.to_string().as_bytes());
    }
}
