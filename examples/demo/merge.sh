#!/bin/sh
# One instance of the second stage: adds up the counts of the words whose first letter is in its share.
set -eu
index=$CREST_INSTANCE_INDEX count=$CREST_INSTANCE_COUNT out=${OUT:-/out}
cat "$out"/words-* | awk -v n="$count" -v i="$index" '
    { at = index("abcdefghijklmnopqrstuvwxyz", substr($2, 1, 1)) }
    at && at % n == i { total[$2] += $1 }
    END { for (word in total) print total[word], word }
' | sort -rn > "$out/.merged-$index.$$"
mv "$out/.merged-$index.$$" "$out/merged-$index"
