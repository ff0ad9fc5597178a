#!/bin/sh
# Builds the demo's root filesystem from Debian's packages, without a registry: nginx, busybox, compressors,
# and some 43 MB of real text. `crest image build-rootfs` makes an image of it.
#
# usage: image.sh FOLDER     (as root; needs mmdebstrap)     Says "built" unless the folder was up to date.
set -eu
folder=${1:?usage: image.sh FOLDER}
here=$(dirname "$0")
recipe=$(cat "$here/image.sh" "$here/nginx.conf" "$here/measure.sh" "$here/merge.sh" | cksum)
[ "$(cat "$folder/etc/crest-demo" 2>/dev/null)" = "$recipe" ] && exit 0

. /etc/os-release
suite=${VERSION_CODENAME:-bookworm}
packages=nginx-light,busybox-static,xz-utils,bzip2,debian-policy,debian-reference-en,developers-reference,git-doc,postgresql-doc

rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
# "extract" unpacks without running maintainer scripts, so what those would have written is written here.
mmdebstrap --quiet --variant=extract --include="$packages" "$suite" "$folder"
for applet in sh awk cat cp cut find grep head ls mkdir mktemp mv rm sed sha256sum sleep sort tail tr uniq wc xargs zcat gzip; do
    [ -e "$folder/bin/$applet" ] || ln -s busybox "$folder/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\n' > "$folder/etc/passwd"
printf 'root:x:0:\nwww-data:x:33:\n' > "$folder/etc/group"
mkdir -p "$folder/demo" "$folder/run" "$folder/proc" "$folder/sys" "$folder/var/log/nginx" "$folder/var/lib/nginx"
cp "$here/nginx.conf" "$here/measure.sh" "$here/merge.sh" "$folder/demo/"

# The list of texts that the batch job works on.
( cd "$folder" && find usr/share/doc usr/share/debian-reference -type f \
    \( -name '*.gz' -o -name '*.html' -o -name '*.txt' -o -name copyright -o -name 'changelog*' \) | sort |
    sed 's|^|/|' ) > "$folder/demo/texts"
echo "$recipe" > "$folder/etc/crest-demo"
echo built
