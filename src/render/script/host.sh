# Functions for a host other than file operations. The caller defines say and failed.

lock_folder=

# One run at a time, including runs on this host. flock(2) if its program exists: the system releases this lock when the
# shell ends. Otherwise a folder with the number of the process that made it: if that process has ended, the lock is stale.
lock() {
  lock_file=prom-federate/.lock
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
  made_by=$(cat "$lock_file.d/pid" 2> /dev/null)
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
  names='prometheus|vmagent|victoria-metrics|vmsingle'
  {
    grep -l -i -a -E "$names" /proc/[0-9]*/cmdline
    ls -l /proc/[0-9]*/exe | grep -i -E "> .*($names)"
  } 2> /dev/null | sed 's|.*/proc/\([0-9][0-9]*\)/[ce].*|\1|' | sort -n -u
}

# Whether a path of a process leads to our main configuration: PID PATH
means() {
  case $2 in
    /*) [ "/proc/$1/root$2" -ef "$main" ] ;;
    *) [ "/proc/$1/cwd/$2" -ef "$main" ] ;;
  esac
}

# The start time of a process, field 22 of proc(5). Another process may have got its number, and SIGHUP would end it.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }

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

# Runs a command for at most so many SECONDS, if timeout works as in coreutils.
within() {
  if timeout 1 true 2> /dev/null < /dev/null; then
    timeout "$@"
  else
    shift
    "$@"
  fi
}

# Runs a command with a configuration of GNU's wget on standard input. The configuration contains a token. wget reads it
# only from a file, so the file is deleted before wget reads it.
with_configuration() {
  nameless=prom-federate/.wgetrc
  said=$(rm -f "$nameless" && (set -C && cat > "$nameless") 2>&1) || failed "$nameless" "$said" || return
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
