# Functions for a host other than file operations. The caller defines say and failed.

lock_folder=

# One run at a time, including runs on this host. flock(2) if its program exists: the system releases this lock when the
# shell ends. Otherwise a folder with the number of the process that made it: if that process has ended, the lock is stale.
lock() {
  lock_file=prom-federate/.lock
  are_safe "$lock_file" && said=$(is_file "$lock_file" 2>&1) || failed "$lock_file" "$said" || return
  if command -v flock > /dev/null; then
    said=$( (: >> "$lock_file") 2>&1) || failed "$lock_file" "$said" || return
    exec 9>> "$lock_file"
    flock -n 9 || {
      exec 9>&-
      say busy
      return 1
    }
    return 0
  fi
  made_by=
  [ ! -f "$lock_file.d/pid" ] || made_by=$(cat "$lock_file.d/pid" 2> /dev/null)
  if [ -n "$made_by" ] && [ ! -d "/proc/$made_by" ]; then
    rm -rf "$lock_file.d"
  fi
  said=$(mkdir "$lock_file.d" 2>&1) || {
    [ -d "$lock_file.d" ] && say busy || failed "$lock_file.d" "$said"
    return 1
  }
  lock_folder=$lock_file.d
  echo $$ > "$lock_folder/pid"
}

unlock() {
  exec 9>&-
  [ -z "$lock_folder" ] || rm -rf "$lock_folder"
  lock_folder=
}

# The numbers of all processes that may read the jobs, found by their arguments or their program.
candidates() {
  names='prometheus|vmagent|victoria-metrics|vmsingle|otelco|otel-col|opentelemetry-col|--config|-config[.]file|-promscrape[.]config'
  {
    grep -l -i -a -E "$names" /proc/[0-9]*/cmdline
    ls -l /proc/[0-9]*/exe | grep -i -E "> .*($names)"
  } 2> /dev/null | sed 's|.*/proc/\([0-9][0-9]*\)/[ce].*|\1|' | sort -n -u
}

# As much of a command line as is read: a stranger's may be megabytes long.
command_line() { dd if="/proc/$1/cmdline" bs=65536 count=1 2> /dev/null; }

# The environment variables of a process that are flags of vmagent: what it reads, and where it answers. Others hold secrets.
variables() {
  dd if="/proc/$1/environ" bs=65536 count=1 2> /dev/null | tr '\0\n' '\n\0' | grep -a -E \
    '^[^=]*(promscrape_config(CheckInterval|_strictParse)?|httpListenAddr|http_pathPrefix|httpAuth_username|tls)='
}

# Where a path of a process leads: PID PATH
reached() {
  case $2 in
    /*) printf '%s\n' "/proc/$1/root$2" ;;
    *) printf '%s\n' "/proc/$1/cwd/$2" ;;
  esac
}

# Whether a path of a process leads to our main configuration: PID PATH
means() { [ "$(reached "$1" "$2")" -ef "$main" ]; }

# Whether a process has our folder beside its path of the main configuration: PID PATH
has_folder() {
  beside=$(reached "$1" "$2")
  beside=${beside%/*}
  [ "$beside/." -ef . ] || { [ -d prom-federate ] && [ "$beside/prom-federate" -ef prom-federate ]; }
}

# The number of the mount that a file or folder is reached by, see proc_pid_fdinfo(5).
mount_of() { sed -n 's/^mnt_id:[[:space:]]*//p' /proc/self/fdinfo/6 2> /dev/null 6< "$1"; }

# Whether a file is mounted by itself: its folder lies in another mount.
is_mounted_alone() {
  mounted_on=$(mount_of "$1") && beside=$(mount_of "$(folder_of "$1")/.") && [ -n "$mounted_on" ] && [ -n "$beside" ] &&
    [ "$mounted_on" != "$beside" ]
}

# Whether a main configuration has other hard links than the one that this program makes.
has_other_names() {
  names=$(ls -ldn "$1" | { read -r _ names _ && echo "$names"; })
  [ ! "$1.before-prom-federate" -ef "$1" ] || names=$((names - 1))
  [ "$names" -gt 1 ]
}

# Whether a file may have an access list or other extended attributes. Those that no program here can list may be there.
has_attributes() {
  case $(ls -ldn "$1") in
    ??????????[+.]*) return 0 ;;
  esac
  if command -v getfattr > /dev/null; then
    [ -n "$(getfattr -d -m - -- "$1" 2>&1)" ]
  elif tar --version 2> /dev/null | grep -q GNU; then
    # Its headers have them, and it complains if it cannot read them.
    said=$({ tar --xattrs --xattrs-include='*' --acls --format=pax -cf - "./$1" | grep -c -a 'SCHILY\.[ax]'; } 2>&1)
    [ "$said" != 0 ]
  else
    true
  fi
}

# Whether a file can be written. The builtin test of some shells says yes to root without a look.
is_writable() { [ -w "$1" ] && [ "$(env test -w "$1" 2> /dev/null; echo $?)" != 1 ]; }

# Whether this user cannot give a new file the owner and the group of a file.
is_of_others() {
  ids=$(ids_of "$1")
  [ "$own" != 0 ] && case "$own: $(id -G) " in
    "${ids%:*}:"*" ${ids#*:} "*) false ;;
  esac
}

# What started a process, by its cgroup on standard input: the system's service manager, by a unit that is named after the
# program, or an engine for containers that root runs. Otherwise nothing: a user may have done so.
starter() {
  path=$(sed -n -e 's/^[0-9]*:name=systemd:/1/p' -e 's/^0::/2/p' | sort | sed -n '1s/^.//p')
  case $path/ in
    */../* | */user.slice/* | */user-*.slice/*) return ;;
  esac
  path=${path#/}
  slices=
  while :; do
    first=${path%%/*}
    case $first in
      *.slice) ;;
      *) break ;;
    esac
    [ "$first" != "$path" ] || return
    slices=yes
    path=${path#*/}
  done
  case $first in
    *.service)
      unit=${first%.service}
      case ${unit%%@*} in
        opentelemetry-collector | otel-collector | otelcol | otelcol-contrib | prometheus | prometheus-agent | \
          prometheus-server | victoria-metrics | victoriametrics | vmagent | vmsingle)
          echo service
          ;;
      esac
      return
      ;;
    docker-*.scope) id=${first#docker-} ;;
    libpod-*.scope) id=${first#libpod-} ;;
    crio-*.scope) id=${first#crio-} ;;
    cri-containerd-*.scope) id=${first#cri-containerd-} ;;
    docker) [ -z "$slices" ] && id=${path#docker/} id=${id%%/*} || return ;;
    kubepods) [ -z "$slices" ] && id=${path##*/} || return ;;
    *) return ;;
  esac
  id=${id%.scope}
  case $id in
    *[!0-9a-f]*) return ;;
  esac
  [ ${#id} != 64 ] || echo container
}

# The only user beside root who may write a file, or put another file into a folder in place of one that is there. Fails
# if others may. In a folder like /tmp all users may make files, and no user may replace files of others.
writer_of() {
  shown=$(ls -ldnL "$1" 2> /dev/null) || return
  who=$(printf '%s\n' "$shown" | { read -r _ _ uid _ && echo "$uid"; })
  case $shown in
    d????????[tT]*) [ "$who" = 0 ] || return 1 ;;
    ?????w* | ????????w*) return 1 ;;
  esac
  echo "$who"
}

is_root_or_us() { [ "$1" = 0 ] || [ "$1" = "$(id -u)" ]; }

# Whether only root and this user may replace a file or folder, by its canonical path.
is_protected() {
  part=$1
  case $part in
    /*) ;;
    *) return 1 ;;
  esac
  while :; do
    who=$(writer_of "$part") && is_root_or_us "$who" || return 1
    [ "$part" != / ] || return 0
    part=${part%/*}
    part=${part:-/}
  done
}

# Prints the users who may replace the program of a process, or fails if others may. The link leads to the file itself,
# also where its name is another's by now. The folders are those of the root of the process.
program_writers() {
  part=$(readlink "/proc/$1/exe" 2> /dev/null) && writer_of "/proc/$1/exe" || return
  case $part in
    /*) ;;
    *) return 1 ;;
  esac
  while [ "$part" != / ]; do
    part=${part%/*}
    part=${part:-/}
    writer_of "/proc/$1/root$part" || return
  done
}

# Whether the program of a process lies in the file system that is its root, and not in one that is mounted there.
runs_own_program() {
  device=$(stat -L -c %d "/proc/$1/exe" 2> /dev/null) && [ "$device" = "$(stat -L -c %d "/proc/$1/root" 2> /dev/null)" ]
}

# The inodes of a process' sockets; fails if they cannot be looked at.
sockets_of() {
  said=$(ls -l "/proc/$1/fd" 2> /dev/null) || return
  printf '%s\n' "$said" | sed -n 's/.*-> socket:\[\([0-9]*\)\]$/\1/p'
}

# The listening sockets of this network, see proc(5): state 0A.
listening_sockets() { grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6 2> /dev/null; }

# Whether a file or folder, which is no link, has root or this user as its owner, and no other user may write it.
is_ours() {
  [ ! -L "$1" ] && is_closed "$1" && is_root_or_us "$(ls -ldn "$1" | { read -r _ _ uid _ && echo "$uid"; })"
}

is_closed() {
  case $(ls -ldn "$1") in
    ?????w* | ????????w*) return 1 ;;
  esac
}

# Whether no other user can have written what earlier deliveries left.
keeps_traces() { is_closed . && is_protected "$root"; }

note=prom-federate/.owner
has_note() { [ -f "$note" ] && [ ! -L "$note" ]; }
noted() { dd if="$note" bs=64 count=1 2> /dev/null; }

# The token of the newest generation, whose name begins with its time.
newest_token() {
  for token in prom-federate/*/[0-9]*/token; do
    [ ! -f "$token" ] || [ -L "$token" ] || [ -L "${token%/token}" ] || printf '%s\n' "$token"
  done | sort -t / -k 3 | sed -n '$p'
}

# A hash of the machine's ID in a folder like /etc. The ID itself must not leave the machine, see machine-id(5). Nothing where
# there is no ID, or where it is mounted: it lasts until the next start then, or is that of a container's host.
machine_of() {
  [ -f "$1/machine-id" ] && [ "$(size_of "$1/machine-id")" = 33 ] || return 0
  device=$(stat -L -c %d "$1/machine-id" 2> /dev/null) && [ "$device" = "$(stat -L -c %d "$1")" ] || return 0
  id=$(cat "$1/machine-id")
  case $id in
    *[!0-9a-f]*) return 0 ;;
  esac
  [ ${#id} != 32 ] || printf 'kubectl-prom-federate %s' "$id" | sha256sum 2> /dev/null | cut -c 1-32
}

# The start time of a process, field 22 of proc(5). Another process may have got its number, and SIGHUP would end it.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }

# The lines of Go's build information in the program of a process that tell what it reads again: PID
modules_of() {
  tab=$(printf '\t')
  {
    grep -a -o -E "path${tab}[a-z0-9-]+([.][a-z0-9-]+)+/[A-Za-z0-9._/-]*" "/proc/$1/exe"
    receiver=open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver
    grep -a -A 1 -E "^dep${tab}github[.]com/(prometheus/common|VictoriaMetrics/metrics|$receiver)${tab}" "/proc/$1/exe"
  } 2> /dev/null | head -c 65536
}

# Whether there is ln, and mv can replace a link to a folder and does not move into that folder.
can_point() { command -v ln > /dev/null && mv --help 2>&1 | grep -q -e '-[a-z]*T'; }

hang_up() {
  if [ "$(started_at "$1")" != "$2" ]; then
    say gone
    return 1
  fi
  said=$(kill -HUP "$1" 2>&1) || {
    say refused
    printf %s "$said"
    return 1
  }
}

# Runs a command for at most so many SECONDS, if timeout works as in coreutils. A command that ignores SIGTERM is killed.
within() {
  if timeout -k 5 1 true 2> /dev/null < /dev/null; then
    timeout -k 5 "$@"
  elif timeout 1 true 2> /dev/null < /dev/null; then
    timeout "$@"
  else
    shift
    "$@"
  fi
}

# Runs a command, and prints the first lines of what it complains about. A daemon that the command leaves behind may keep
# standard error open for ever, so a line marks the command's own end.
complaint() {
  { "$@" 2>&1 > /dev/null 9>&-; printf '\nended-%s %s\n' "$$" "$?"; } | {
    lines=0
    while IFS= read -r line; do
      case $line in "ended-$$ "*) exit "${line#* }" ;; esac
      [ "$((lines += 1))" -gt 100 ] || printf '%s\n' "$line"
    done
  }
}

# Runs a command with the environment and the working folder of a process: PID SECONDS and the words. Prints what the command
# complains about. Variables are in no argument and no file. What the dynamic linker reads is left out, and what no shell
# can export.
run_as() {
  cd "/proc/$1/cwd" 2>&1 || return
  like=$1 seconds=$2
  shift 2
  tr '\0\n' '\n\1' < "/proc/$like/environ" | grep -a -E '^[A-Za-z_][A-Za-z0-9_]*=' |
    grep -a -v -E '^(LD_[A-Z_]*|GLIBC_TUNABLES|PATH|IFS|PWD|OLDPWD|UID|EUID|PPID|BASHOPTS|SHELLOPTS)=' | {
    while IFS= read -r variable; do
      export "${variable?}"
    done
    within "$seconds" "$@" 2>&1 > /dev/null < /dev/null 9>&-
  }
}

# Whether no other user can replace a program: the user of Prometheus must not choose what root runs.
is_trusted() {
  path=$(readlink -f "$1" 2> /dev/null) || path=$1
  [ -f "$path" ] && [ -x "$path" ] && is_protected "$path"
}

# Runs a command with the text as the configuration of GNU's wget. The text contains a token. wget reads it only from a
# file, so the file is deleted before wget reads it.
with_configuration() {
  nameless=prom-federate/.wgetrc
  are_safe "$nameless" && said=$(exec 2>&1; fresh "$nameless" && put "$text" | cat >&3) || failed "$nameless" "$said" || return
  exec 5< "$nameless"
  rm -f "$nameless"
  WGETRC=/dev/fd/5
  export WGETRC
  "$@"
  ended_with=$?
  unset WGETRC
  exec 5<&-
  return "$ended_with"
}
