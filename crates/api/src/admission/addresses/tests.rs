use kinds::Kind;
use serde_json::{Value, json};

use super::{Addresses, Ipv4Range};

fn services() -> &'static Kind {
    kinds::find("", "v1", "services").unwrap()
}

fn addresses() -> Addresses {
    Addresses::new(Ipv4Range::parse("10.96.0.0/29").unwrap(), &[])
}

fn service(address: &str) -> Value {
    json!({"metadata": {"name": "s"}, "spec": {"clusterIP": address}})
}

#[test]
fn each_service_gets_an_address_of_its_own_until_none_is_left() {
    let addresses = addresses();
    let mut seen = Vec::new();
    let mut objects = Vec::new();
    for _ in 0..5 {
        let mut object = json!({"metadata": {"name": "s"}, "spec": {}});
        addresses.claim(services(), &mut object).unwrap().keep();
        seen.push(object["spec"]["clusterIP"].as_str().unwrap().to_owned());
        objects.push(object);
    }
    seen.sort();
    assert_eq!(seen, ["10.96.0.2", "10.96.0.3", "10.96.0.4", "10.96.0.5", "10.96.0.6"]);
    assert!(addresses.claim(services(), &mut json!({"spec": {}})).is_err());
    addresses.release(&objects[0]);
    assert!(addresses.claim(services(), &mut json!({"spec": {}})).is_ok());
}

#[test]
fn a_named_address_is_taken_once_and_freed_if_the_write_fails() {
    let addresses = addresses();
    let claim = addresses.claim(services(), &mut service("10.96.0.4")).unwrap();
    assert!(addresses.claim(services(), &mut service("10.96.0.4")).is_err());
    drop(claim);
    addresses.claim(services(), &mut service("10.96.0.4")).unwrap().keep();
    assert!(addresses.claim(services(), &mut service("10.97.0.4")).is_err());
    assert!(addresses.claim(services(), &mut service("rubbish")).is_err());
}

#[test]
fn a_service_that_changes_keeps_its_address_or_gives_it_back() {
    let addresses = addresses();
    let (first, second, headless) = (service("10.96.0.4"), service("10.96.0.5"), service("None"));
    addresses.claim(services(), &mut first.clone()).unwrap().keep();
    addresses.claim(services(), &mut second.clone()).unwrap().keep();
    let next = |mut new: Value, old: &Value| addresses.claim_next(services(), &mut new, old);
    next(first.clone(), &first).unwrap().keep();
    assert!(next(second.clone(), &headless).is_err(), "the address of another");
    drop(next(headless.clone(), &first).unwrap());
    assert!(next(first.clone(), &headless).is_err(), "the write failed, so that it is still held");
    next(headless.clone(), &first).unwrap().keep();
    assert!(next(first, &headless).is_ok());
}

#[test]
fn a_headless_service_takes_none() {
    let mut object = service("None");
    addresses().claim(services(), &mut object).unwrap().keep();
    assert_eq!(object["spec"]["clusterIPs"], json!(["None"]));
}

#[test]
fn ranges_are_checked() {
    for text in ["10.96.0.0", "10.96.0.0/30", "10.96.0.0/0", "x/16", "::/64"] {
        assert!(Ipv4Range::parse(text).is_err(), "{text}");
    }
}
