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
    assert_eq!(object, service("None"));
}

#[test]
fn node_ports_are_given_once_and_shared_by_protocols() {
    let addresses = addresses();
    let ports = json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 80}]);
    let mut object = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": ports,
        "externalTrafficPolicy": "Local"}});
    addresses.claim(services(), &mut object).unwrap().keep();
    let spec = &object["spec"];
    let number = |port: &Value| port.as_u64().unwrap();
    let given: Vec<u64> = (0..3).map(|index| number(&spec["ports"][index]["nodePort"])).collect();
    assert_eq!(given[0], given[1]);
    assert_ne!(given[0], given[2]);
    assert!(!given.contains(&number(&spec["healthCheckNodePort"])));
    assert!(given.iter().all(|port| (30_000..32_768).contains(port)));
    let named = |port: u64| {
        json!({"metadata": {"name": "t"}, "spec": {"type": "NodePort",
        "ports": [{"port": 1, "nodePort": port}]}})
    };
    assert!(addresses.claim(services(), &mut named(given[0])).is_err());
    assert!(addresses.claim(services(), &mut named(80)).is_err());
    // Its own ports stay its own, and those that it has no use for any longer are free again.
    let next = named(given[0]);
    addresses.claim_next(services(), &mut next.clone(), &object).unwrap().keep();
    assert!(addresses.claim(services(), &mut named(given[2])).is_ok());
    assert!(addresses.claim(services(), &mut named(given[0])).is_err());
    addresses.release(&next);
    assert!(addresses.claim(services(), &mut named(given[0])).is_ok());
}

#[test]
fn ranges_are_checked() {
    for text in ["10.96.0.0", "10.96.0.0/30", "10.96.0.0/0", "x/16", "::/64"] {
        assert!(Ipv4Range::parse(text).is_err(), "{text}");
    }
}
