"""For suites that make a cluster with pytest-kind: the one that is there already, under kind's name for it.

And a fixture of kr8s' own that its package leaves out.
"""

import gc
import os
import pathlib
import subprocess

import pytest


class Cluster:
    kubeconfig_path = pathlib.Path(os.environ["KUBECONFIG"])
    kubectl_path = pathlib.Path(os.environ["CREST_KUBECTL"])
    name = "crest"

    def kubectl(self, *arguments, as_dict=False):
        return subprocess.check_output([str(self.kubectl_path), *arguments], encoding="utf-8")


@pytest.fixture(scope="session")
def k8s_cluster():
    yield Cluster()


@pytest.fixture
def ensure_gc():
    gc.collect()
    yield
    gc.collect()
