#!/bin/sh
# Runs the own test suites of other people's clients against clusters of its own, and holds how many of their tests pass
# to a minimum that may only grow (clients/minimum.txt). Needs root, as every cluster does.
#
# usage: clients.sh CREST CLIENT...       CREST is the binary, a client one of the scripts in clients/
#   CREST_CLIENTS_CACHE   what is fetched once and used again, by default /var/cache/crest-clients
#   CREST_CLIENTS_OUT     a folder for what the suites say; without it that is gone at the end
set -eu
crest=$(realpath "${1:?usage: clients.sh CREST CLIENT...}")
shift
here=$(cd "$(dirname "$0")" && pwd)
cache=${CREST_CLIENTS_CACHE:-/var/cache/crest-clients}
work=$(mktemp -d)
out=${CREST_CLIENTS_OUT:-$work}
instance=c$$
free_port() { # [PORT]    this one, if it is free
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", int("'"${1:-0}"'"))); print(s.getsockname()[1])'
}
# Some of the suites know the kubelet's port by heart.
api_port=$(free_port) kubelet_port=$(free_port 10250 2>/dev/null || free_port) registry_port=$(free_port)
place="--instance $instance --api-port $api_port --kubelet-port $kubelet_port --pod-cidr 10.$((200 + $$ % 50)).0.0/16"
place="$place --registry-mirror *=127.0.0.1:$registry_port"
# For suites whose containers reach the API: 127.0.0.1 would be their own.
host_address=10.198.$(($$ % 250)).1
registry=
# The place is several words, and none of them is a pattern.
# shellcheck disable=SC2086
crest() (
    set -f
    exec "$crest" "$@" $place
)
finish() { # whatever a suite left
    crest down --purge --grace-seconds 1 >/dev/null 2>&1 || true
    [ -z "$registry" ] || kill "$registry"
    busybox ip addr del "$host_address/32" dev lo 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

# Nothing can be said of a client that cannot be fetched: that is no failure of ours.
absent() {
    echo "$client: skipped, because it cannot be fetched"
    exit 0
}

environment() { # NAME PACKAGE...    a Python with these packages, at $cache/NAME
    [ -e "$cache/$1/complete" ] && return
    name=$1
    shift
    python3 -m venv --clear "$cache/$name"
    "$cache/$name/bin/pip" --quiet --disable-pip-version-check install "$@" || absent
    touch "$cache/$name/complete"
}

# busybox under the name of every image that the suites run: a web server as nginx, and otherwise something that waits.
# Both end when they are told to, which the first process of a container does not by itself.
images() {
    root=$work/rootfs
    mkdir -p "$root/bin" "$root/tmp" "$root/etc" "$root/usr/share/nginx/html"
    cp /bin/busybox "$root/bin/busybox"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/:/bin/sh' > "$root/etc/passwd"
    echo 'Welcome to nginx!' > "$root/usr/share/nginx/html/index.html"
    python3 "$here/clients/registry.py" "$root" "$registry_port" \
        '*nginx*=/bin/sh,-c,trap exit TERM; httpd -f -p 80 -h /usr/share/nginx/html & wait' \
        '*=/bin/sh,-c,trap exit TERM; sleep 100000 & wait' &
    registry=$!
}

# A cluster of its own for the next suite.
fresh() {
    crest down --purge --grace-seconds 1 >/dev/null 2>&1 || true
    crest up
    KUBECONFIG=$work/kubeconfig
    crest kubeconfig > "$KUBECONFIG"
    export KUBECONFIG
}

hold() { # NAME PASSED
    least=$(sed -n "s/^$1 //p" "$here/clients/minimum.txt")
    echo "$1: ${2:-0} tests pass, at least $least must"
    if [ "${2:-0}" -lt "$least" ]; then
        tail -n 80 "$out/$1.txt"
        return 1
    fi
}

mkdir -p "$work/bin" "$work/home" "$cache" "$out"
client=kubectl
sh "$here/kubectl.sh" 1.33 "$cache" || absent
ln -sf "$cache/kubectl-1.33" "$work/bin/kubectl"
# A home of their own: kubectl and others keep what they discover there. Rust's is not theirs.
export CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
export PATH="$work/bin:$PATH" HOME="$work/home" CREST_KUBECTL="$work/bin/kubectl"
images
failed=
for client in "$@"; do
    echo "$client: begins"
    fresh
    # Each script fetches its client, runs it, and ends with `hold`.
    # shellcheck source=/dev/null
    (. "$here/clients/$client.sh") || failed="$failed $client"
done
[ -z "$failed" ] || { echo "too few tests pass:$failed"; exit 1; }
