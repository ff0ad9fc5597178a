#!/bin/sh
# One instance of the batch job: takes its share of the texts, tries several compressors on them, hashes them,
# and counts their words. Results appear under their final name only when they are whole, so that an instance
# that runs twice cannot spoil them.
set -eu
index=$CREST_INSTANCE_INDEX count=$CREST_INSTANCE_COUNT out=${OUT:-/out}
work=$(mktemp -d "${TMPDIR:-/tmp}/measure.XXXXXX")
trap 'rm -rf "$work"' EXIT

awk -v n="$count" -v i="$index" 'NR % n == i' /demo/texts | while read -r text; do
    case $text in
        *.gz) zcat "$text" ;;
        *) cat "$text" ;;
    esac
done > "$work/text"
# By their paths: a busybox shell would take its own xz, which only unpacks.
packed() {
    size=$("$@" < "$work/text" | wc -c)
    [ "$size" -gt 0 ]
    printf '%s %s\n' "$*" "$size"
}
{
    sha256sum < "$work/text"
    packed gzip
    for level in 1 3 6 9; do
        packed /usr/bin/xz -$level
    done
    packed /bin/bzip2 -9
} > "$work/sizes"
tr -cs 'A-Za-z' '\n' < "$work/text" | tr 'A-Z' 'a-z' | sort | uniq -c > "$work/words"

mkdir -p "$out"
for part in sizes words; do
    cp "$work/$part" "$out/.$part-$index.$$"
    mv "$out/.$part-$index.$$" "$out/$part-$index"
done
