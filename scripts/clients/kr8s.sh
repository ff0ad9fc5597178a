# kr8s: the suite that its wheel holds.
version=0.20.15
# Its tests were written for these two; newer ones have other exceptions and other modules.
environment kr8s "kr8s==$version" httpx-ws==0.7.2 kubernetes==35.0.0 pytest pytest-asyncio pytest-timeout \
    pytest-rerunfailures pytest-kind pytest-xdist trio lightkube pykube-ng kubernetes-asyncio
suite=$(ls -d "$cache"/kr8s/lib/python3*/site-packages/kr8s)
# The suite makes a cluster with kind; this one is there already.
cp "$here/clients/crest_cluster.py" "$work"
# kind's API server is a Pod, and the suite looks at it.
sh "$here/clients/control_plane_pod.sh"
(cd "$work" && PYTHONPATH=$work PATH="$cache/kr8s/bin:$PATH" pytest -p crest_cluster -p no:kind \
    -o asyncio_mode=auto -o cache_dir="$work/pytest" --timeout 60 --reruns 1 -q --no-header -rfE "$suite" \
    > "$out/kr8s.txt" 2>&1) || true
hold kr8s "$(grep -Eo '[0-9]+ passed' "$out/kr8s.txt" | tail -1 | cut -d' ' -f1)"
