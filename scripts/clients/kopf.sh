# kopf: its end-to-end tests, which are in the source distribution alone.
version=1.45.2
# All that the suite's configuration names; what its operators use is in the second line.
environment kopf "kopf==$version" pytest pytest-aiohttp pytest-asyncio pytest-cov pytest-mock pytest-timeout looptime kmock \
    freezegun certbuilder certvalidator pykube-ng kubernetes pyngrok
source=$cache/kopf-$version.tar.gz
[ -e "$source" ] || "$cache/kopf/bin/pip" --quiet --disable-pip-version-check download --no-deps --no-binary :all: \
    --dest "$cache" "kopf==$version" || absent
tar xzf "$source" -C "$work"
# What its authors do before: the kinds that the operators watch.
(cd "$work/kopf-$version" && kubectl apply -f examples/crd.yaml && PATH="$cache/kopf/bin:$PATH" pytest \
    --only-e2e tests/e2e -q --no-header -rfE > "$out/kopf.txt" 2>&1) || true
hold kopf "$(grep -Eo '[0-9]+ passed' "$out/kopf.txt" | tail -1 | cut -d' ' -f1)"
