# The official Python client and lightkube: what their users do most, in tests of ours (python/).
environment python kubernetes==37.0.2 lightkube==1.0.1 pytest pytest-timeout
(cd "$here/clients/python" && "$cache/python/bin/pytest" -q --no-header -rfE --timeout 120 -o cache_dir="$work/pytest" . \
    > "$out/python.txt" 2>&1) || true
hold python "$(grep -Eo '[0-9]+ passed' "$out/python.txt" | tail -1 | cut -d' ' -f1)"
