"""A registry of images on loopback for tests: every name that is asked for gives one root filesystem.

usage: registry.py FOLDER PORT [PATTERN=WORD,WORD...]...

FOLDER is the root filesystem. What a container of the image starts is what stands behind the first pattern (as of a
shell) that its name matches, so `registry.py rootfs 5000 '*nginx*=/bin/httpd,-f' '*=/bin/sleep,100000'` serves a
server under all names of nginx, and something that waits under all others. Speaks so much of the OCI distribution
protocol as a pull needs. Runs until it is killed.
"""

import fnmatch
import hashlib
import http.server
import io
import json
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ARCHITECTURE = "amd64"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(folder):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(folder, arcname=".")
    return packed.getvalue()


class Images:
    """Blobs by digest, and a manifest for each command that an image may have."""

    def __init__(self, folder, commands):
        self.layer = layer(folder)
        self.blobs = {digest(self.layer): self.layer}
        self.manifests = [(pattern, self.manifest(words)) for pattern, words in commands]

    def manifest(self, words):
        config = {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {"Cmd": words, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(self.layer)]},
        }
        config = self.keep(json.dumps(config).encode())
        part = lambda kind, content: {"mediaType": kind, "digest": digest(content), "size": len(content)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": part(CONFIG, config),
            "layers": [part(LAYER, self.layer)],
        }
        return self.keep(json.dumps(manifest).encode())

    def keep(self, content):
        self.blobs[digest(content)] = content
        return content

    def named(self, name, reference):
        if reference.startswith("sha256:"):
            return self.blobs.get(reference)
        return next((manifest for pattern, manifest in self.manifests if fnmatch.fnmatch(name, pattern)), None)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    images = None

    def do_GET(self):
        path = self.path.split("?")[0].removeprefix("/v2/")
        if path == "":
            return self.answer(b"{}", "application/json")
        name, _, rest = path.rpartition("/manifests/")
        if name:
            return self.answer(self.images.named(name, rest), MANIFEST)
        _, _, rest = path.rpartition("/blobs/")
        return self.answer(self.images.blobs.get(rest), "application/octet-stream")

    do_HEAD = do_GET

    def answer(self, content, kind):
        self.send_response(200 if content is not None else 404)
        content = content if content is not None else b'{"errors": [{"code": "NAME_UNKNOWN"}]}'
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", digest(content))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def main():
    folder, port, *commands = sys.argv[1:]
    split = (command.partition("=") for command in commands)
    Handler.images = Images(folder, [(pattern, words.split(",")) for pattern, _, words in split])
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


main()
