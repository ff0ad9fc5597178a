#!/bin/sh
# Runs a command in a virtual machine of its own, with Debian's kernel and cgroup v2, under software emulation:
# what a host with cgroup v1 cannot test otherwise. The machine has this host's programs that are named, copied
# with the libraries that they need, and nothing else; its console is this script's output, its exit code that
# of the command.
#
# usage: guest.sh 'COMMAND' FILE...       FILEs (absolute paths) appear in the guest under the same path
set -eu
command=${1:?usage: guest.sh COMMAND FILE...}
shift
cache=${CREST_GUEST_CACHE:-/var/cache/crest-guest}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The kernel and its modules, from the package, without installing it.
if [ ! -e "$cache/vmlinuz" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
    (cd "$work" && apt-get -qq download "$package" && dpkg-deb -x linux-image*.deb kernel)
    mkdir -p "$cache"
    rm -rf "$cache/modules"
    mv "$work"/kernel/lib/modules "$cache/modules"
    mv "$work"/kernel/boot/vmlinuz-* "$cache/vmlinuz"
fi
release=$(ls "$cache/modules")

root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/etc" "$root/var/lib" \
    "$root/lib/modules/$release"
cp /bin/busybox "$root/bin/busybox"
for applet in sh mount cp mkdir switch_root modprobe insmod poweroff ip cat echo ls sleep grep hostname sed env id find rm; do
    ln -s busybox "$root/bin/$applet"
done
# modprobe wants lib/modules below its root.
mkdir -p "$work/modroot/lib"
ln -s "$cache/modules" "$work/modroot/lib/modules"
depmod --basedir "$work/modroot" "$release"
: > "$work/list"
for module in overlay loop bridge veth nf_tables nft_masq nft_nat nft_chain_nat nf_conntrack nft_ct nft_reject_inet; do
    modprobe --dirname "$work/modroot" --set-version "$release" --show-depends "$module" 2>/dev/null |
        awk '$1 == "insmod" {print $2}' >> "$work/list"
done
awk '!seen[$0]++' "$work/list" | while read -r file; do
    cp "$file" "$root/lib/modules/$release/"
    echo "/lib/modules/$release/$(basename "$file")"
done > "$root/etc/modules"

with_libraries() {
    mkdir -p "$root$(dirname "$1")"
    # Debugging symbols only cost memory there. What is no program is copied as it is.
    strip -o "$root$1" "$1" 2>/dev/null || cp -L "$1" "$root$1"
    ldd "$1" 2>/dev/null | grep -o '/[^ )]*' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        [ -e "$root$library" ] || cp -L "$library" "$root$library"
    done
}
for file in /usr/sbin/nft "$@"; do
    with_libraries "$file"
done
printf '%s\n' "$command" > "$root/etc/command"
printf 'root:x:0:0:root:/root:/bin/sh\n' > "$root/etc/passwd"
cp /etc/nsswitch.conf "$root/etc/" 2>/dev/null || true
printf '127.0.0.1 localhost\n' > "$root/etc/hosts"

# pivot_root is refused on the first root, so everything moves to a tmpfs before the command runs.
cat > "$root/init" <<'INIT'
#!/bin/sh
export PATH=/bin:/usr/bin:/usr/sbin:/usr/local/bin
mkdir -p /new
mount -t tmpfs -o size=90% tmpfs /new
cp -a /bin /lib /etc /usr /dev /proc /sys /run /tmp /var /second /new/ 2>/dev/null
for folder in /*; do
    case $folder in
        /new | /bin | /lib | /etc | /usr | /dev | /proc | /sys | /run | /tmp | /var | /second | /init | /root) ;;
        *) cp -a "$folder" /new/ ;;
    esac
done
exec switch_root /new /second
INIT
cat > "$root/second" <<'SECOND'
#!/bin/sh
export PATH=/bin:/usr/bin:/usr/sbin:/usr/local/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
while read -r module; do insmod "$module" 2>/dev/null; done < /etc/modules
ip link set lo up
hostname guest
sh /etc/command
echo "GUEST-EXIT $?"
poweroff -f
SECOND
chmod +x "$root/init" "$root/second"
mkdir -p "$root/usr"
(cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 > "$work/initrd"

timeout "${CREST_GUEST_SECONDS:-600}" qemu-system-x86_64 -machine q35 -cpu max -smp 2 -m 3072 -nographic -no-reboot \
    -kernel "$cache/vmlinuz" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1 psi=1" \
    < /dev/null | tee "$work/console"
exit "$(sed -n 's/^GUEST-EXIT \([0-9]*\).*/\1/p' "$work/console" | tail -1 | grep . || echo 1)"
