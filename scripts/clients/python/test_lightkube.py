"""lightkube: typed objects, patches, watches, logs."""

import pytest
from lightkube import ApiError, Client, codecs
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod
from lightkube.types import CascadeType, PatchType

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: 1
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: 'busybox:stable', command: [sleep, '1000']}]
"""


@pytest.fixture
def kube(namespace):
    return Client(namespace=namespace, field_manager="lightkube")


def test_objects_live_and_die(kube):
    made = kube.create(ConfigMap(metadata=ObjectMeta(name="words"), data={"a": "1"}))
    assert made.metadata.uid
    with pytest.raises(ApiError) as refused:
        kube.create(ConfigMap(metadata=ObjectMeta(name="words")))
    assert (refused.value.status.code, refused.value.status.reason) == (409, "AlreadyExists")
    made.data["a"] = "2"
    assert kube.replace(made).data == {"a": "2"}
    kube.delete(ConfigMap, "words")
    with pytest.raises(ApiError) as gone:
        kube.get(ConfigMap, "words")
    assert gone.value.status.reason == "NotFound"


def test_every_kind_of_patch(kube):
    kube.create(ConfigMap(metadata=ObjectMeta(name="words"), data={"a": "1"}))
    assert kube.patch(ConfigMap, "words", {"data": {"b": "2"}}).data == {"a": "1", "b": "2"}
    merged = kube.patch(ConfigMap, "words", {"data": {"a": None}}, patch_type=PatchType.MERGE)
    assert merged.data == {"b": "2"}
    operations = [{"op": "replace", "path": "/data/b", "value": "3"}]
    assert kube.patch(ConfigMap, "words", operations, patch_type=PatchType.JSON).data == {"b": "3"}
    applied = ConfigMap(metadata=ObjectMeta(name="words"), data={"b": "4"})
    with pytest.raises(ApiError) as conflict:
        kube.apply(applied, field_manager="other")
    assert conflict.value.status.reason == "Conflict"
    assert kube.apply(applied, field_manager="other", force=True).data == {"b": "4"}


def test_a_deployment_is_watched_until_it_runs(kube, namespace):
    (deployment,) = codecs.load_all_yaml(DEPLOYMENT)
    kube.apply(deployment)
    assert kube.wait(Deployment, "d", for_conditions=["Available"]).status.readyReplicas == 1
    assert kube.get(Deployment.Scale, "d").spec.replicas == 1
    kube.patch(Deployment.Scale, "d", {"spec": {"replicas": 2}}, patch_type=PatchType.MERGE)
    for event, seen in kube.watch(Deployment, fields={"metadata.name": "d"}, server_timeout=60):
        if seen.status.readyReplicas == 2:
            break
    pods = list(kube.list(Pod, labels={"app": "d"}, chunk_size=1))
    assert len(pods) == 2
    # From here on: it may be gone before the watch begins.
    version = kube.get(Deployment, "d").metadata.resourceVersion
    kube.delete(Deployment, "d", cascade=CascadeType.FOREGROUND)
    watch = kube.watch(
        Deployment, fields={"metadata.name": "d"}, server_timeout=60, resource_version=version
    )
    for event, _ in watch:
        if event == "DELETED":
            break
    assert not list(kube.list(Pod, labels={"app": "d"}))


def test_logs(kube, pod):
    assert list(kube.log(pod)) == ["hello\n", "bye\n"]
    assert list(kube.log(pod, tail_lines=1)) == ["bye\n"]


def test_lists_across_namespaces(kube):
    assert {item.metadata.name for item in kube.list(Namespace)} >= {"default", "kube-system"}
    kinds = {item.kind for item in kube.list(ConfigMap, namespace="*")}
    assert kinds <= {None, "ConfigMap"} and kinds
