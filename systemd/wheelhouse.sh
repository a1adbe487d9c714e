#!/bin/bash
# Collect all that a host without internet needs into dist/edge-classify-PLATFORM, to be copied to a USB stick:
# the wheels of edge-classify and of everything it needs, pip itself, the units, the installer and the manual.
#   wheelhouse.sh PLATFORM "PYTHON..."     such as: wheelhouse.sh aarch64 "3.11 3.13"
set -euo pipefail
platform=$1 pythons=$2
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
out=$repository/dist/edge-classify-$platform
tools=$repository/.venv/wheelhouse

case $platform in
    aarch64 | x86_64) ;;
    *) echo "wheelhouse: no wheels exist for $platform; expected aarch64 (64-bit Raspberry Pi OS) or x86_64" >&2; exit 2 ;;
esac
[ -x "$tools/bin/pip" ] || "$python" -m venv "$tools"
rm -rf "$out" && mkdir -p "$out/wheels"

"$tools/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$out/wheels" "$repository"
built=$(basename "$out"/wheels/edge_classify-*.whl)

# Debian 12 has glibc 2.36; pip accepts the named platforms only and does not know that a newer glibc runs wheels for older ones.
platforms=(--platform "manylinux2014_$platform" --platform "linux_$platform")
for minor in $(seq 17 36); do platforms+=(--platform "manylinux_2_${minor}_$platform"); done
for version in $pythons; do
    echo "Wheels for Python $version on $platform ..."
    "$tools/bin/pip" download --quiet --disable-pip-version-check --only-binary :all: --dest "$out/wheels" \
        --implementation cp --python-version "$version" "${platforms[@]}" pip "$out/wheels/$built"
done

cp -r "$repository/systemd" "$repository/LICENSE" "$out/"
[ ! -e "$repository/docs/deploy.md" ] || cp "$repository/docs/deploy.md" "$out/"
# The installer finds a stick that was pulled too early before it installs from it.
(cd "$out" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum > SHA256SUMS)
echo "$out: $(find "$out/wheels" -name '*.whl' | wc -l) wheels, $(du -sm "$out" | cut -f1) MB"
echo "Copy the folder to a USB stick; on the field host: sudo ./systemd/install.sh"
