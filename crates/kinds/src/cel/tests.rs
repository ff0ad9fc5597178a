use std::collections::HashMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::{
    Authority, Budget, CompileError, Declarations, EvaluateError, Program, Query, Type, Value, Variables,
    Verdict, from_json, to_json,
};

fn declared() -> Declarations {
    let request = Type::Fields(Arc::new([("name".to_owned(), Type::String)].into()));
    let variables = [
        ("object".to_owned(), Type::Dyn),
        ("request".to_owned(), request),
        ("authorizer".to_owned(), Type::Opaque("kubernetes.authorization.Authorizer")),
    ];
    Declarations { variables: variables.into(), constructs_objects: true }
}

fn object() -> HashMap<&'static str, Value> {
    let object = json!({
        "metadata": {"name": "web", "namespace": "prod", "labels": {"app.kubernetes.io/name": "x"}},
        "spec": {"replicas": 3, "items": [1, 2, 3], "ratio": 0.5, "names": ["b", "a"], "nothing": null},
    });
    HashMap::from([("object", from_json(&object)), ("request", from_json(&json!({"name": "n"})))])
}

fn outcome(source: &str) -> String {
    let program = match Program::compile(source, &declared()) {
        Ok(program) => program,
        Err(error) => return format!("refused: {error}"),
    };
    match program.evaluate(&object(), &Budget::new(Budget::POLICY)) {
        Ok(value) => to_json(&value).map_or_else(|| format!("{value:?}"), |json| json.to_string()),
        Err(error) => format!("failed: {error}"),
    }
}

fn check(sources: &[&str], expected: &Expect) {
    let outcomes = sources.iter().map(|source| format!("{source}  =>  {}\n", outcome(source)));
    expected.assert_eq(&outcomes.collect::<String>());
}

#[test]
fn the_language() {
    check(
        &[
            "object.spec.replicas > 2 && object.metadata.namespace == 'prod'",
            "object.metadata.labels['app.kubernetes.io/name']",
            "has(object.spec.replicas) && !has(object.spec.paused)",
            "object.spec.paused",
            "object.spec.paused || true",
            "object.spec.items.all(i, i > 0)",
            "object.spec.items.exists(i, i == 2)",
            "object.spec.items.exists_one(i, i > 2)",
            "object.spec.items.map(i, i * 2)",
            "object.spec.items.map(i, i > 1, i * 2)",
            "object.spec.items.filter(i, i != 2)",
            "object.metadata.labels.all(k, k.startsWith('app'))",
            "2 in object.spec.items && 'app.kubernetes.io/name' in object.metadata.labels",
            "object.spec.replicas == 3 ? 'three' : 'other'",
            "1 + 2 * 3 - 4 / 2 % 3",
            "1 < 1.5 && object.spec.ratio < object.spec.replicas",
            "[1] + [2] == [1, 2] && {'a': 1} == {'a': 1}",
            "size('h\u{e9}') == 2 && 'abc'.size() == 3",
            "type(1) == int && type('') == string",
            "object.?spec.?paused.orValue(false)",
            "object.?spec.?replicas.orValue(0)",
            "object.spec[?'paused'].hasValue()",
            "{?'a': object.?spec.?paused, 'b': 1}",
            "9223372036854775807 + 1",
            "1 / 0",
            "-object.spec.replicas",
            "Object{spec: Object.spec{replicas: 1 + 1}}",
            "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('x/y'), value: {'a': 1}}]",
        ],
        &expect![[r#"
            object.spec.replicas > 2 && object.metadata.namespace == 'prod'  =>  true
            object.metadata.labels['app.kubernetes.io/name']  =>  "x"
            has(object.spec.replicas) && !has(object.spec.paused)  =>  true
            object.spec.paused  =>  failed: no such key: paused
            object.spec.paused || true  =>  true
            object.spec.items.all(i, i > 0)  =>  true
            object.spec.items.exists(i, i == 2)  =>  true
            object.spec.items.exists_one(i, i > 2)  =>  true
            object.spec.items.map(i, i * 2)  =>  [2,4,6]
            object.spec.items.map(i, i > 1, i * 2)  =>  [4,6]
            object.spec.items.filter(i, i != 2)  =>  [1,3]
            object.metadata.labels.all(k, k.startsWith('app'))  =>  true
            2 in object.spec.items && 'app.kubernetes.io/name' in object.metadata.labels  =>  true
            object.spec.replicas == 3 ? 'three' : 'other'  =>  "three"
            1 + 2 * 3 - 4 / 2 % 3  =>  5
            1 < 1.5 && object.spec.ratio < object.spec.replicas  =>  true
            [1] + [2] == [1, 2] && {'a': 1} == {'a': 1}  =>  true
            size('hé') == 2 && 'abc'.size() == 3  =>  true
            type(1) == int && type('') == string  =>  true
            object.?spec.?paused.orValue(false)  =>  false
            object.?spec.?replicas.orValue(0)  =>  3
            object.spec[?'paused'].hasValue()  =>  false
            {?'a': object.?spec.?paused, 'b': 1}  =>  {"b":1}
            9223372036854775807 + 1  =>  failed: integer overflow
            1 / 0  =>  failed: division by zero
            -object.spec.replicas  =>  -3
            Object{spec: Object.spec{replicas: 1 + 1}}  =>  {"spec":{"replicas":2}}
            [JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('x/y'), value: {'a': 1}}]  =>  [{"op":"add","path":"/a/x~1y","value":{"a":1}}]
        "#]],
    );
}

#[test]
fn the_libraries() {
    check(
        &[
            "'a,b'.split(',').join('-')",
            "'aXbX'.replace('X', 'yy') + 'aXbX'.replace('X', '', 1)",
            "'web-1'.matches('^[a-z]+-[0-9]$') && 'web-1'.find('[0-9]') == '1'",
            "'a1b2'.findAll('[0-9]')",
            "'%s has %d'.format(['web', 3])",
            "object.spec.names.isSorted() || object.spec.items.sum() == 6",
            "quantity('1Gi').isGreaterThan(quantity('500Mi'))",
            "quantity('50k').add(20).isLessThan(quantity('100k'))",
            "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
            "url('https://example.com:80/a').getHost()",
            "semver('1.2.3').isLessThan(semver('2.0.0'))",
            "sets.contains([1, 2, 3], [1]) && math.greatest(1, 5, 3) == 5",
            "duration('1h') + duration('30m') == duration('90m')",
            "timestamp('2030-01-01T00:00:00Z') < timestamp('2031-01-01T00:00:00Z')",
            "format.dns1123Label().validate('Not_A_Label').hasValue()",
            "base64.encode(b'abc')",
            "lists.range(3)",
        ],
        &expect![[r#"
            'a,b'.split(',').join('-')  =>  "a-b"
            'aXbX'.replace('X', 'yy') + 'aXbX'.replace('X', '', 1)  =>  "ayybyyabX"
            'web-1'.matches('^[a-z]+-[0-9]$') && 'web-1'.find('[0-9]') == '1'  =>  true
            'a1b2'.findAll('[0-9]')  =>  ["1","2"]
            '%s has %d'.format(['web', 3])  =>  "web has 3"
            object.spec.names.isSorted() || object.spec.items.sum() == 6  =>  true
            quantity('1Gi').isGreaterThan(quantity('500Mi'))  =>  true
            quantity('50k').add(20).isLessThan(quantity('100k'))  =>  true
            ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')  =>  true
            url('https://example.com:80/a').getHost()  =>  "example.com:80"
            semver('1.2.3').isLessThan(semver('2.0.0'))  =>  true
            sets.contains([1, 2, 3], [1]) && math.greatest(1, 5, 3) == 5  =>  true
            duration('1h') + duration('30m') == duration('90m')  =>  true
            timestamp('2030-01-01T00:00:00Z') < timestamp('2031-01-01T00:00:00Z')  =>  true
            format.dns1123Label().validate('Not_A_Label').hasValue()  =>  true
            base64.encode(b'abc')  =>  "YWJj"
            lists.range(3)  =>  [0,1,2]
        "#]],
    );
}

#[test]
fn loops_over_two_variables_and_optional_values() {
    for holds in [
        "object.spec.items.all(i, v, v == i + 1)",
        "object.metadata.labels.exists(k, v, k.startsWith('app') && v == 'x')",
        "object.spec.items.existsOne(i, v, i + v == 3)",
        "object.spec.names.transformList(i, v, string(i) + v) == ['0b', '1a']",
        "object.spec.items.transformList(i, v, v > 1, v * i) == [2, 6]",
        "{'a': 1, 'b': 2}.transformMap(k, v, v * 2) == {'a': 2, 'b': 4}",
        "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 2) == {'b': 4}",
        "{'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}",
        "object.?spec.?replicas.optMap(r, r * 2).orValue(0) == 6",
        "!object.?spec.?nope.optMap(r, r * 2).hasValue()",
        "object.?spec.?replicas.optFlatMap(r, optional.of(r + 1)).value() == 4",
        "object.?spec.optMap(s, s.items.map(i, i + s.replicas)).value() == [4, 5, 6]",
    ] {
        assert_eq!(outcome(holds), "true", "{holds}");
    }
    assert!(outcome("{'a': 1, 'b': 1}.transformMapEntry(k, v, {v: k})").starts_with("failed"));
    assert!(outcome("object.spec.items.all(i, v, nobody)").starts_with("refused"));
}

#[test]
fn what_cannot_be_is_refused() {
    check(
        &[
            "object.",
            "a b",
            "nobody.knows",
            "object.nobody()",
            "request.nope",
            "'a' + 1",
            "1 == 'a'",
            "!5",
            "'a'.matches('[')",
            "size(1, 2)",
            "Nope{a: 1}",
            "JSONPatch{nope: 1}",
        ],
        &expect![[r#"
            object.  =>  refused: compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'
            | object.
            | .......^
            a b  =>  refused: compilation failed: ERROR: <input>:1:3: Syntax error: extraneous input 'b' expecting <EOF>
            | a b
            | ..^
            nobody.knows  =>  refused: compilation failed: undeclared reference to 'nobody'
            object.nobody()  =>  refused: compilation failed: undeclared reference to 'nobody'
            request.nope  =>  refused: compilation failed: undefined field 'nope'
            'a' + 1  =>  refused: compilation failed: found no matching overload for '_+_' applied to '(string, int)'
            1 == 'a'  =>  refused: compilation failed: found no matching overload for '_==_' applied to '(int, string)'
            !5  =>  refused: compilation failed: found no matching overload for '!_' applied to '(int)'
            'a'.matches('[')  =>  refused: compilation failed: `[` is no regular expression: regex parse error:
                [
                ^
            error: unclosed character class
            size(1, 2)  =>  refused: compilation failed: found no matching overload for 'size' applied to '(int, int)'
            Nope{a: 1}  =>  refused: compilation failed: undeclared reference to 'Nope'
            JSONPatch{nope: 1}  =>  refused: compilation failed: undefined field 'nope'
        "#]],
    );
}

#[test]
fn the_result_is_what_was_asked_for() {
    let compile = |source: &str| Program::compile_to(source, &declared(), &[Type::Bool]).map(drop);
    assert_eq!(compile("object.spec.replicas > 1"), Ok(()));
    assert_eq!(compile("object.spec.paused"), Ok(()));
    assert!(matches!(compile("'text'"), Err(CompileError::Result { .. })));
    assert!(matches!(compile("object.spec.items.map(i, i)"), Err(CompileError::Result { .. })));
}

/// Each of these would run for ever or fill the memory.
#[test]
fn hostile_expressions_end() {
    let nested = "[0,1,2,3,4,5,6,7,8,9].all(a, ".repeat(12) + "true" + &")".repeat(12);
    let doubled = "object.spec.names.map(s, [s+s+s+s+s+s+s+s+s+s].map(s, s+s+s+s+s+s+s+s+s+s".to_owned()
        + &".map".repeat(0)
        + "))";
    let mut grown = "'xxxxxxxxxxxxxxxx'".to_owned();
    for _ in 0..40 {
        grown = format!("[{grown}].map(s, s.replace('x', s))[0]");
    }
    let joined = "lists.range(100000).map(i, 'xxxxxxxxxx').join('".to_owned() + &"y".repeat(10_000) + "')";
    let formatted = "'".to_owned() + &"%s".repeat(10_000) + "'.format([[object, object, object, object]])";
    let ranged = "lists.range(1000000000)".to_owned();
    for source in [nested, grown, joined, ranged] {
        let program = Program::compile(&source, &declared()).unwrap();
        let outcome = program.evaluate(&object(), &Budget::new(Budget::POLICY));
        assert_eq!(outcome, Err(EvaluateError::Cost), "{source:.80}");
    }
    for source in [doubled, formatted] {
        let program = Program::compile(&source, &declared()).unwrap();
        program.evaluate(&object(), &Budget::new(Budget::POLICY)).unwrap_or(Value::Null);
    }
}

#[test]
fn deep_expressions_are_refused() {
    for source in [
        "(".repeat(10_000) + "1" + &")".repeat(10_000),
        "!(".repeat(10_000) + "true" + &")".repeat(10_000),
        "1".to_owned() + &"+1".repeat(10_000),
        "object".to_owned() + &".a".repeat(10_000),
        "[".repeat(10_000) + &"]".repeat(10_000),
        "x".repeat(100_000),
    ] {
        assert!(Program::compile(&source, &declared()).is_err(), "{source:.20}");
    }
}

#[test]
fn a_policy_pays_for_all_its_expressions() {
    let program = Program::compile("object.spec.items.all(i, i > 0)", &declared()).unwrap();
    let budget = Budget::new(30);
    assert_eq!(program.evaluate(&object(), &budget), Ok(Value::Bool(true)));
    assert_eq!(program.evaluate(&object(), &budget), Err(EvaluateError::Cost));
}

struct Asked;

impl Variables for Asked {
    fn find(&self, _name: &str, _budget: &Budget) -> Option<Result<Value, EvaluateError>> {
        None
    }

    fn authority(&self) -> Option<&dyn Authority> {
        Some(self)
    }
}

impl Authority for Asked {
    fn decide(&self, query: &Query) -> Verdict {
        let is_allowed = query.resource == "pods" && query.verb == "create" && query.namespace == "n";
        Verdict { is_allowed, reason: "because".to_owned() }
    }

    fn request(&self) -> Query {
        Query { resource: "pods".to_owned(), namespace: "n".to_owned(), ..Query::default() }
    }
}

#[test]
fn expressions_ask_who_may() {
    let evaluate = |source: &str| {
        let program = Program::compile(source, &declared()).unwrap();
        program.evaluate(&Asked, &Budget::new(Budget::POLICY))
    };
    let question = "authorizer.group('').resource('pods').namespace('n').check('create')";
    assert_eq!(evaluate(&format!("{question}.allowed()")), Ok(Value::Bool(true)));
    assert_eq!(evaluate(&format!("{question}.reason() == 'because'")), Ok(Value::Bool(true)));
    assert_eq!(evaluate("authorizer.requestResource.check('create').allowed()"), Ok(Value::Bool(true)));
    assert_eq!(evaluate("authorizer.requestResource.check('delete').allowed()"), Ok(Value::Bool(false)));
    let thrice = format!("[1, 2, 3].all(i, {question}.allowed())");
    assert_eq!(evaluate(&thrice), Err(EvaluateError::Cost));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        "[a-z]{0,4}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #[test]
    fn json_comes_back_as_it_was(json in any_json()) {
        prop_assert_eq!(to_json(&from_json(&json)), Some(json));
    }
}
