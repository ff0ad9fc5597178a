"""What the tests of both clients share: a namespace of its own for each, and a Pod that runs."""

import os
import subprocess
import uuid

import pytest

KUBECTL = os.environ["CREST_KUBECTL"]


@pytest.fixture
def namespace():
    name = f"python-{uuid.uuid4().hex[:8]}"
    subprocess.run([KUBECTL, "create", "namespace", name], check=True, capture_output=True)
    yield name
    subprocess.run([KUBECTL, "delete", "namespace", name, "--wait=false"], check=True, capture_output=True)


@pytest.fixture
def pod(namespace):
    """The name of a Pod that serves `Welcome to nginx!` on port 80, is ready and has said `hello`."""
    script = "echo hello; echo bye; exec httpd -f -p 80 -h /usr/share/nginx/html"
    run = [KUBECTL, "--namespace", namespace]
    subprocess.run(
        [*run, "run", "web", "--image=nginx:stable", "--labels=app=web", "--", "sh", "-c", script],
        check=True,
        capture_output=True,
    )
    wait = [*run, "wait", "pod/web", "--for=condition=Ready", "--timeout=60s"]
    subprocess.run(wait, check=True, capture_output=True)
    return "web"
