#!/bin/sh
# Runs the own test suites of other people's clients against a cluster of its own, and holds how many of their tests
# pass to a minimum that may only grow. Needs root, as every cluster does.
#
# usage: clients.sh CREST kr8s|kopf...        CREST is the binary; CREST_CLIENTS_OUT names a folder for what they say
set -eu
crest=$(realpath "${1:?usage: clients.sh CREST kr8s|kopf...}")
shift
here=$(cd "$(dirname "$0")" && pwd)
cache=${CREST_CLIENTS_CACHE:-/var/cache/crest-clients}
work=$(mktemp -d)
out=${CREST_CLIENTS_OUT:-$work}
instance=c$$
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
place="--instance $instance --api-port $(free_port) --kubelet-port $(free_port) --pod-cidr 10.$((200 + $$ % 50)).0.0/16"
# The place is several words.
# shellcheck disable=SC2086
crest() { "$crest" "$@" $place; }
finish() {
    crest down --purge --grace-seconds 1 >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

# The suites of today; a newer one has other tests, and then other minima.
KR8S=0.20.15
KOPF=1.45.2

environment() { # NAME PACKAGE...
    [ -x "$cache/$1/bin/pytest" ] && return
    python3 -m venv "$cache/$1"
    name=$1
    shift
    "$cache/$name/bin/pip" --quiet --disable-pip-version-check install "$@"
}

# busybox under the names of the images that the suites run: a server on port 80, and something that waits.
images() {
    root=$work/rootfs
    mkdir -p "$root/bin" "$root/tmp" "$root/etc"
    cp /bin/busybox "$root/bin/busybox"
    for applet in sh sleep cat echo ls true false httpd id hostname tar env date; do
        ln -sf busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/:/bin/sh' > "$root/etc/passwd"
    echo 'Welcome to nginx!' > "$root/index.html"
    for tag in docker.io/library/nginx:latest docker.io/library/nginx:1.14.2 docker.io/library/nginx:stable; do
        crest image build-rootfs "$root" --tag "$tag" --cmd /bin/httpd --cmd -f --cmd -p --cmd 80 --cmd -h --cmd /
    done
    for tag in gcr.io/google_containers/pause:latest docker.io/library/ubuntu:latest docker.io/library/busybox:latest; do
        crest image build-rootfs "$root" --tag "$tag" --cmd /bin/sleep --cmd 100000
    done
}

# A cluster of its own for the next suite.
fresh() {
    crest down --purge --grace-seconds 1 >/dev/null 2>&1 || true
    crest up
    images >/dev/null
    KUBECONFIG=$work/kubeconfig
    crest kubeconfig > "$KUBECONFIG"
    export KUBECONFIG
}

hold() { # NAME MINIMUM
    passed=$(grep -Eo '[0-9]+ passed' "$out/$1.txt" | tail -1 | cut -d' ' -f1)
    echo "$1: ${passed:-0} tests pass, at least $2 must"
    [ "${passed:-0}" -ge "$2" ]
}

kr8s() {
    environment kr8s "kr8s==$KR8S" pytest pytest-asyncio pytest-timeout pytest-rerunfailures pytest-kind trio \
        lightkube pykube-ng kubernetes kubernetes-asyncio
    suite=$(ls -d "$cache"/kr8s/lib/python3*/site-packages/kr8s)
    # The suite makes a cluster with kind; this one is there already.
    cat > "$work/crest_cluster.py" <<'PYTHON'
import os, pathlib, subprocess
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
PYTHON
    (cd "$work" && PYTHONPATH=$work PATH="$cache/kr8s/bin:$PATH" "$cache/kr8s/bin/pytest" -p crest_cluster -p no:kind \
        -o asyncio_mode=auto -o cache_dir="$work/pytest" --timeout 60 -q --no-header -rfE "$suite" \
        --deselect test_auth.py --ignore "$suite/tests/test_auth.py" > "$out/kr8s.txt" 2>&1) || true
    hold kr8s 0
}

kopf() {
    # All that the suite's configuration names; what its operators use is in the second line.
    environment kopf "kopf==$KOPF" pytest pytest-aiohttp pytest-asyncio pytest-cov pytest-mock pytest-timeout looptime kmock \
        freezegun certbuilder certvalidator pykube-ng kubernetes pyngrok
    python3 -m pip --quiet --disable-pip-version-check download --no-deps --no-binary :all: --no-build-isolation \
        --dest "$work" "kopf==$KOPF" >/dev/null 2>&1 || python3 -m pip --quiet --disable-pip-version-check download \
        --no-deps --no-binary :all: --dest "$work" "kopf==$KOPF"
    tar xzf "$work/kopf-$KOPF.tar.gz" -C "$work"
    # What its authors run before: the kinds that the operators watch.
    (cd "$work/kopf-$KOPF" && kubectl apply -f examples/crd.yaml && PATH="$cache/kopf/bin:$PATH" "$cache/kopf/bin/pytest" \
        --only-e2e tests/e2e -q --no-header -rfE > "$out/kopf.txt" 2>&1) || true
    hold kopf 0
}

mkdir -p "$work/bin" "$cache" "$out"
sh "$here/kubectl.sh" 1.33 "$cache"
ln -sf "$cache/kubectl-1.33" "$work/bin/kubectl"
PATH=$work/bin:$PATH
export PATH CREST_KUBECTL="$work/bin/kubectl" HOME="$work"
failed=
for client in "$@"; do
    fresh
    "$client" || failed="$failed $client"
done
[ -z "$failed" ] || { echo "too few tests pass:$failed"; exit 1; }
