# File operations, for any POSIX shell (dash, busybox ash). Paths are relative to the folder of the main configuration.
LC_ALL=C
export LC_ALL
umask 077
# A caller who has gone ends us by the end of standard input, not in the midst of an operation.
trap '' PIPE

# Who may read what is written: OWNER and GROUP by number, empty where it is whoever runs this, and nobody else.
# Spelled so that chmod clears what a folder takes over from the one that it is in.
readers() {
  owner=$1
  group=$2
  if [ -n "$group" ]; then
    file_mode=640
    folder_mode=u=rwx,g=rx,o=,u-s,g-s,-t
    folder_shown=drwxr-x---
  else
    file_mode=600
    folder_mode=u=rwx,g=,o=,u-s,g-s,-t
    folder_shown=drwx------
  fi
}

# Undone last first: one command of this file a line.
undo=
# Anything that could not be.
left=

later() {
  undo="$1
$undo"
}

finished() { undo=; }

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# UID:GID of what a path leads to.
ids_of() {
  ls -ldnL "$1" | {
    read -r _ _ uid gid _ && echo "$uid:$gid"
  }
}

# Its permissions, as chmod takes them, without what is beyond 777.
mode_of() { ls -ldnL "$1" | sed 's/^.\(...\)\(...\)\(...\).*/u=\1,g=\2,o=\3/; y/stST/xx--/; s/-//g; 1q'; }

# Its bytes.
size_of() { echo $(($(wc -c < "$1"))); }

# Owner and group, where they are others: PATH OWNER GROUP, each may be empty.
give() {
  now=$(ids_of "$1") || return
  if [ "${2:-${now%:*}}:${3:-${now#*:}}" != "$now" ]; then
    chown "$2${3:+:$3}" "$1" || return
  fi
}

# On the disk; a file or folder that is gone is fine.
settle() { ! is_there "$1" || sync "$1" 2> /dev/null || sync; }

folder_of() {
  case $1 in
    */*) echo "${1%/*}" ;;
    *) echo . ;;
  esac
}

make_folder() {
  if [ ! -d "$1" ] || [ -L "$1" ]; then
    mkdir -m 700 "$1" || return
  fi
  give "$1" "$owner" "$group" || return
  shown=$(ls -ldn "$1") || return
  shown=${shown%% *}
  if [ "${shown%[.+@]}" != "$folder_shown" ]; then
    chmod "$folder_mode" "$1" || return
  fi
}

# A new file, open as 3, that nobody else can open yet.
fresh() {
  rm -f "$1" || return
  set -C
  exec 3> "$1"
}

# Standard input: PATH BYTES
write() {
  fresh "$1" || return
  give /dev/fd/3 "$owner" "$group" && chmod "$file_mode" /dev/fd/3 && fill "$1" "$2"
}

# The same for whoever may read a third: PATH BYTES LIKE
write_like() {
  like=$(ids_of "$3") && mode=$(mode_of "$3") && fresh "$1" || return
  give /dev/fd/3 "${like%:*}" "${like#*:}" && chmod "$mode" /dev/fd/3 && fill "$1" "$2"
}

# Whoever cuts the text off has it not taken for the whole.
fill() {
  cat >&3 || return
  exec 3>&-
  if [ "$(size_of "$1")" != "$2" ]; then
    echo "only $(size_of "$1") of $2 bytes arrived" >&2
    return 1
  fi
  settle "$1"
}

copy() { bytes=$(size_of "$1") && write_like "$2" "$bytes" "$1" < "$1"; }

rename() {
  if [ -d "$2" ]; then
    echo "$2: Is a directory" >&2
    return 1
  fi
  mv -f "$1" "$2"
}

remove() { rm -f "$1"; }

remove_folder() {
  is_there "$1" || return 0
  if [ ! -d "$1" ] || [ -L "$1" ]; then
    echo "$1: Not a directory" >&2
    return 1
  fi
  rm -rf "$1"
}

remove_empty_folder() {
  is_there "$1" || return 0
  if [ -d "$1" ] && [ -n "$(ls -A "$1")" ]; then
    return 0
  fi
  rmdir "$1"
}

# What an operation changes: that is what an error names.
subject() {
  case $1 in
    rename | copy) echo "$3" ;;
    *) echo "$2" ;;
  esac
}

# One operation; it is on the disk when this returns. In a shell of its own, which an error may end.
operate() {
  said=$("$@" 2>&1 && settle "$(folder_of "$(subject "$@")")" 2>&1)
}

# The same, and what it complains about is said.
step() { operate "$@" || failed "$(subject "$@")" "$said"; }

# A failure is remembered and the next is tried.
back() {
  operate "$@" || left="$left$(subject "$@"): $said
"
}

# Everything since the last that was finished. Nothing stops it.
take_back() {
  trap '' HUP INT TERM
  left=
  eval "$undo"
  undo=
}
