//! Volumes and images, one small cluster per rule of the documentation.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};

use super::tables::{line, node, pod};
use crate::Cluster;
use crate::label::{NodeTerm, Requirement};
use crate::node::Node;
use crate::place::Pending;
use crate::pod::{Pod, PodId};
use crate::volume::{Attachment, Disk, Place, Volumes};

/// `driver/volume` for each that is attached, `disk:name` and `disk:name:ro` for disks, `claim:name` for claims of one.
fn volumes(text: &str) -> Volumes {
    let mut volumes = Volumes::default();
    for word in text.split_whitespace() {
        if let Some((driver, volume)) = word.split_once('/') {
            let (driver, volume) = (driver.to_owned(), volume.to_owned());
            volumes.attached.insert(Attachment { driver, volume });
            continue;
        }
        match word.split(':').collect::<Vec<_>>()[..] {
            ["disk", name] => volumes.disks.push(Disk { name: name.to_owned(), is_read_only: false }),
            ["disk", name, "ro"] => volumes.disks.push(Disk { name: name.to_owned(), is_read_only: true }),
            ["claim", name] => drop(volumes.exclusive.insert(name.to_owned())),
            _ => panic!("no volume: {word}"),
        }
    }
    volumes
}

/// Places one pod after another, each with such volumes, on nodes that attach two of the driver `d`.
fn check(nodes: &[Node], pods: &[&str], expect: Expect) {
    let mut cluster = Cluster::new(7);
    nodes.iter().for_each(|node| cluster.set_node(node));
    for node in nodes {
        assert!(cluster.set_volume_limits(&node.name, BTreeMap::from([("d".to_owned(), 2)])));
    }
    let mut place = |(index, text): (usize, &&str)| {
        let pod = Arc::new(Pod { volumes: volumes(text), ..pod("cpu=10") });
        line(&cluster.place(&[Pending { id: PodId::new(&format!("p{index}")), pod }])[0])
    };
    expect.assert_eq(&pods.iter().enumerate().map(&mut place).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_node_attaches_so_many_volumes_of_a_driver_and_each_once() {
    check(
        &[node("a", "")],
        &["d/1", "d/1", "d/2", "d/3", "d/2 d/1", "e/1 e/2 e/3", "d/1 d/4"],
        expect![[r#"
            a
            a
            a
            0/1 nodes are available: 1 node(s) exceed max volume count.
            a
            a
            0/1 nodes are available: 1 node(s) exceed max volume count."#]],
    );
}

#[test]
fn one_pod_alone_uses_a_claim_of_one() {
    check(
        &[node("a", ""), node("b", "")],
        &["claim:x", "claim:x", "claim:y"],
        expect![[r#"
            b
            0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.
            a"#]],
    );
}

#[test]
fn a_disk_is_written_by_one_pod_of_a_node() {
    check(
        &[node("a", "")],
        &["disk:x:ro", "disk:x:ro", "disk:x", "disk:y", "disk:y:ro"],
        expect![[r#"
            a
            a
            0/1 nodes are available: 1 node(s) had no available disk.
            a
            0/1 nodes are available: 1 node(s) had no available disk."#]],
    );
}

#[test]
fn a_pod_goes_where_its_volumes_can_be_reached_or_made() {
    let zone = |zone: &str| NodeTerm { labels: vec![Requirement::equals("zone", zone)], fields: vec![] };
    let nodes = [node("a", "zone=left"), node("b", "zone=right")];
    let place = |places: Vec<Place>| {
        let mut cluster = Cluster::new(7);
        nodes.iter().for_each(|node| cluster.set_node(node));
        let volumes = Volumes { places, ..Volumes::default() };
        let pod = Arc::new(Pod { volumes, ..pod("cpu=10") });
        line(&cluster.place(&[Pending { id: PodId::new("p"), pod }])[0])
    };
    let bound = |name: &str| Place { terms: vec![zone(name)], is_bound: true };
    let unbound = |name: &str| Place { terms: vec![zone(name)], is_bound: false };
    expect!["a"].assert_eq(&place(vec![bound("left")]));
    expect!["b"].assert_eq(&place(vec![unbound("right"), bound("right")]));
    expect!["0/2 nodes are available: 1 node(s) didn't find available persistent volumes to bind, 1 node(s) didn't match PersistentVolume's node affinity."]
        .assert_eq(&place(vec![bound("left"), unbound("right")]));
    expect!["0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."]
        .assert_eq(&place(vec![Place { terms: vec![], is_bound: false }]));
}

/// Three nodes; `sizes` in MiB of the image `app` on the first ones.
fn with_images(sizes: &[u64], n_containers: usize) -> String {
    let mut cluster = Cluster::new(7);
    let image = "registry/app:1".to_owned();
    for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
        let images = sizes.get(index).map(|size| (image.clone(), size << 20)).into_iter().collect();
        cluster.set_node(&Node { images, ..node(name, "") });
    }
    let mut images = vec![image];
    images.extend((1..n_containers).map(|other| format!("other{other}")));
    let pod = Arc::new(Pod { images, ..pod("cpu=10") });
    let scored = |outcome: &crate::Outcome| match outcome {
        crate::Outcome::Placed { node, score, .. } => (node.clone(), *score),
        crate::Outcome::Unplaced(unplaced) => panic!("{unplaced}"),
    };
    let first = |pod: &Arc<Pod>, cluster: &mut Cluster| {
        let outcome = cluster.place(&[Pending { id: PodId::new("p"), pod: Arc::clone(pod) }]).remove(0);
        cluster.remove_pod(&PodId::new("p"));
        scored(&outcome)
    };
    let (plain, without) = first(&Arc::new(Pod { images: vec![], ..(*pod).clone() }), &mut cluster);
    let (node, with) = first(&pod, &mut cluster);
    let gain = (with - without) * 100 / crate::view::FULL;
    assert_eq!(plain, "b");
    format!("{node} +{gain}")
}

#[test]
fn a_node_that_has_the_image_is_better_the_larger_it_is_and_the_more_have_it() {
    // Too small to matter: the order of the nodes decides.
    expect!["b +0"].assert_eq(&with_images(&[20], 1));
    // A third of 900 MiB, less 23 of 1000.
    expect!["a +26"].assert_eq(&with_images(&[900], 1));
    expect!["b +55"].assert_eq(&with_images(&[900, 900], 1));
    expect!["b +89"].assert_eq(&with_images(&[900, 900, 900], 1));
    expect!["b +100"].assert_eq(&with_images(&[9000, 9000, 9000], 1));
    // Of two containers, one finds its image.
    expect!["b +44"].assert_eq(&with_images(&[900, 900, 900], 2));
}

#[test]
fn images_that_come_and_go_are_seen() {
    let mut cluster = Cluster::new(7);
    let pod = Arc::new(Pod { images: vec!["app".to_owned()], ..pod("cpu=10") });
    let place = |cluster: &mut Cluster| {
        let outcome = line(&cluster.place(&[Pending { id: PodId::new("p"), pod: Arc::clone(&pod) }])[0]);
        cluster.remove_pod(&PodId::new("p"));
        outcome
    };
    let with = |name: &str, has_it: bool| {
        let images = has_it.then(|| ("app".to_owned(), 1000 << 20)).into_iter().collect();
        Node { images, ..node(name, "") }
    };
    for (a, b, best) in
        [(false, false, "b"), (true, false, "a"), (true, true, "b"), (false, true, "b"), (true, false, "a")]
    {
        cluster.set_node(&with("a", a));
        cluster.set_node(&with("b", b));
        assert_eq!(place(&mut cluster), best, "{a} {b}");
    }
}
