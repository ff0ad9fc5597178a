//! A service that becomes busy is given more Pods, and they are taken away again: measured by the agent, told by
//! `metrics.k8s.io`, decided by the autoscaler.

use std::fs;

use super::cluster::Cluster;

/// Works when the file is there, and rests else. A Pod may take twice what it asks for, so that one is always
/// busy enough for three.
const SERVICE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: service}
spec:
  replicas: 1
  selector: {matchLabels: {app: service}}
  template:
    metadata: {labels: {app: service}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: busybox:test
          command:
            - sh
            - -c
            - |
              while true; do
                if test -f /load/on; then
                  i=0; while test $i -lt 5000; do i=$((i+1)); done
                else
                  sleep 0.2
                fi
              done
          resources: {requests: {cpu: 50m, memory: 8Mi}, limits: {cpu: 100m}}
          volumeMounts: [{name: load, mountPath: /load}]
      volumes: [{name: load, hostPath: {path: LOAD, type: Directory}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: service}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: service}
  minReplicas: 1
  maxReplicas: 3
  metrics:
    - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
    - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 500Mi}}}
  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}
"#;

#[test]
fn a_busy_service_grows_and_an_idle_one_shrinks() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let load = cluster.state_dir().join("load");
    fs::create_dir_all(&load).unwrap();
    fs::write(load.join("on"), "").unwrap();
    cluster.apply(&SERVICE.replace("LOAD", &load.display().to_string()));
    let wait = |condition: &str, what: &str| {
        cluster.ok(&["wait", &format!("--for=jsonpath={condition}"), what, "--timeout=120s"])
    };
    wait("{.spec.replicas}=3", "deployment/service");
    wait("{.status.readyReplicas}=3", "deployment/service");
    let autoscaler = cluster.ok(&["get", "hpa", "service"]);
    assert!(autoscaler.contains("cpu: ") && !autoscaler.contains("<unknown>"), "{autoscaler}");
    let top = cluster.ok(&["top", "pods", "-l", "app=service", "--containers"]);
    assert!(top.lines().skip(1).any(|line| line.contains("main")), "{top}");
    fs::remove_file(load.join("on")).unwrap();
    wait("{.spec.replicas}=1", "deployment/service");
    let events = cluster.ok(&["get", "events", "--field-selector", "reason=SuccessfulRescale"]);
    assert!(events.contains("New size: 3") && events.contains("New size: 1"), "{events}");
}
