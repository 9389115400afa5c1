# File operations, for any POSIX shell (dash, busybox ash). Paths are relative to the folder of the main configuration.
LC_ALL=C
export LC_ALL
umask 077
# A variable of the environment would be exported to every program, a trace would show it, and a core file would keep it.
unset text
set +a +v +x
ulimit -c 0 2> /dev/null
# Prints a text by a builtin. A program would have the text in its arguments, and a shell may write a here-document to a file.
if (PATH=/nowhere && printf %s x) > /dev/null 2>&1; then
  put() { printf %s "$1"; }
else
  echo "error: this shell has no builtin printf, so it cannot keep a token from other users; use dash, bash or busybox" >&2
  exit 1
fi
# A lost caller ends this shell by the end of standard input, not during an operation.
trap '' PIPE

# The readers of written files: OWNER and GROUP by number, empty for the user of this shell. Other users may not read them.
# Folders belong to the user of this shell: a folder of another user is that user's to change.
# The modes are spelled so that chmod clears bits that a folder inherits.
readers() {
  owner=$1
  group=$2
  if [ -n "$group" ]; then
    file_mode=640
    folder_mode=u=rwx,g=rx,o=,u-s,g-s,-t
    folder_shown=drwxr-x---
  elif [ -n "$owner" ]; then
    file_mode=600
    folder_mode=u=rwx,g=rx,o=rx,u-s,g-s,-t
    folder_shown=drwxr-xr-x
  else
    file_mode=600
    folder_mode=u=rwx,g=,o=,u-s,g-s,-t
    folder_shown=drwx------
  fi
}

# The undo, last step first: one command of this file on each line.
undo=
# The steps whose undo failed.
left=

later() {
  undo="$1
$undo"
}

finished() { undo=; }

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# The user of this shell.
own=$(id -u)
# The folders that were found safe, one on each line.
safe=

# Whether the folders on the way to a path are safe; otherwise sets said. A shell cannot open a file beneath an open folder:
# a user who may rename files there could lead it elsewhere at any moment.
are_safe() {
  case $1 in
    */*) are_safe "${1%/*}" && is_safe "${1%/*}" ;;
    *) is_safe . ;;
  esac
}

# As root, only root may write in a folder. For all users, a link is no folder.
is_safe() {
  if [ -L "$1" ]; then
    said="$1 is a symbolic link, which is not followed"
    return 1
  fi
  if [ "$own" != 0 ] || ! is_there "$1"; then
    return 0
  fi
  case $safe in
    *"
$1
"*) return 0 ;;
  esac
  facts_of "$1" || {
    said="cannot read the owner and mode of $1"
    return 1
  }
  place=${root:-.}/$1
  place=${place%/.}
  case $shown:$ids in
    *:0:*) mend= ;;
    *) mend="chown root" who="user ${ids%:*}" ;;
  esac
  case $shown:$ids in
    ????????w*) mend="chmod o-w" who="every user" ;;
    ?????w????+*) mend="setfacl -b" who="a user of its access list" ;;
    ?????w*:0) ;;
    ?????w*) mend="chmod g-w" who="group ${ids#*:}" ;;
  esac
  # Earlier releases gave the folders to the user who owns the files, whose group is root.
  if [ "$mend" = "chown root" ] && [ "$1" != . ] && [ "${ids%:*}" = "${owner:-0}" ] && said=$(chown 0 "$1" 2>&1); then
    mend=
  fi
  if [ -n "$mend" ]; then
    said="$who may write in $place and change what root writes, so run there $mend $place"
    return 1
  fi
  safe="${safe:-
}$1
"
}

# Whether a path is a regular file and no link.
is_file() {
  if [ -L "$1" ]; then
    echo "$1 is a symbolic link to $(readlink "$1"), and stays" >&2
    return 1
  fi
  if is_there "$1" && [ ! -f "$1" ]; then
    echo "$1 is not a regular file" >&2
    return 1
  fi
}

# Sets what ls shows of a path, its permissions, and ids, its UID:GID.
facts_of() {
  facts=$(ls -ldnL "$1" | { read -r shown _ uid gid _ && echo "$shown $uid:$gid"; }) || return
  shown=${facts% *} ids=${facts#* }
}

# UID:GID of the target of a path.
ids_of() {
  ls -ldnL "$1" | {
    read -r _ _ uid gid _ && echo "$uid:$gid"
  }
}

# The permissions of a path in chmod's syntax, without the bits beyond 777.
mode_of() { ls -ldnL "$1" | sed 's/^.\(...\)\(...\)\(...\).*/u=\1,g=\2,o=\3/; y/stST/xx--/; s/-//g; 1q'; }

# The size of a file in bytes.
size_of() { echo $(($(wc -c < "$1"))); }

# Deletes an access list, and changes owner and group if they differ: PATH OWNER GROUP, each may be empty. After facts_of.
give() {
  case $shown in
    *+)
      if ! command -v setfacl > /dev/null; then
        echo "its access list gives it to other users, so run setfacl -k on the folder above, or install setfacl there" >&2
        return 1
      fi
      setfacl -b "$1" || return
      shown=
      ;;
  esac
  if [ "${2:-${ids%:*}}:${3:-${ids#*:}}" != "$ids" ]; then
    chown "$2${3:+:$3}" "$1" || return
  fi
}

# Writes a file or folder to the disk, if it exists.
settle() { ! is_there "$1" || sync "$1" 2> /dev/null || sync; }

folder_of() {
  case $1 in
    */*) echo "${1%/*}" ;;
    *) echo . ;;
  esac
}

make_folder() {
  if [ -L "$1" ]; then
    echo "$1 is a symbolic link, which is not followed" >&2
    return 1
  fi
  [ -d "$1" ] || mkdir -m 700 "$1" || return
  facts_of "$1" && give "$1" '' "$group" || return
  if [ "${shown%[.@]}" != "$folder_shown" ]; then
    chmod "$folder_mode" "$1" || return
  fi
}

# Opens a new file as descriptor 3. Other users cannot open it yet: a default access list would count instead of umask.
fresh() {
  rm -f "$1" || return
  set -C
  exec 3> "$1"
  facts_of /dev/fd/3 || return
  case $shown in
    -rw-------*) ;;
    *)
      rm -f "$1"
      echo "the default access list of its folder gives it to other users, so run setfacl -k on that folder" >&2
      return 1
      ;;
  esac
}

# Writes the text to a file: PATH BYTES
write() {
  fresh "$1" || return
  give /dev/fd/3 "$owner" "$group" && chmod "$file_mode" /dev/fd/3 && put "$text" | cat >&3 && is_whole "$1" "$2"
}

# Opens a new file with the owner and the mode of another file: PATH LIKE
fresh_like() {
  is_file "$2" && like=$(ids_of "$2") && mode=$(mode_of "$2") || return
  case $(ls -ldn "$2") in
    # With an access list, these bits are not those of the group.
    ??????????+*) mode=${mode%%,*},g=,${mode##*,} ;;
  esac
  fresh "$1" || return
  give /dev/fd/3 "${like%:*}" "${like#*:}" && chmod "$mode" /dev/fd/3
}

# Writes the text to a file with the owner and the mode of another file: PATH BYTES LIKE
write_like() { fresh_like "$1" "$3" && put "$text" | cat >&3 && is_whole "$1" "$2"; }

# Rejects a file with less than its text, and writes it to the disk: PATH BYTES
is_whole() {
  exec 3>&-
  if [ "$(size_of "$1")" != "$2" ]; then
    echo "only $(size_of "$1") of $2 bytes arrived" >&2
    return 1
  fi
  settle "$1"
}

copy() { fresh_like "$2" "$1" && cat < "$1" >&3 && is_whole "$2" "$(size_of "$1")"; }

# Gives a file a second name, which keeps the very file. A copy where the file system has no second names.
keep() {
  is_there "$1" && is_file "$1" && rm -f "$2" || return
  ln "$1" "$2" 2> /dev/null || copy "$1" "$2"
}

# Writes the content of one file into another, which stays the file that it is: PATH FROM. The old text is longer than the new
# one only in an undo.
overwrite() {
  is_there "$1" && is_file "$1" && is_file "$2" && size=$(size_of "$2") || return
  cat < "$2" 1<> "$1" || return
  if [ "$(size_of "$1")" -gt "$size" ]; then
    dd if=/dev/null of="$1" bs=1 seek="$size" count=0 2> /dev/null || return
  fi
  settle "$1"
}

rename() {
  if [ -d "$2" ]; then
    echo "$2: Is a directory" >&2
    return 1
  fi
  mv -f "$1" "$2"
}

# Points a symbolic link elsewhere, in one step: LINK TO
point() {
  if is_there "$1" && [ ! -L "$1" ]; then
    echo "$1 is not a symbolic link" >&2
    return 1
  fi
  rm -f "$1.new" && ln -s "$2" "$1.new" && mv -f -T "$1.new" "$1"
}

remove() { rm -f "$1"; }

# Deletes a file whose content another file has as well.
remove_copy() { ! is_there "$1" || ! cmp -s "$1" "$2" || rm -f "$1"; }

remove_folder() {
  is_there "$1" || return 0
  if [ ! -d "$1" ] || [ -L "$1" ]; then
    echo "$1: Not a directory" >&2
    return 1
  fi
  # The record of a generation goes last: it names the cluster, so that a run that is killed can be repeated.
  for file in "$1"/*; do
    [ "${file##*/}" = cluster.json ] || rm -rf "$file"
  done
  rm -rf "$1"
}

remove_empty_folder() {
  is_there "$1" || return 0
  if [ -d "$1" ] && [ -n "$(ls -A "$1")" ]; then
    return 0
  fi
  rmdir "$1"
}

# The path that an operation changes, for errors.
subject() {
  case $1 in
    rename | copy | keep) echo "$3" ;;
    *) echo "$2" ;;
  esac
}

# Runs one operation, which is on the disk when this returns. In a shell of its own, which an error may end.
operate() {
  said=$("$@" 2>&1 && settle "$(folder_of "$(subject "$@")")" 2>&1)
}

# Runs one operation and reports its error.
step() { are_safe "$(subject "$@")" && operate "$@" || failed "$(subject "$@")" "$said"; }

# Runs one operation of the undo; a failure is recorded, and the undo goes on.
back() {
  operate "$@" || left="$left$(subject "$@"): $said
"
}

# Undoes all steps since the last call of finished. Signals do not stop it.
take_back() {
  trap '' HUP INT TERM
  left=
  eval "$undo"
  undo=
}
