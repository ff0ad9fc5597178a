# kube-rs: the live tests that its crates carry, which their authors leave out of an ordinary run.
version=5.0.0
tree=$cache/kube-rs-$version
# The crates as published, side by side, so that each is tested with the others and with its own helpers of tests.
members="kube kube-client kube-core kube-derive kube-runtime"
if [ ! -e "$tree/complete" ]; then
    rm -rf "$tree"
    mkdir -p "$tree/fetch/src"
    touch "$tree/fetch/src/lib.rs"
    cat > "$tree/fetch/Cargo.toml" <<TOML
[package]
name = "fetch"
version = "0.0.0"
edition = "2024"
[dependencies]
kube = { version = "=$version", features = ["runtime", "derive"] }
k8s-openapi = { version = "*", features = ["latest"] }
[workspace]
TOML
    cargo metadata --format-version 1 --manifest-path "$tree/fetch/Cargo.toml" > "$tree/metadata.json" || absent
    { echo '[workspace]'; echo 'resolver = "3"'; } > "$tree/Cargo.toml"
    { echo "members = ["; printf '"%s",\n' $members; echo "]"; echo '[patch.crates-io]'; } >> "$tree/Cargo.toml"
    for member in $members; do
        manifest=$(python3 - "$tree/metadata.json" "$member" <<'PYTHON'
import json, sys
packages = json.load(open(sys.argv[1]))["packages"]
print(next(package["manifest_path"] for package in packages if package["name"] == sys.argv[2]))
PYTHON
        )
        cp -r "$(dirname "$manifest")" "$tree/$member"
        echo "$member = { path = \"$member\" }" >> "$tree/Cargo.toml"
        case $member in
        # Publishing left this out, because it has no version.
        kube-client | kube-runtime)
            printf '\n[dev-dependencies.kube]\npath = "../kube"\ndefault-features = false\n' >> "$tree/$member/Cargo.toml" ;;
        esac
    done
    printf '[profile.dev]\ndebug = false\n' >> "$tree/Cargo.toml"
    rm -rf "$tree/fetch" "$tree/metadata.json"
    touch "$tree/complete"
fi
sh "$here/clients/control_plane_pod.sh"
# All but OpenSSL, of which the tests need nothing that the other library has not.
features=kube/client,kube/rustls-tls,kube/ring,kube/runtime,kube/derive,kube/ws,kube/jsonpatch
features=$features,kube/unstable-runtime,kube/unstable-client,kube/kubelet-debug
(cd "$tree" && cargo test --lib --no-fail-fast -p kube -p kube-client -p kube-runtime --features "$features" \
    -- --ignored --test-threads 4 > "$out/kube-rs.txt" 2>&1) || true
hold kube-rs "$(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$out/kube-rs.txt" | awk '{ sum += $1 } END { print sum + 0 }')"
