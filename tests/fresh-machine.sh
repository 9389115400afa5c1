#!/usr/bin/env bash
# The README's commands on a new machine: a bare Debian root that has Rust, Go, git and a C compiler and nothing else.
#
#   tests/fresh-machine.sh [--share-caches] [--user] [--] [COMMAND]...
#
# Run it as root on Debian or Ubuntu. Each COMMAND is run by a shell in a clone of this checkout's last commit; without one
# these are "cargo demo --once" and "cargo verify".
#   --share-caches  use this machine's caches of Cargo and Go, and the testbed's servers, instead of empty ones
#   --user          run the commands as a user who may use sudo, instead of as root; of
#                   the caches, this user can share the testbed's servers alone
# The packages come from where this machine gets them, and the environment of Cargo, Go and proxies is passed on.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)

# The second part runs in namespaces of its own: what it mounts and starts ends with it.
if [ "${1-}" != --inside ]; then
  [ "$(id -u)" = 0 ] || { echo "error: only root can make a root: run sudo $0" >&2; exit 1; }
  share_caches= user=root
  while [ $# -gt 0 ]; do
    case $1 in
      --share-caches) share_caches=yes ;;
      --user) user=tester ;;
      --) shift; break ;;
      -*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
      *) break ;;
    esac
    shift
  done
  [ $# -gt 0 ] || set -- "cargo demo --once" "cargo verify"
  if ! command -v mmdebstrap > /dev/null; then
    apt-get update
    apt-get install --yes --no-install-recommends mmdebstrap
  fi
  root=$(mktemp --directory --tmpdir fresh-machine.XXXXXX)
  trap 'rm --recursive --force --one-file-system "$root"' EXIT
  unshare --mount --pid --fork --kill-child --propagation private \
    "$0" --inside "$root" "$user" "$share_caches" "$@" &
  inside=$!
  # unshare ignores other signals while it waits.
  trap 'kill -KILL "$inside"; wait "$inside" || true; exit 1' INT TERM HUP
  wait "$inside"
  exit
fi

shift
root=$1 user=$2 share_caches=$3
shift 3
home=/root
[ "$user" = root ] || home=/home/$user

echo "==> a bare root in $root"
packages=ca-certificates,git,gcc,libc6-dev
[ "$user" = root ] || packages+=,sudo
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ ! -s "$file" ] || sources+=("$file")
done
mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$root" "${sources[@]}"

mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount --types proc proc "$root/proc"
mount --types tmpfs tmpfs "$root/run"
# The network, and whom this machine trusts.
cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
cp --recursive --dereference /etc/ssl/certs/. "$root/etc/ssl/certs/" 2> /dev/null || true
cp --recursive /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"

[ "$user" = root ] || {
  chroot "$root" useradd --create-home "$user"
  echo "$user ALL=(ALL) NOPASSWD: ALL" > "$root/etc/sudoers.d/$user"
}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
servers=$home/.cache/prom-federate-testbed
mkdir --parents "$root$home/.cargo" "$root$home/.cache"
git clone --quiet --no-local "$checkout" "$root$home/kubectl-prom-federate"
for file in config config.toml; do
  [ ! -e "$cargo_home/$file" ] || cp "$cargo_home/$file" "$root$home/.cargo/"
done
# Before anything of this machine is mounted there.
chroot "$root" chown --recursive "$user:" "$home"
read_only() {
  mkdir --parents "$root$2"
  mount --bind "$1" "$root$2"
  mount --options remount,bind,ro "$root$2"
}
read_only "$(rustc --print sysroot)" /opt/rust
# Go's caches are of use to a Go in the same folder only.
go=$(go env GOROOT)
read_only "$go" "$go"

share() {
  mkdir --parents "$1" "$root$2"
  mount --bind "$1" "$root$2"
}
case $share_caches,$user in
  yes,root)
    share "$cargo_home/registry" "$home/.cargo/registry"
    share "$(go env GOMODCACHE)" "$home/go/pkg/mod"
    share "$(go env GOCACHE)" "$home/.cache/go-build"
    share "${XDG_CACHE_HOME:-$HOME/.cache}/prom-federate-testbed" "$servers"
    ;;
  yes,*) read_only "${XDG_CACHE_HOME:-$HOME/.cache}/prom-federate-testbed" "$servers" ;;
esac

environment=("HOME=$home" "USER=$user" "TERM=${TERM:-dumb}")
environment+=("PATH=/opt/rust/bin:$go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
for name in GOFLAGS GOPROXY GONOPROXY GOSUMDB GONOSUMDB GOPRIVATE GOINSECURE; do
  environment+=("$name=$(go env $name)")
done
while IFS= read -r name; do
  environment+=("$name=${!name}")
done < <(compgen -e | grep --extended-regexp --ignore-case '^(cargo_(registr|net|http|source).*|(https?|ftp|all|no)_proxy|ssl_cert_(file|dir))$')

for command in "$@"; do
  echo "==> $command"
  started=$SECONDS
  code=0
  chroot --userspec="$user:" "$root" env --ignore-environment "${environment[@]}" \
    sh -c "cd ~/kubectl-prom-federate && $command" < /dev/null || code=$?
  echo "<== $command: $((SECONDS - started)) s, exit code $code"
  [ "$code" = 0 ] || exit "$code"
done
