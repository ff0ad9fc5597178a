//! The verbs that ask what placement does, against a real server: `explain`, `what-if`, `plan rebalance`, `sim place`; and
//! the API that answers as `explain` does.

use std::path::{Path, PathBuf};
use std::process::Output;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PostParams};
use kube::core::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Server, crest, text, until};

/// A server with Sigma, and without anybody who would take nodes for lost, which have no agents here, or pods for orphans.
struct Cluster {
    directory: TempDir,
    _server: Server,
    client: kube::Client,
    kubeconfig: PathBuf,
}

impl Cluster {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let arguments = ["--controllers", "*,-node-lifecycle,-garbage", "--log", "warn"];
        let mut server = Server::new(directory.path().join("state"), &arguments);
        let client = server.start().await;
        let kubeconfig = server.folder.join("kubeconfig");
        Self { directory, _server: server, client, kubeconfig }
    }

    async fn create_node(&self, name: &str, cpu: &str) {
        let node = serde_json::from_value(node(name, cpu)).unwrap();
        Api::<Node>::all(self.client.clone()).create(&PostParams::default(), &node).await.unwrap();
    }

    async fn create_pod(&self, pod: &Value) {
        let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
        let pods = Api::<Pod>::default_namespaced(self.client.clone());
        until("the namespace has its account", async || pods.create(&PostParams::default(), &pod).await.ok())
            .await;
    }

    async fn until_bound(&self, name: &str) -> String {
        let pods = Api::<Pod>::default_namespaced(self.client.clone());
        until("the pod is bound", async || pods.get(name).await.ok()?.spec?.node_name).await
    }

    /// The binary with this cluster's kubeconfig.
    fn crest(&self, arguments: &[&str]) -> Output {
        crest(&[arguments, &["--kubeconfig", text(&self.kubeconfig)]].concat())
    }

    fn write(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    }

    async fn explained(&self, pod: &str) -> Result<Value, kube::Error> {
        let path = "/apis/crest.dev/v1alpha1/namespaces/default/podexplanations";
        let request = Request::new(path).get(pod, &kube::api::GetParams::default()).unwrap();
        self.client.request(request).await
    }
}

fn node(name: &str, cpu: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": "8Gi", "pods": "10"});
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": amounts, "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn pod(name: &str, cpu: &str) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}})
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn read(output: &Output) -> Value {
    assert!(!output.stdout.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_pod_is_there_and_why_another_waits() {
    let cluster = Cluster::start().await;
    for (name, cpu) in [("a", "2"), ("b", "4"), ("c", "1")] {
        cluster.create_node(name, cpu).await;
    }
    cluster.create_pod(&pod("web", "1500m")).await;
    assert_eq!(cluster.until_bound("web").await, "b");
    cluster.create_pod(&pod("large", "5")).await;

    let placed = read(&cluster.crest(&["explain", "pod", "web", "--output", "json"]));
    assert_eq!(
        (&placed["state"], &placed["node"], &placed["rank"]),
        (&json!("Placed"), &json!("b"), &json!(1))
    );
    let scores = placed["scores"].as_array().unwrap();
    let nodes: Vec<_> = scores.iter().map(|score| score["node"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["b", "a"], "the best first, and none where it does not fit");
    for score in scores {
        let points = score["parts"].as_array().unwrap().iter().map(|part| part["points"].as_f64().unwrap());
        assert!((points.sum::<f64>() - score["total"].as_f64().unwrap()).abs() < 0.01, "{score}");
    }
    let (code, out, _) = said(&cluster.crest(&["explain", "pod", "web"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("pod default/web: it has node b\n") && out.contains("1  * b "), "{out}");
    assert!(out.contains("as of today"), "{out}");

    let waiting = read(&cluster.crest(&["explain", "pod", "large", "--output", "json"]));
    assert_eq!((&waiting["state"], &waiting["nFeasible"]), (&json!("Waiting"), &json!(0)));
    assert_eq!(waiting["message"], "0/3 nodes are available: 3 Insufficient cpu.");
    let change = json!({"do": "lower", "by": {"cpu": 2500}, "node": "b"});
    assert_eq!(waiting["changes"][0]["remedies"][0], change, "{waiting}");

    let (code, _, error) = said(&cluster.crest(&["explain", "pod", "nobody"]));
    assert_eq!(code, Some(1));
    assert!(error.contains("there is no pod `nobody` in namespace `default`"), "{error}");
    let (code, _, error) = said(&crest(&["explain", "pod", "web", "--kubeconfig", "/nowhere"]));
    assert_eq!(code, Some(1));
    assert!(error.contains("cannot use `/nowhere`"), "{error}");

    // The API says the very same.
    let told = cluster.explained("web").await.unwrap();
    assert_eq!((&told["kind"], &told["metadata"]["name"]), (&json!("PodExplanation"), &json!("web")));
    assert_eq!(told["status"], placed);
    assert_eq!(cluster.explained("large").await.unwrap()["status"], waiting);
    let missing = cluster.explained("nobody").await;
    assert!(matches!(&missing, Err(kube::Error::Api(status)) if status.code == 404), "{missing:?}");
    check_rights(&cluster).await;
}

/// An explanation is granted like any object, and no role has it by default but that of administrators.
async fn check_rights(cluster: &Cluster) {
    let asked = async |groups: &[&str], path: &str| {
        let mut request = http::Request::get(path).header("Impersonate-User", "jane");
        for group in groups {
            request = request.header("Impersonate-Group", *group);
        }
        let answer: Result<Value, _> = cluster.client.request(request.body(Vec::new()).unwrap()).await;
        answer
    };
    let path = "/apis/crest.dev/v1alpha1/namespaces/default/podexplanations/web";
    let refused = asked(&[], path).await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403), "{refused:?}");
    assert!(asked(&["system:masters"], path).await.is_ok());
    let kinds = asked(&["system:masters"], "/apis/crest.dev/v1alpha1").await.unwrap();
    let kinds = kinds["resources"].as_array().unwrap();
    let found = kinds.iter().find(|kind| kind["name"] == "podexplanations").unwrap();
    assert_eq!(found["verbs"], json!(["get"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_placed() {
    let cluster = Cluster::start().await;
    cluster.create_node("a", "2").await;
    cluster.create_pod(&pod("there", "1")).await;
    cluster.until_bound("there").await;
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": pod("x", "1")["spec"]});
    let app = |replicas: u32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template}})
    };
    let (one, three) = (cluster.write("one.json", &app(1)), cluster.write("three.json", &app(3)));

    let (code, out, _) = said(&cluster.crest(&["what-if", "-f", text(&one)]));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("1 of 1 waiting pods placed"), "{out}");
    let (code, out, _) = said(&cluster.crest(&["what-if", "-f", text(&three)]));
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("1 of 3 waiting pods placed") && out.contains("add a node like a"), "{out}");
    let output = cluster.crest(&["what-if", "-f", text(&three), "--nodes", "+1", "--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let nodes: Vec<Value> =
        read(&output)["placed"].as_array().unwrap().iter().map(|seat| seat["node"].clone()).collect();
    assert_eq!(nodes.iter().filter(|node| **node == "a-like-1").count(), 2, "{nodes:?}");

    let group = json!({"apiVersion": "crest.dev/v1alpha1", "kind": "PodGroup", "metadata": {"name": "g"},
        "spec": {"minMember": 2}});
    let mut member = [pod("m-1", "1"), pod("m-2", "1")];
    member.iter_mut().for_each(|pod| pod["metadata"]["labels"] = json!({"crest.dev/pod-group": "g"}));
    let [first, second] = member;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [group, first, second]});
    let gang = cluster.write("gang.json", &list);
    let (code, out, _) = said(&cluster.crest(&["what-if", "-f", text(&gang)]));
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("0 of 2 waiting pods placed") && out.contains("gang g: 1 of 2 fit"), "{out}");

    let refused = [
        (vec!["what-if", "-f", "/nowhere.yaml"], 1, "cannot read `/nowhere.yaml`"),
        (vec!["what-if", "-f", text(&one), "--nodes", "some"], 2, "is not a number of nodes"),
        (vec!["what-if", "-f", text(&one), "--nodes", "+1", "--like", "z"], 1, "there is no node `z`"),
    ];
    for (arguments, expected, message) in refused {
        let (code, _, error) = said(&cluster.crest(&arguments));
        assert_eq!(code, Some(expected), "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    let pods = Api::<Pod>::default_namespaced(cluster.client.clone());
    assert_eq!(
        pods.list(&kube::api::ListParams::default()).await.unwrap().items.len(),
        1,
        "nothing was made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_frees_a_node() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.create_node(name, "4").await;
        let mut pod = pod(&format!("on-{name}"), "1");
        pod["spec"]["nodeName"] = name.into();
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": "elsewhere", "uid": "elsewhere", "controller": true}]);
        cluster.create_pod(&pod).await;
    }
    let output = cluster.crest(&["plan", "rebalance", "--seconds", "1", "--output", "json"]);
    let plan = read(&output);
    assert_eq!((output.status.code(), plan["moves"].as_u64()), (Some(0), Some(1)), "{plan}");
    assert_eq!((&plan["before"]["usedNodes"], &plan["after"]["usedNodes"]), (&json!(2), &json!(1)), "{plan}");
    let (code, out, _) = said(&cluster.crest(&["plan", "rebalance", "--seconds", "1", "--max-moves", "0"]));
    assert_eq!(code, Some(0));
    assert!(out.contains("nothing to move"), "{out}");
    let (code, _, error) = said(&cluster.crest(&["plan", "rebalance", "--cpu-threshold", "80"]));
    assert_eq!(code, Some(2));
    assert!(error.contains("between 0 and 1"), "{error}");
}

fn write(folder: &Path, name: &str, contents: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

#[test]
fn recorded_clusters_are_placed_without_a_server() {
    let folder = TempDir::new().unwrap();
    let dump = |pods: &[Value]| {
        let items = [&[node("a", "2")], pods].concat();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    };
    let fits = write(folder.path(), "fits.json", &dump(&[pod("x", "1"), pod("y", "1")]));
    let full = write(folder.path(), "full.json", &dump(&[pod("x", "1"), pod("y", "2")]));
    let output = crest(&["sim", "place", "--dump", text(&fits), "--output", "json"]);
    assert_eq!((output.status.code(), read(&output)["placed"].as_array().map(Vec::len)), (Some(0), Some(2)));
    let (code, out, _) = said(&crest(&["sim", "place", "--dump", text(&full)]));
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("default/y: 0/1 nodes are available: 1 Insufficient cpu."), "{out}");

    let bad = write(folder.path(), "bad.json", "{");
    let odd = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": 3}).to_string();
    let odd = write(folder.path(), "odd.json", &odd);
    let empty = write(folder.path(), "empty.json", &json!({"kind": "List", "items": []}).to_string());
    let refused = [
        (vec!["--dump", text(&bad)], 1, "is not JSON"),
        (vec!["--dump", text(&odd)], 1, "(`x`) is not a valid Pod"),
        (vec!["--dump", text(&empty)], 1, "there are no nodes to place pods on"),
        (vec!["--openb", "/nowhere"], 1, "/nowhere"),
        (vec!["--tianchi", "/nowhere"], 1, "cannot read `/nowhere/machine_resources"),
        (vec!["--dump", text(&fits), "--variant", "default"], 2, "cannot be used with"),
        (vec![], 2, "required"),
    ];
    for (arguments, expected, message) in refused {
        let (code, _, error) = said(&crest(&[&["sim", "place"][..], &arguments].concat()));
        assert_eq!(code, Some(expected), "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
}

#[test]
fn the_contest_is_judged() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "machine_resources.csv", "m_1,10,10,100,7,3,7\nm_2,10,10,100,7,7,9\n");
    write(folder.path(), "app_resources.csv", "a,4|6,1|1,40,0,0,0\nb,1|1,1|1,40,0,0,0\n");
    write(folder.path(), "app_interference.csv", "a,b,1\n");
    write(folder.path(), "instance_deploy.csv", "i_1,a,m_1\ni_2,b,m_1\ni_3,b,m_1\n");
    let place = |more: &[&str]| {
        let usual = ["sim", "place", "--tianchi", text(folder.path()), "--rounds", "10"];
        crest(&[&usual[..], more].concat())
    };
    let output = place(&["--output", "json"]);
    let report = read(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!((&report["after"]["usedMachines"], &report["after"]["violations"]), (&json!(2), &json!([])));
    assert_eq!(report["placed"].as_array().unwrap().len(), 3);
    let (_, out, _) = said(&place(&[]));
    assert!(out.contains("as the input has them: cost 3.28, 1 machines in use, 2 rules violated:"), "{out}");
    assert!(out.contains("m_1: more than 1 of b beside a") && out.contains("no rule violated"), "{out}");

    write(folder.path(), "instance_deploy.csv", "i_1,a,\ni_2,a,\ni_3,a,\ni_4,a,\ni_5,a,\n");
    let (code, out, _) = said(&place(&[]));
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("i_5 has no machine") || out.contains("has no machine"), "{out}");
    write(folder.path(), "instance_deploy.csv", "i_1,a,\ni_2,z,\n");
    let (code, _, error) = said(&place(&[]));
    assert_eq!(code, Some(1));
    assert!(error.contains("instance_deploy.csv:2: column `app` holds `z`"), "{error}");
}
