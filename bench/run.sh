#!/bin/sh
# Runs every benchmark of the folder beside this script, one after another (as root: they start containers).
set -eu
host=$(rustc -vV | sed -n 's/^host: //p')
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
for source in bench/src/bin/*.rs; do
    name=$(basename "$source" .rs)
    echo "== $name"
    $sudo "target/$host/release/$name"
done
