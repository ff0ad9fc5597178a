#!/bin/sh
# Builds the image nginx:local without a registry.
#
# If nginx is installed here, it is copied with the libraries that it loads; otherwise its Debian package is unpacked
# by mmdebstrap, which takes about 15 seconds the first time. The unpacked tree is kept in the user's cache.
# busybox, if it is there, becomes the shell of the image.
set -eu
crest=${CREST:-crest}
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/crest/images

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
rootfs=$work/rootfs
mkdir -m 755 "$rootfs"

# Copies a program and what the dynamic loader would load for it.
copy_closure() {
    loader=$(LC_ALL=C ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p')
    for file in "$1" $loader; do
        mkdir -p "$rootfs$(dirname "$file")"
        cp -L "$file" "$rootfs$file"
    done
}

if nginx=$(command -v nginx || ls /usr/sbin/nginx 2>/dev/null); then
    copy_closure "$nginx"
    mkdir -p "$rootfs/etc/nginx"
    cp /etc/nginx/mime.types "$rootfs/etc/nginx/"
elif command -v mmdebstrap >/dev/null; then
    nginx=/usr/sbin/nginx
    if [ ! -e "$cache/nginx.tar" ]; then
        mkdir -p "$cache"
        mmdebstrap --variant=extract --include=nginx-light "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
            "$cache/nginx.$$.tar"
        mv "$cache/nginx.$$.tar" "$cache/nginx.tar"
    fi
    tar -C "$rootfs" -xf "$cache/nginx.tar" --exclude='./dev/*'
else
    echo "neither nginx nor mmdebstrap is here: apt-get install nginx-light, or apt-get install mmdebstrap" >&2
    exit 1
fi

mkdir -p "$rootfs/etc/nginx" "$rootfs/var/log/nginx" "$rootfs/var/lib/nginx" "$rootfs/run" "$rootfs/tmp" \
    "$rootfs/proc" "$rootfs/sys" "$rootfs/dev" "$rootfs/usr/share/nginx/html" "$rootfs/bin"
chmod 1777 "$rootfs/tmp"
if busybox=$(command -v busybox) && [ ! -e "$rootfs/bin/sh" ]; then
    cp "$busybox" "$rootfs/bin/busybox"
    "$busybox" --list | while read -r applet; do
        [ -e "$rootfs/bin/$applet" ] || ln -s busybox "$rootfs/bin/$applet"
    done
fi
cat >"$rootfs/etc/passwd" <<'EOF'
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
EOF
cat >"$rootfs/etc/group" <<'EOF'
root:x:0:
www-data:x:33:
EOF
cat >"$rootfs/etc/nginx/nginx.conf" <<'EOF'
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
    include mime.types;
    access_log off;
    sendfile on;
    keepalive_requests 100000;
    server {
        listen 80;
        root /usr/share/nginx/html;
        location = /healthz { return 200 "ok\n"; }
    }
}
EOF
echo '<!doctype html><title>nginx on Crest</title><p>It runs.' >"$rootfs/usr/share/nginx/html/index.html"

"$crest" image build-rootfs "$rootfs" --tag nginx:local \
    --entrypoint "$nginx" --cmd=-c --cmd=/etc/nginx/nginx.conf --cmd=-g --cmd='daemon off;'
