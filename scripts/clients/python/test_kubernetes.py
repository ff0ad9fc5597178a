"""The official Python client: what its users do most, each through the client's own functions."""

import threading

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream


@pytest.fixture(scope="module")
def core():
    config.load_kube_config()
    return client.CoreV1Api()


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_objects_live_and_die(core, namespace):
    made = core.create_namespaced_config_map(namespace, config_map("words", tone="kind"))
    assert made.metadata.uid and made.metadata.creation_timestamp
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_config_map(namespace, config_map("words"))
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    made.data["tone"] = "rude"
    replaced = core.replace_namespaced_config_map("words", namespace, made)
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("words", namespace, made)
    assert stale.value.status == 409
    assert replaced.data == {"tone": "rude"}
    core.delete_namespaced_config_map("words", namespace)
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("words", namespace)
    assert gone.value.status == 404


def test_every_kind_of_patch(core, namespace):
    core.create_namespaced_config_map(namespace, config_map("words", a="1"))
    patched = core.patch_namespaced_config_map("words", namespace, {"data": {"b": "2"}})
    assert patched.data == {"a": "1", "b": "2"}
    operations = [{"op": "remove", "path": "/data/a"}, {"op": "test", "path": "/data/b", "value": "2"}]
    assert core.patch_namespaced_config_map("words", namespace, operations).data == {"b": "2"}
    merged = {"metadata": {"labels": {"x": "y"}}, "data": {"b": None}}
    patched = core.patch_namespaced_config_map("words", namespace, merged, _content_type="application/merge-patch+json")
    assert patched.data is None and patched.metadata.labels == {"x": "y"}


def test_apply_owns_and_conflicts(core, namespace):
    api = dynamic.DynamicClient(core.api_client).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": {"a": "one"}}
    api.server_side_apply(body, "owned", namespace, field_manager="first")
    body["data"]["a"] = "two"
    with pytest.raises(dynamic.exceptions.ConflictError):
        api.server_side_apply(body, "owned", namespace, field_manager="second")
    forced = api.server_side_apply(body, "owned", namespace, field_manager="second", force_conflicts=True)
    assert forced.data.a == "two"
    assert {entry.manager for entry in forced.metadata.managedFields} >= {"second"}


def test_dry_run_leaves_nothing(core, namespace):
    core.create_namespaced_config_map(namespace, config_map("dry"), dry_run="All")
    assert not [item for item in core.list_namespaced_config_map(namespace).items if item.metadata.name == "dry"]


def test_lists_in_pages(core, namespace):
    for number in range(5):
        core.create_namespaced_config_map(namespace, config_map(f"page-{number}"))
    names, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(namespace, limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
    assert [name for name in names if name.startswith("page-")] == [f"page-{number}" for number in range(5)]
    selected = core.list_namespaced_config_map(namespace, field_selector="metadata.name=page-3")
    assert [item.metadata.name for item in selected.items] == ["page-3"]


def test_a_watch_tells_each_change_once(core, namespace):
    start = core.list_namespaced_config_map(namespace).metadata.resource_version

    def act():
        core.create_namespaced_config_map(namespace, config_map("seen"))
        core.patch_namespaced_config_map("seen", namespace, {"data": {"a": "1"}})
        core.delete_namespaced_config_map("seen", namespace)

    actor = threading.Thread(target=act)
    actor.start()
    told = []
    for event in watch.Watch().stream(
        core.list_namespaced_config_map, namespace, resource_version=start, timeout_seconds=20,
        field_selector="metadata.name=seen",
    ):
        told.append((event["type"], event["object"].data))
        if event["type"] == "DELETED":
            break
    actor.join()
    assert told == [("ADDED", None), ("MODIFIED", {"a": "1"}), ("DELETED", {"a": "1"})]


def test_commands_in_a_container(core, namespace, pod):
    connect = core.connect_get_namespaced_pod_exec
    said = stream(connect, pod, namespace, command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True)
    assert sorted(said.split()) == ["err", "out"]
    session = stream(connect, pod, namespace, command=["sh"], stdin=True, stdout=True, stderr=True, _preload_content=False)
    session.write_stdin("echo through and back; exit 7\n")
    assert session.readline_stdout(timeout=20) == "through and back"
    session.run_forever(timeout=20)
    assert session.returncode == 7


def test_logs(core, namespace, pod):
    assert core.read_namespaced_pod_log(pod, namespace) == "hello\nbye\n"
    assert core.read_namespaced_pod_log(pod, namespace, tail_lines=1) == "bye\n"


def test_ports_are_forwarded(core, namespace, pod):
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports="80")
    socket = forward.socket(80)
    socket.setblocking(True)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while block := socket.recv(4096):
        answer += block
    assert b"Welcome to nginx!" in answer
    assert forward.error(80) is None


def test_workloads_by_their_own_api(core, namespace):
    apps = client.AppsV1Api(core.api_client)
    container = client.V1Container(name="c", image="busybox:stable", command=["sleep", "1000"])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "d"}),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0),
    )
    spec = client.V1DeploymentSpec(
        replicas=1, selector=client.V1LabelSelector(match_labels={"app": "d"}), template=template
    )
    apps.create_namespaced_deployment(
        namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec)
    )
    apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 2}})
    for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=60):
        if event["object"].status.ready_replicas == 2:
            break
    assert apps.read_namespaced_deployment_status("d", namespace).status.ready_replicas == 2
    core.delete_collection_namespaced_pod(namespace, label_selector="app=d")


def test_who_may_what(core, namespace):
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="create", resource="pods", namespace=namespace)
        )
    )
    assert client.AuthorizationV1Api(core.api_client).create_self_subject_access_review(review).status.allowed
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=900))
    token = core.create_namespaced_service_account_token("default", namespace, request).status.token
    robot = client.Configuration.get_default_copy()
    robot.cert_file = robot.key_file = None
    robot.api_key = {"authorization": f"Bearer {token}"}
    with pytest.raises(ApiException) as forbidden:
        client.CoreV1Api(client.ApiClient(robot)).list_namespaced_secret(namespace)
    assert forbidden.value.status == 403
