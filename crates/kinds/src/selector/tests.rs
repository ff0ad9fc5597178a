//! Selectors and what they match.

use expect_test::{Expect, expect};
use proptest::prelude::{ProptestConfig, proptest};
use serde_json::{Value, json};

use super::{Fields, Labels, outline, outline_of_text};
use crate::{Kind, all, find};

fn kind(plural: &str) -> &'static Kind {
    all().iter().find(|kind| kind.plural == plural).unwrap()
}

fn labels(text: &str, expected: Expect) {
    let objects = [json!({"par": "even", "i": "2"}), json!({"par": "odd", "i": "5"}), json!({})];
    let said = match Labels::parse(text) {
        Ok(selector) => {
            let matches = objects
                .iter()
                .map(|labels| selector.matches(kind("pods"), &json!({"metadata": {"labels": labels}})));
            matches.map(|matched| if matched { 'x' } else { '.' }).collect()
        }
        Err(failure) => failure.to_string(),
    };
    expected.assert_eq(&said);
}

#[test]
fn label_selectors() {
    labels("", expect!["xxx"]);
    labels("par=even", expect!["x.."]);
    labels("par == even", expect!["x.."]);
    labels("par!=even", expect![".xx"]);
    labels("par in (even, zz)", expect!["x.."]);
    labels("par notin (even)", expect![".xx"]);
    labels("par", expect!["xx."]);
    labels("!par", expect!["..x"]);
    labels("i>3", expect![".x."]);
    labels("i < 3,par", expect!["x.."]);
    labels("par=", expect!["..."]);
    labels("a in ()", expect!["..."]);
    labels(
        "=x",
        expect!["unable to parse requirement: found '=x', expected: !, identifier, or 'end of string'"],
    );
    labels("par in even", expect!["unable to parse requirement: found 'even' expected: '('"]);
    labels(
        "bad key",
        expect!["unable to parse requirement: found 'key', expected: in, notin, =, ==, !=, gt, lt"],
    );
    labels("a,", expect!["unable to parse requirement: found '', expected: identifier after ','"]);
    labels(
        "i>abc",
        expect![
            "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer, not 'abc'"
        ],
    );
}

#[test]
fn selectors_of_specs() {
    let spec = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]});
    let selector = Labels::from_spec(&spec).unwrap().unwrap();
    assert!(selector.match_labels(&json!({"a": "b"})));
    assert!(!selector.match_labels(&json!({"a": "b", "c": "d"})));
    assert_eq!(Labels::from_spec(&Value::Null).unwrap(), None);
}

fn fields(plural: &str, text: &str, expected: Expect) {
    let object = json!({"metadata": {"name": "p1", "namespace": "n"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Pending"}});
    let said = match Fields::parse(text).and_then(|selector| selector.check(kind(plural)).map(|()| selector))
    {
        Ok(selector) => selector.matches(kind(plural), &object).to_string(),
        Err(failure) => failure.to_string(),
    };
    expected.assert_eq(&said);
}

#[test]
fn field_selectors() {
    fields("pods", "metadata.name=p1", expect!["true"]);
    fields("pods", "metadata.name!=p1", expect!["false"]);
    fields("pods", "spec.nodeName=n1,status.phase!=Succeeded,status.phase!=Failed", expect!["true"]);
    fields("pods", "spec.hostNetwork=false", expect!["true"]);
    fields("pods", "spec.bogus=1", expect!["field label not supported: spec.bogus"]);
    fields(
        "pods",
        "metadata.name",
        expect!["invalid selector: 'metadata.name'; can't understand 'metadata.name'"],
    );
    fields(
        "configmaps",
        "data.x=1",
        expect![[r#""data.x" is not a known field selector: only "metadata.name", "metadata.namespace""#]],
    );
    fields("jobs", "status.successful=0", expect!["true"]);
    fields("pods", "metadata.name=a\\,b", expect!["false"]);
    assert_eq!(Fields::parse("metadata.name=web").unwrap().name(), Some("web"));
    assert_eq!(find("", "v1", "pods"), Some(kind("pods")));
}

#[test]
fn an_outline_is_all_that_selectors_see() {
    let check = |plural: &str, selectors: &[&str], object: &Value| {
        let outline = outline(kind(plural), object);
        assert_eq!(outline_of_text(kind(plural), object.to_string().as_bytes()).unwrap(), outline);
        for text in selectors {
            let fields = Fields::parse(text).unwrap();
            let (whole, short) =
                (fields.matches(kind(plural), object), fields.matches(kind(plural), &outline));
            assert_eq!(whole, short, "{plural} {text}: {outline}");
        }
        let labels = Labels::parse("a=b").unwrap();
        assert_eq!(labels.matches(kind(plural), object), labels.matches(kind(plural), &outline));
        outline
    };
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {"nodeName": "n1", "containers": [{}]}, "status": {"phase": "Running"}});
    let short = check(
        "pods",
        &["spec.nodeName=n1", "spec.nodeName!=n1", "status.phase=", "spec.hostNetwork=false"],
        &pod,
    );
    assert_eq!(
        (&short["spec"], &short["metadata"]["annotations"]),
        (&json!({"nodeName": "n1"}), &Value::Null)
    );
    let job = json!({"metadata": {"name": "j"}, "status": {"succeeded": 3}});
    check("jobs", &["status.successful=3", "status.successful=0", "metadata.name=j"], &job);
    let event = json!({"metadata": {"name": "e"}, "source": {"component": "kubelet"}, "reason": "Pulled"});
    check("events", &["source=kubelet", "reason=Pulled", "type="], &event);
    let odd = json!({"metadata": {"name": 5, "labels": {"a": "b"}, "namespace": null}, "spec": [1.5, {}, true, -1, 1u64 << 63],
        "status": {"phase": {"a": 1}, "podIP": ["x"], "phase.a": "b"}});
    check("pods", &["spec.nodeName=", "status.phase=Running", "metadata.name=5"], &odd);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parsing_never_panics(text in "[ a-c=!,()<>\\\\.é]{0,16}|(in|notin| |\\(|\\)|a|,){0,8}") {
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        if let Ok(selector) = Labels::parse(&text) {
            let _matched = selector.matches(kind("pods"), &object);
        }
        if let Ok(selector) = Fields::parse(&text) {
            let _matched = selector.matches(kind("pods"), &object);
        }
    }

    #[test]
    fn a_requirement_and_its_negation_share_nothing(key in "[a-c]", value in "[x-z]", have in "[x-z]") {
        let object = json!({"metadata": {"labels": {"a": have}}});
        let positive = Labels::parse(&format!("{key}={value}")).unwrap().matches(kind("pods"), &object);
        let negative = Labels::parse(&format!("{key}!={value}")).unwrap().matches(kind("pods"), &object);
        assert_ne!(positive, negative);
    }

    #[test]
    fn what_matches_may_match_by_its_text(
        text in "(!?[ab]|[ab](=|!=)[xy]?|[ab] (in|notin) \\([xy],[xy]?\\)|[ab][<>]1)(,[ab]=[xy])?",
        labels in proptest::collection::btree_map("[abc]", "[xy]|2|", 0..3),
    ) {
        let object = json!({"metadata": {"labels": labels}, "spec": {"a": "x"}});
        let selector = Labels::parse(&text).unwrap();
        let may_match = selector.may_match(object.to_string().as_bytes());
        assert!(may_match || !selector.matches(kind("pods"), &object), "{text} {object}");
        // Of what is nowhere in the text, nothing is expected.
        assert!(!Labels::parse("d").unwrap().may_match(object.to_string().as_bytes()));
    }
}
