#!/usr/bin/env bash
# Builds the program of this checkout's last commit twice, in folders and Cargo homes of different names, and compares the
# program, the archive and the Debian package byte for byte. Then it installs the package in an empty root. It takes as
# long as two release builds, and needs Debian's dpkg and `cargo install --locked cargo-deb`.
#
#   tests/reproducible.sh [TARGET]
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1-$(rustc --print host-tuple)}

work=$(mktemp --directory --tmpdir reproducible.XXXXXX)
trap 'rm --recursive --force "$work"' EXIT
cargo build --locked --package dist
dist=$PWD/target/debug/dist
homes=("${CARGO_HOME-$HOME/.cargo}" "$work/another-home")
folders=(a another)
mkdir --parents "${homes[1]}/registry"
cp --archive "${homes[0]}"/registry/{index,cache} "${homes[1]}/registry"
if [ -f "${homes[0]}/config.toml" ]; then cp "${homes[0]}/config.toml" "${homes[1]}"; fi

for at in 0 1; do
  checkout=$work/checkout-${folders[at]}
  git clone --quiet --no-local . "$checkout"
  program=$(CARGO_HOME=${homes[at]} "$dist" build "$target" --checkout "$checkout")
  "$dist" pack "$program" linux-amd64 --out "$work/files$at"
  "$dist" deb linux-amd64 --out "$work/files$at"
  mv "$program" "$work/files$at"
  # The second build has the room of the first.
  rm --recursive --force "$checkout"
done
(cd "$work/files0" && sha256sum ./*)
diff --recursive "$work/files0" "$work/files1"
echo "The same bytes"

mkdir --parents "$work/root/var/lib/dpkg"/{info,updates}
touch "$work/root/var/lib/dpkg/status"
dpkg --root="$work/root" --force-not-root --install "$work"/files0/*.deb
"$work/root/usr/bin/kubectl-prom_federate" version
