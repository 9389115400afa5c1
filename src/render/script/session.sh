# Requests to a host over ssh, after the file operations. Before these stands mark=, a random word: an answer is a line
# that begins with this word, and the text up to the next such line.
say() { printf '\n%s %s\n' "$mark" "$*"; }

at=0
failed() {
  say failed "$at" "$1"
  printf %s "$2"
  return 1
}

# Reloads the old jobs after they were restored.
again() { :; }

# Runs at the end, also if the connection is lost: then standard input ends.
ended() {
  unfinished=$undo
  take_back
  [ -z "$unfinished" ] || again > /dev/null 2>&1 < /dev/null
  unlock
  # Last, because printing ends the shell if the connection is lost.
  say undone
  printf %s "$left"
}
trap ended EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Prints a file, or why it cannot be read. Links are not followed, except for the main configuration.
content() {
  if [ -L "$1" ] && [ "$1" != "$main" ]; then
    say link "$1"
  elif [ -e "$1" ] && [ ! -f "$1" ]; then
    say unreadable "$1"
    echo "it is a folder, a pipe or a device, not a file"
  elif [ -e "$1" ] && said=$(has_no_link "$1"); then
    say file "$1"
    bounded "$1" || {
      say unreadable "$1"
      cat "$1" 2>&1 > /dev/null
    }
  elif [ -e "$1" ]; then
    say unreadable "$1"
    echo "$said"
  fi
}

# Prints a file, at most 64 kB more than the caller reads of any file: of one that is larger, enough to see this.
bounded() { { dd bs=65536 count=65 < "$1"; } 2> /dev/null; }

# Whether no folder on the way to a path is a link.
has_no_link() {
  case $1 in
    */*) has_no_link "${1%/*}" && { [ ! -L "${1%/*}" ] || { echo "${1%/*} is a symbolic link" && false; }; } ;;
  esac
}

# Whether this user can read and write there: PATH of the main configuration or of its folder.
is_permitted() {
  [ "$(id -u)" != 0 ] || return 0
  place=$1
  [ -d "$place" ] || place=$(folder_of "$place")
  [ ! -e "$place/prom-federate" ] || place=$place/prom-federate
  [ -d "$place" ] && [ -r "$place" ] && [ -w "$place" ] && [ -x "$place" ]
}

rights() {
  if is_permitted "$1"; then
    say permitted
  elif command -v sudo > /dev/null && sudo -n true 2> /dev/null < /dev/null; then
    say sudo
  else
    say restricted
  fi
}

# Changes to the folder of the main configuration, and prints facts about it and about this host.
locate() {
  said=$(ls -ldL "$1" 2>&1) || {
    say missing
    printf %s "$said"
    return 1
  }
  # A link to a file stays a link: Prometheus reads the files beside it, not beside its target.
  if [ -d "$1" ]; then
    main=prometheus.yml
    path=$1
    [ -e "$path/$main" ] || [ ! -e "$path/config.yaml" ] || main=config.yaml
  else
    main=${1##*/}
    path=${1%/*}
    path=${path:-/}
  fi
  said=$(cd "$path" 2>&1) || {
    say missing
    printf %s "$said"
    return 1
  }
  cd "$path" || return
  root=$(pwd -P)
  say root
  printf %s "$root"
  say main
  printf %s "$main"
  say host
  uname -n
  say machine
  machine_of /etc
  say ids "$(id -u) $(id -g) $(id -G)"
  for tool in curl wget promtool; do
    ! command -v "$tool" > /dev/null || say tool "$tool"
  done
  ! can_point || say tool mv-T
  case $(wget --version 2> /dev/null) in
    *GNU*) say tool gnu-wget ;;
  esac
  main_configuration
}

# Prints the main configuration, what an edit that was killed has left of it, and what hangs on the file.
main_configuration() {
  if [ -e "$main" ] && [ ! -f "$main" ]; then
    say unreadable config
    echo "it is a folder, a pipe or a device, not a file"
    return
  fi
  say config
  bounded "$main" || {
    say unreadable config
    cat "$main" 2>&1 > /dev/null
    return
  }
  for path in prom-federate.new before-prom-federate; do
    [ -f "$main.$path" ] && [ ! -L "$main.$path" ] || continue
    say "$path"
    bounded "$main.$path"
  done
  if [ -L "$main" ]; then
    say link
    readlink "$main"
    return
  fi
  ! is_mounted_alone "$main" || say mounted
  ! has_other_names "$main" || say other-names
  ! has_attributes "$main" || say attributes
  ! is_of_others "$main" || say of-others
  ! is_writable . || is_writable "$main" || say unwritable
}

# Prints the files of a cluster, or of all clusters: *
tree() {
  if [ -L prom-federate ]; then
    say link prom-federate
    return 0
  fi
  [ -e prom-federate ] || return 0
  said=$(ls prom-federate/. 2>&1 > /dev/null) || {
    say unreadable prom-federate
    printf %s "$said"
    return 0
  }
  say folder prom-federate
  for path in prom-federate/$1.scrape.yml prom-federate/$1.rules.yml prom-federate/$1; do
    case $path in
      *[!A-Za-z0-9._/-]*) ;;
      *.scrape.yml) content "$path" ;;
      *.rules.yml) [ ! -e "$path" ] || say there "$path" ;;
      *)
        [ -d "$path" ] && [ ! -L "$path" ] || continue
        said=$(ls "$path/." 2>&1 > /dev/null) || {
          say unreadable "$path"
          printf %s "$said"
          continue
        }
        say folder "$path"
        if [ -L "$path/current" ]; then
          say link "$path/current"
          readlink "$path/current"
        elif [ -e "$path/current" ]; then
          say there "$path/current"
        fi
        for generation in "$path"/*; do
          [ -d "$generation" ] && [ ! -L "$generation" ] || continue
          say folder "$generation"
          content "$generation/cluster.json"
        done
        ;;
    esac
  done
}

# Prints what earlier deliveries left, for whom they were.
traces() {
  keeps_traces || return 0
  say traces
  [ -d prom-federate ] && [ ! -L prom-federate ] || return 0
  say our-folder
  ls -ldn prom-federate
  if has_note; then
    say note-file
    ls -ldn "$note"
    say note
    noted
  fi
  token=$(newest_token)
  if [ -n "$token" ]; then
    say token-file
    ls -ldn "$token"
  fi
}

listening() {
  [ -r /proc/net/tcp ] || return 0
  say listening
  listening_sockets
}

# Prints all processes that may read the jobs; the caller chooses.
consumers() {
  candidates | while read -r pid; do
    say process "$pid"
    command_line "$pid"
    say exe
    readlink "/proc/$pid/exe" 2> /dev/null
    if grep -q -a envflag.enable "/proc/$pid/cmdline" 2> /dev/null; then
      say variables
      variables "$pid"
    fi
    say status
    cat "/proc/$pid/status" 2> /dev/null
    say stat
    cat "/proc/$pid/stat" 2> /dev/null
    [ "$(readlink "/proc/$pid/ns/net" 2> /dev/null)" != "$(readlink /proc/self/ns/net)" ] || say same-network
  done
}

# Whether a path of a process leads to our main configuration, whether the process has it at the same path, and where the
# process comes from.
holds() {
  means "$1" "$2" || return 0
  say holds "$1"
  [ ! "/proc/$1/root$root/$main" -ef "$main" ] || say shares "$1"
  ! has_folder "$1" "$2" || say has-folder "$1"
  ! is_mounted_alone "$(reached "$1" "$2")" || say mounts-file "$1"
  say cgroup "$1"
  cat "/proc/$1/cgroup" 2> /dev/null
  if said=$(program_writers "$1"); then
    say writers "$1"
    printf '%s\n' "$said"
  fi
  ! runs_own_program "$1" || say own-program "$1"
  if said=$(sockets_of "$1"); then
    say sockets "$1"
    printf '%s\n' "$said"
  fi
  say again "$1"
  cat "/proc/$1/stat" 2> /dev/null
}

# Prints which modules are linked into the program of a process: PID STARTED
build_information() {
  said=$(modules_of "$1")
  [ "$(started_at "$1")" = "$2" ] || return 0
  say build-information
  printf '%s\n' "$said"
}

# MOST and words: the text is curl's configuration, with the address and possibly a token. With words, prints only lines that
# contain one of them. No more than MOST bytes of the answer are read.
fetch() {
  say body
  exec 4>&1
  if [ -z "${2-}" ]; then
    said=$({ put "$text" | curl -s -S -K - 2>&3 | head -c "$1" >&4; } 3>&1)
  else
    said=$({ put "$text" | curl -s -S -K - 2>&3 | head -c "$1" | grep -E "$2" >&4; } 3>&1)
  fi
  say fetched 0
  exec 4>&-
  printf %s "$said"
}

# Fetches with wget: MOST, SECONDS and its arguments. busybox' own limit is not used, because Debian's 1.35 crashes with it.
fetch_by_wget() {
  say body
  exec 4>&1
  most=$1 seconds=$2
  shift 2
  newline='
'
  said=$({ { within "$seconds" wget -O - "$@" 2>&3; echo "$?" >&3; } | head -c "$most" >&4; } 3>&1)
  say fetched "${said##*"$newline"}"
  exec 4>&-
  printf %s "${said%"$newline"*}"
}

# Validates a file with a program.
check() {
  seconds=$1
  shift
  said=$(complaint within "$seconds" "$@" < /dev/null)
  say checked $?
  printf %s "$said"
}

# The same with the environment and the working folder of a process: PID SECONDS and the words.
check_as() {
  [ -r "/proc/$1/environ" ] || return 0
  said=$(run_as "$@")
  say checked $?
  printf %s "$said"
}

# Runs the text in a shell, so that it is not in the arguments of any process.
command_of_reload() {
  put "$text" | complaint within "$1" sh -c 'command=$(cat); exec < /dev/null; eval "$command"'
}

# Prints every parent folder of the main configuration.
way() {
  part=$root
  while :; do
    say way "$part"
    ls -ldnL "$part"
    [ "$part" != / ] || break
    part=${part%/*}
    part=${part:-/}
  done
}
