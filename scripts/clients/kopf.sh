# kopf: its end-to-end tests, which are in the source distribution alone.
version=1.45.2
# All that the suite's configuration names; what its operators use is in the second line.
environment kopf "kopf==$version" pytest pytest-aiohttp pytest-asyncio pytest-cov pytest-mock pytest-timeout looptime kmock \
    freezegun certbuilder certvalidator pykube-ng kubernetes pyngrok
source=$cache/kopf-$version.tar.gz
[ -e "$source" ] || "$cache/kopf/bin/pip" --quiet --disable-pip-version-check download --no-deps --no-binary :all: \
    --dest "$cache" "kopf==$version" || absent
tar xzf "$source" -C "$work"
# What its authors do: the kinds that the operators watch are there before, a test may take longer than a unit's, and what
# Python's collector says of sockets that the operators left open (as errors, unless told otherwise) is not about the
# server. The example of admission needs a library in a state that was never published (oscrypto, for OpenSSL 3.0.10 and
# newer): 13 of 14 is all there is.
(cd "$work/kopf-$version" && kubectl apply -f examples/crd.yaml && PATH="$cache/kopf/bin:$PATH" \
    pytest -W ignore --only-e2e --timeout 120 tests/e2e -q --no-header -rfE \
    > "$out/kopf.txt" 2>&1) || true
hold kopf "$(grep -Eo '[0-9]+ passed' "$out/kopf.txt" | tail -1 | cut -d' ' -f1)"
