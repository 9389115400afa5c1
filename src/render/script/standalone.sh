# A standalone delivery on the host of Prometheus. Before it stand the names and texts of one cluster; after it stands only
# the call, so that a truncated script does nothing.
tell() { printf '%s\n' "$*" >&2; }
say() { :; }

# Prints an error and its hints, and exits.
stop() {
  tell "error: $1"
  shift
  for hint; do
    tell "hint: $hint"
  done
  exit 1
}

failed() {
  tell "error: cannot write $root/$1: ${2##*: }"
  return 1
}

# The values of a flag, --NAME=VALUE or --NAME VALUE, in a command line with one word on each line.
flags() { printf '%s\n' "$words" | sed -n -e "s/^--*$1=//p" -e "/^--*$1\$/{
n
p
}"; }

# The last one.
flag() { flags "$1" | tail -n 1; }

# The one of a collector's configurations that is ours: PID
config_of_collector() {
  flags config | sed 's/^file://' | while IFS= read -r file; do
    ! means "$1" "$file" || {
      printf '%s\n' "$file"
      break
    }
  done
}

# For whom earlier deliveries were: USER:GROUP by number, or :GROUP, or nothing.
remembered() {
  keeps_traces && [ -d prom-federate ] && is_ours prom-federate || return 0
  if has_note && is_ours "$note"; then
    noted | grep -E '^[0-9]+:[0-9]+$'
  else
    token=$(newest_token)
    [ -n "$token" ] && is_ours "$token" && case $(ls -ldn "$token") in ????r*) ;; *) false ;; esac || return 0
    token=$(ids_of "$token")
    [ "${token#*:}" = 0 ] || echo ":${token#*:}"
  fi
}

# Reads the command line of a process that reads this main configuration, by what it says: sets words and program.
claims() {
  words=$(command_line "$1" | tr '\0' '\n')
  program=$(readlink "/proc/$1/exe" 2> /dev/null) || return
  program=${program% (deleted)}
  case ${program##*/} in
    *vmagent* | *victoria-metrics* | *vmsingle*) theirs=$(flag promscrape.config) ;;
    *otelco* | *otel-col* | *opentelemetry-col*) theirs=$(config_of_collector "$1") ;;
    prometheus) theirs=$(flag config.file) theirs=${theirs:-prometheus.yml} ;;
    *prometheus*) theirs=$(flag config.file) ;;
    *) return 1 ;;
  esac
  [ -n "$theirs" ] && means "$1" "$theirs"
}

# Reads as whom a process runs, see proc(5): sets its_user, its_group, its_groups and shown. Fails if it has the rights of
# another user than its own, as by a program with the set-user-ID bit.
look_into() {
  status=$(cat "/proc/$1/status" 2> /dev/null) || return
  uids=$(printf '%s\n' "$status" | sed -n 's/^Uid:[[:space:]]*//p' | tr -s '[:space:]' '\n' | sort -u)
  its_group=$(printf '%s\n' "$status" | sed -n 's/^Gid:[[:space:]]*[0-9]*[[:space:]]*\([0-9]*\).*/\1/p')
  its_groups=$(printf '%s\n' "$status" | sed -n 's/^Groups://p' | tr '\t' ' ')
  its_user=$uids
  shown="process $1 of user $(echo $uids) ($program)"
  case $uids in
    '' | *[!0-9]*) return 1 ;;
  esac
}

# Whether only root, this user and another user may replace the program of a process: PID USER
has_own_program() {
  writers=$(program_writers "$1") || return
  for who in $writers; do
    [ "$who" = "$2" ] || is_root_or_us "$who" || return
  done
}

# Whether the kernel shows that an administrator started a process as the Prometheus of this host: PID USER
is_proven() {
  is_root_or_us "$2" && return
  case $(starter < "/proc/$1/cgroup") in
    service) has_own_program "$1" "$2" ;;
    container) runs_own_program "$1" && has_own_program "$1" 0 ;;
    *) false ;;
  esac
}

# Whether a process is of the reader that is known, by its group if no more is known: user and group.
is_known() { [ "${user:-$its_user}" = "$its_user" ] && { [ -n "$user" ] || [ "$group_of_reader" = "$its_group" ]; }; }

# Finds the process that reads this main configuration and is believed: of the reader that is known, otherwise one that the
# kernel proves. Sets pid, began, words, program, and found: USER GROUP and its other groups. Also the processes that claim
# the same: those of other users that are proven, and those that are not.
find_consumer() {
  pid= began= found= beside= others= unproven=
  for one in $(candidates); do
    since=$(started_at "$one")
    claims "$one" || continue
    look_into "$one" && is_user= || is_user=no
    if [ -z "$is_user" ] && is_proven "$one" "$its_user"; then
      proof=yes
    else
      proof=
    fi
    # Otherwise some of this is about another process, which has got the number.
    [ "$(started_at "$one")" = "$since" ] || continue
    if [ -n "$user$group_of_reader" ] && [ -z "$is_user" ] && is_known ||
      { [ -z "$user$group_of_reader" ] && [ -n "$proof" ]; }; then
      if [ -n "$pid" ] && [ -z "$user$group_of_reader" ] && [ "$found_as" != "$its_user $its_group" ]; then
        stop "several users read $root/$main: $found_shown and $shown; nothing was written" "$name_it"
      fi
      [ -n "$pid" ] || pid=$one began=$since found="$its_user $its_group $its_groups" found_as="$its_user $its_group" found_shown=$shown
    elif [ -z "$proof" ]; then
      unproven="$unproven${unproven:+ and }$shown"
    elif is_root_or_us "$its_user"; then
      beside=$one beside_since=$since
    else
      others="$others${others:+ and }$shown"
    fi
  done
  [ -n "$pid" ] || [ -z "$beside" ] || pid=$beside began=$beside_since
  words= program=
  [ -z "$pid" ] || claims "$pid"
}

# Chooses the readers so that only Prometheus can read the files: USER GROUP and its other groups.
choose_readers() {
  us=$(id -u)
  if [ "$us" = "$1" ]; then
    readers '' ''
  elif [ "$us" = 0 ] && [ "$2" = 0 ]; then
    readers "$1" ''
  elif [ "$us" = 0 ]; then
    readers '' "$2"
  else
    who=$1
    shift
    for shared; do
      case " $(id -G) " in
        *" $shared "*)
          if [ "$shared" != 0 ]; then
            readers '' "$shared"
            return
          fi
          ;;
      esac
    done
    stop "Prometheus runs as user $who and cannot read files of user $us; nothing was written" \
      "Run this as that user or as root"
  fi
}

# Sets user and group_of_reader, by number: those that were named, or those of earlier deliveries.
know_the_reader() {
  name_it="Name the user of Prometheus after the folder: sh SCRIPT $root USER"
  if [ -n "$named" ]; then
    user=$(id -u "${named%%:*}" 2> /dev/null) || user=${named%%:*}
    case $named in
      *:*) group_of_reader=${named#*:} group_of_reader=$(getent group "$group_of_reader" 2> /dev/null | cut -d : -f 3) group_of_reader=${group_of_reader:-${named#*:}} ;;
      *) group_of_reader=$(id -g "$named" 2> /dev/null) || group_of_reader=$user ;;
    esac
    case $user$group_of_reader in
      *[!0-9]*) stop "this host has no user or group $named" "Name the user of Prometheus, and optionally its group: USER:GROUP" ;;
    esac
  else
    known=$(remembered)
    user=${known%%:*}
    group_of_reader=${known#*:}
  fi
}

who_reads() {
  if [ -n "$unproven" ] && [ -n "$user$group_of_reader$pid" ]; then
    tell "Warning: $unproven claims to read $root/$main and is ignored: nothing shows that an administrator started it"
  fi
  if [ -n "$named" ]; then
    choose_readers "$user" "$group_of_reader"
  elif [ -n "$group_of_reader" ] && [ -z "$user" ] && [ -n "$others" ]; then
    # A group alone was remembered by a release that believed any process.
    stop "the files are for group $group_of_reader, but $others reads $root/$main; nothing was written" "$name_it"
  elif [ -n "$user$group_of_reader" ] && [ -n "$found" ]; then
    case " ${found#* } " in
      *" $group_of_reader "*) ;;
      *) stop "the files are for group $group_of_reader, but $found_shown reads $root/$main with other groups; nothing was written" "$name_it" ;;
    esac
    user=${found%% *}
    choose_readers "$user" "$group_of_reader"
  elif [ -n "$user$group_of_reader" ]; then
    if [ -n "$others" ]; then
      stop "the files are for user $user, but $others reads $root/$main; nothing was written" "$name_it"
    fi
    choose_readers "${user:-unknown}" "$group_of_reader"
  elif [ -n "$found" ]; then
    user=${found%% *}
    group_of_reader=${found#* }
    group_of_reader=${group_of_reader%% *}
    # shellcheck disable=SC2086 # several numbers are several words
    choose_readers $found
  elif [ -n "$unproven" ]; then
    stop "$unproven claims to read $root/$main, and nothing shows that an administrator started it; nothing was written" "$name_it"
  elif [ "$(id -u)" = 0 ]; then
    stop "cannot tell which user must be able to read the token: no running Prometheus uses $root/$main; nothing was written" \
      "$name_it" "Or start Prometheus first"
  else
    readers '' ''
  fi
}

# Remembers for whom the files are. A note that its subject may change is not believed.
note_the_reader() {
  [ -n "$user" ] && keeps_traces || return 0
  [ "$(remembered)" != "$user:$group_of_reader" ] || return 0
  # shellcheck disable=SC2016 # evaluated by the undo
  has_note || later 'back remove "$note"'
  given=$owner
  readers '' "$group"
  text="$user:$group_of_reader
"
  step write "$note" ${#text} || return
  readers "$given" "$group"
}

# Whether the main configuration has a pattern, outside of comments.
includes() { sed 's/#.*//' "$main" | grep -q -F "prom-federate/*.$1.yml"; }

has_key() { grep -q -E "^[\"']?$1[\"']?[[:space:]]*:" "$main"; }

# Finds the patterns that are missing from the main configuration. They are added to its end with --edit, if that is safe.
missing=
find_missing() {
  if [ -n "$is_collector" ]; then
    includes scrape || stop "$root/$main has no receiver of the plugin's files" \
      "Add it: receivers: {prometheus/federate: {config: {scrape_config_files: [$root/prom-federate/*.scrape.yml]}}}" \
      "and prometheus/federate in the receivers of a pipeline of metrics; or name the file that has it"
    return 0
  fi
  includes scrape || missing="scrape_config_files:
- prom-federate/*.scrape.yml
"
  [ -n "$is_agent" ] || includes rules || missing="${missing}rule_files:
- prom-federate/*.rules.yml
"
  [ -n "$missing" ] || return 0
  keys=$(printf %s "$missing" | sed -n 's/:$//p')
  for key in $keys; do
    if has_key "$key"; then
      stop "$root/$main has $key without the plugin's files" "Add there: $(printf %s "$missing" | tr '\n' ' ')"
    fi
  done
  by_hand="Add this to its end: $(printf %s "$missing" | tr '\n' ' ')"
  if [ -n "$may_edit" ] && [ -L "$main" ]; then
    stop "$root/$main is a symbolic link to $(readlink "$main"), which another tool may write; both stay" "$by_hand"
  fi
  if [ -z "$may_edit" ] || ! has_key '[a-z_]+'; then
    stop "$root/$main does not include prom-federate/*.scrape.yml" \
      "Add this to its end, or run this with --edit: $(printf %s "$missing" | tr '\n' ' ')"
  fi
  kept=$(kept_because)
  # Of a folder that cannot be written, the first file in it says so.
  if is_writable "$main" || ! is_writable .; then
    return 0
  elif [ -n "$kept" ]; then
    stop "$root/$main: $kept, so no other file may take its place, and it cannot be written" "$by_hand"
  elif [ "$own" = 0 ]; then
    stop "$root/$main: it cannot be changed" "$by_hand"
  fi
}

# Why the main configuration must stay the file that it is; nothing if another file may take its place.
kept=
kept_because() {
  if is_mounted_alone "$main"; then
    echo "it is mounted by itself"
  elif [ -n "$pid" ] && is_mounted_alone "$(reached "$pid" "$theirs")"; then
    echo "process $pid has it mounted by itself"
  elif has_other_names "$main"; then
    echo "it has other hard links"
  elif has_attributes "$main"; then
    echo "it may have an access list or extended attributes"
  elif is_of_others "$main"; then
    echo "it belongs to another user or group"
  fi
}

# Stops if an earlier run was killed while it wrote the main configuration.
refuse_torn_main() {
  before=$main.before-prom-federate new=$main.prom-federate.new
  [ -f "$before" ] && [ -f "$new" ] && ! cmp -s "$main" "$before" && ! cmp -s "$main" "$new" || return 0
  stop "an earlier run was killed before it was done with $root/$main, which is neither $before nor $new" \
    "See which one is right, copy it with cat into $main, and delete $new"
}

# The patterns of a list in the main configuration, one on each line.
patterns_of() {
  sed -e 's/^#.*//' -e 's/[[:space:]]#.*//' "$main" | awk -v key="$1" '
    /^[^[:space:]-]/ {
      inside = $0 ~ "^[\"\047]?" key "[\"\047]?[[:space:]]*:"
      is_flow = sub(/^[^:]*:[[:space:]]*\[/, "") || (sub(/^[^:]*:/, "") && 0)
    }
    inside && is_flow { sub(/\][[:space:]]*$/, ""); gsub(/,/, "\n") }
    inside { print }' |
    sed -e 's/^[[:space:]]*\(-[[:space:]]\)*[[:space:]]*//' -e 's/[[:space:]]*$//' -e "s/^[\"']//" -e "s/[\"']\$//" -e '/^$/d'
}

slashes() { printf %s "$1" | tr -dc /; }

# Refuses a pattern of the main configuration that matches another file of the plugin: LIST KEY and the file that is meant.
# Prometheus would reject the configuration.
refuse_wide_patterns() {
  patterns_of "$2" | while read -r pattern; do
    path=${pattern#./}
    path=${path#"$root/"}
    for file in prom-federate prom-federate/.id prom-federate/.lock prom-federate/.owner "prom-federate/$cluster" \
      "prom-federate/$cluster.scrape.yml" "prom-federate/$cluster.scrape.yml.new" "prom-federate/$cluster.rules.yml" \
      "prom-federate/$cluster.rules.yml.new" "$main.prom-federate.new" "$main.before-prom-federate"; do
      [ "$file" != "prom-federate/$cluster.$1.yml" ] && [ "$(slashes "$file")" = "$(slashes "$path")" ] || continue
      case $is_agent$file in
        yes*.rules.yml*) continue ;;
      esac
      # shellcheck disable=SC2254 # it is a pattern
      case $file in
        $path) stop "$root/$main: $pattern in $2 matches $file too, so the configuration would be invalid; nothing was written" \
          "Write prom-federate/*.$1.yml and patterns of your own folders there instead" ;;
      esac
    done
  done
}

stage_main() {
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2016 # evaluated by the undo
  later 'back remove_copy "$main.before-prom-federate" "$main"'
  if [ -n "$kept" ]; then
    step copy "$main" "$main.before-prom-federate" || return
  else
    step keep "$main" "$main.before-prom-federate" || return
  fi
  # shellcheck disable=SC2016
  later 'back remove "$main.prom-federate.new"'
  added="
$missing"
  # The dot keeps the ends of lines at the end of the file.
  text=$(cat "$main" && echo .) && text=${text%.}$added || return
  step write_like "$main.prom-federate.new" $(($(size_of "$main") + ${#added})) "$main"
}

commit_main() {
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2016
  if [ -n "$kept" ]; then
    later 'back overwrite "$main" "$main.before-prom-federate"'
    step overwrite "$main" "$main.prom-federate.new" && step remove "$main.prom-federate.new"
  else
    later 'back rename "$main.before-prom-federate" "$main"'
    step rename "$main.prom-federate.new" "$main"
  fi
}

# Sets the address of Prometheus' API on this host; empty if it is unknown.
find_api() {
  [ -z "$api" ] || return 0
  [ -n "$pid" ] && [ -z "$(flag web.config.file)" ] || return 0
  listens=$(flag web.listen-address)
  listens=${listens:-:9090}
  case $listens in
    :* | 0.0.0.0:*) listens=127.0.0.1:${listens##*:} ;;
    '[::]':*) listens="[::1]:${listens##*:}" ;;
  esac
  prefix=$(flag web.route-prefix)
  [ -n "$prefix" ] || prefix=$(flag web.external-url | sed 's|^[a-z]*://[^/]*||')
  prefix=$(printf %s "$prefix" | sed 's|^/*||; s|/*$||')
  if is_heard "${listens##*:}"; then
    api=http://$listens${prefix:+/$prefix}
  else
    tell "Warning: a socket at $listens is not Prometheus' own, so nothing is asked there; PROMETHEUS_URL names the right address"
  fi
}

# Whether all sockets that listen on this port are of our Prometheus.
is_heard() {
  its_sockets=$(sockets_of "$pid") || its_sockets=
  heard=$(listening_sockets | while read -r _ local _ _ _ _ _ uid _ inode _; do
    [ "$((0x${local##*:}))" = "$1" ] || continue
    case "
$its_sockets
" in
      *"
$inode
"*) echo ours ;;
      *) echo "of user $uid" ;;
    esac
  done | sort -u)
  [ "$heard" = ours ]
}

get() {
  if command -v curl > /dev/null; then
    curl -s -S -m 10 --noproxy '*' "$1" < /dev/null
  else
    within 10 wget -q -O - "$1" < /dev/null
  fi
}

can_ask() { command -v curl > /dev/null || command -v wget > /dev/null; }

# Sends a request to the API server from this host, with this token and this CA.
prove() {
  if command -v curl > /dev/null; then
    curl_configuration
    answered=$(put "$text" | curl -s -S -K - 2>&1)
  elif wget --version 2> /dev/null < /dev/null | grep -q GNU && [ -z "$tls_name" ]; then
    wget_configuration
    answered=$(with_configuration within 20 wget -nv -O /dev/null --tries=1 --max-redirect=0 "$server" 2>&1) &&
      answered=200
  else
    tell "Warning: this host has neither curl nor GNU's wget: cannot verify that it reaches $server"
    return 0
  fi
  case $answered in
    *401 | *'Authentication Failed'*)
      stop "$server answers 401 to this host: it refuses the token; nothing was put in place" \
        "Does this address lead to the same cluster from this host? Is this script new?"
      ;;
    2?? | 403 | *'ERROR 403'*) tell "this host reaches $server with this token and this CA" ;;
    *)
      stop "this host does not reach $server: $answered" \
        "Join with an address that works from this host: --api-server URL, --api-server-proxy URL"
      ;;
  esac
}

look_at() {
  command -v promtool > /dev/null || return 0
  for file; do :; done
  code=0
  said=$(promtool check "$@" 2>&1 > /dev/null < /dev/null) || code=$?
  case $code in
    0) ;;
    12[6-9] | 1[3-9]?) stop "promtool came to no verdict on $root/$file: it ended with exit status $code" "Nothing was put in place; run this again" ;;
    *) stop "promtool rejects $root/$file: $(printf '%s\n' "$said" | sed -n '$p')" "Nothing was put in place; fix the problem that promtool names" ;;
  esac
}

# Has the collector's own program validate the configuration, with its flags and its environment, and with one more
# configuration: sets said. Returns 2 if that program may not be run.
validate() {
  [ -n "$pid" ] && [ -r "/proc/$pid/environ" ] && [ "/proc/$pid/root$root/$main" -ef "$main" ] && is_trusted "$program" || return 2
  said=$(
    like=$pid more=${1-}
    set -- validate
    set -f
    IFS='
'
    for name in config set feature-gates; do
      for value in $(flags "$name"); do
        set -- "$@" "--$name=$value"
      done
    done
    set +f
    unset IFS
    [ -z "$more" ] || set -- "$@" "--config=$more"
    run_as "$like" 30 "$program" "$@"
  ) || {
    said=$(printf '%s\n' "$said" | sed -n 's/^Error: //p')
    return 1
  }
}

look_by_collector() {
  validate "yaml:receivers::prometheus/checked::config::scrape_config_files: [\"$root/prom-federate/$cluster.scrape.yml.new\"]"
  [ $? != 1 ] || stop "otelcol validate rejects $root/$main with the new jobs: $said" "Nothing was put in place; fix the problem that it names"
}

look() {
  if [ -n "$is_collector" ]; then
    look_by_collector
    return
  fi
  if [ -n "$missing" ]; then
    look_at config --syntax-only "$main.prom-federate.new"
  else
    look_at config --syntax-only "$main"
  fi
  look_at config --syntax-only "prom-federate/$cluster.scrape.yml.new"
  [ -n "$is_agent" ] || look_at rules "prom-federate/$cluster.rules.yml.new"
}

# The listening sockets of a process, which are new after a collector has reloaded.
its_listeners() {
  its_sockets=$(sockets_of "$1") || return 0
  listening_sockets | while read -r _ _ _ _ _ _ _ _ _ inode _; do
    case "
$its_sockets
" in
      *"
$inode
"*) echo "$inode" ;;
    esac
  done | sort
}

# A collector ends if it rejects the configuration, so it must not: with SIGHUP only what its own program accepts.
reload_collector() {
  case ,$(flags feature-gates | tr '\n' ,) in
    *,service.partialReload,*)
      tell "Warning: with the feature gate service.partialReload, process $pid does not read files of jobs again; restart it yourself"
      api=
      return 0
      ;;
  esac
  validate
  case $? in
    0) ;;
    1)
      tell "Warning: otelcol validate rejects $root/$main: $said; process $pid would end with SIGHUP, so it was not reloaded"
      is_in_place=
      return 1
      ;;
    *)
      tell "Warning: this script may not run $program to validate $root/$main, so process $pid was not reloaded; reload it yourself"
      api=
      return 0
      ;;
  esac
  listened=$(its_listeners "$pid")
  hang_up "$pid" "$began" > /dev/null || {
    tell "Warning: you may not send SIGHUP to process $pid; reload the collector yourself"
    api=
    return 0
  }
  ends=$(($(date +%s) + 30))
  while [ -n "$listened" ] && [ "$(started_at "$pid")" = "$began" ] && [ "$(date +%s)" -lt "$ends" ]; do
    now=$(its_listeners "$pid")
    [ "$now" = "$listened" ] || [ "$(echo $now | wc -w)" -lt "$(echo $listened | wc -w)" ] || return 0
    sleep 1
  done
  [ -z "$listened" ] || {
    tell "Warning: process $pid has ended, or has not reloaded within 30 seconds: see its log"
    return 1
  }
}

# A failed reload is only a warning: an administrator can reload Prometheus later.
reload() {
  if [ -n "$pid" ] && [ -n "$is_collector" ]; then
    reload_collector
  elif [ -n "$pid" ]; then
    hang_up "$pid" "$began" > /dev/null || tell "Warning: you may not send SIGHUP to process $pid; reload Prometheus yourself"
  else
    tell "Prometheus does not run; it will read the jobs when it starts"
  fi
}

# Whether Prometheus has reloaded since a time, by its metrics about the last reload.
was_reloaded() {
  get "$api/metrics" | awk -v since="$1" '
    $1 == "prometheus_config_last_reload_successful" { worked = $2 }
    $1 == "prometheus_config_last_reload_success_timestamp_seconds" { at = $2 }
    END { exit !(worked == 1 && at + 0 >= since + 0) }'
}

# Waits until all targets of all jobs are up, or until the time is over.
verify() {
  [ -n "$is_collector" ] || find_api
  if [ -z "$api" ] || ! can_ask || [ -z "$pid" ]; then
    tell "Warning: no scrape with the new token was observed: see the targets page of Prometheus"
    return 0
  fi
  ends=$(($(date +%s) + patience))
  until [ -n "$is_collector" ] || was_reloaded "$1"; do
    [ "$(date +%s)" -lt $((ends)) ] && [ "$(date +%s)" -lt $(($1 + 30)) ] ||
      stop "Prometheus at $api rejects the new configuration, or has not read it" "Its log names the error; the old jobs are restored"
    sleep 1
  done
  while :; do
    up=0 total=0 empty=
    for job in $jobs; do
      body=$(get "$api/api/v1/targets?state=active&scrapePool=prom-federate%2F$cluster%2F$job" 2> /dev/null)
      found=$(printf '%s\n' "$body" | grep -o '"health":"[a-z]*"')
      of_job=$(printf '%s\n' "$found" | grep -c health)
      up_of_job=$(printf '%s\n' "$found" | grep -c '"up"')
      [ "$up_of_job" -gt 0 ] || empty=$job
      up=$((up + up_of_job)) total=$((total + of_job))
    done
    [ -z "$empty" ] && [ "$up" = "$total" ] && break
    [ "$(date +%s)" -lt "$ends" ] || break
    sleep 1
  done
  [ -z "$empty" ] || stop "job prom-federate/$cluster/$empty: no target is up in Prometheus at $api" \
    "See $api/targets; the old jobs are restored"
  tell "$up of $total targets up"
}

is_in_place=
ended() {
  unfinished=$undo
  take_back
  if [ -n "$unfinished" ] && [ -n "$is_in_place" ]; then
    reload
  fi
  [ -z "$left" ] || tell "not undone: $left"
  unlock
}

# The arguments of the script: [--edit] [FOLDER or main configuration [USER[:GROUP]]]
deliver() {
  may_edit=
  if [ "${1-}" = --edit ]; then
    may_edit=yes
    shift
  fi
  path=${1:-/etc/prometheus}
  named=${2-}
  api=${PROMETHEUS_URL-}
  main=prometheus.yml
  [ -e "$path/$main" ] || [ ! -e "$path/config.yaml" ] || main=config.yaml
  if [ ! -d "$path" ]; then
    main=${path##*/}
    path=$(folder_of "$path")
  fi
  root=$(cd "$path" 2> /dev/null && pwd -P) || stop "cannot open $path" "Name the folder of prometheus.yml, or that file"
  cd "$root" || exit
  [ -f "$main" ] || stop "$root has no $main" "Name the folder of prometheus.yml, or that file"
  is_collector= is_agent=
  ! grep -q -E '^(receivers|service):' "$main" || is_collector=yes is_agent=yes
  know_the_reader
  find_consumer
  case ${program##*/} in
    *vmagent* | *victoria-metrics* | *vmsingle*) stop "this script is for Prometheus, but vmagent reads $root/$main" "Join with -p ssh://HOST$root" ;;
  esac
  case ${words-} in
    *--agent* | *enable-feature*agent*) is_agent=yes ;;
  esac
  if [ -n "$pid" ] && ! has_folder "$pid" "$theirs"; then
    stop "process $pid reads $root/$main as $theirs, and has no $root/prom-federate beside it; nothing was written" \
      "In a container, mount the folder $root and not the file alone; otherwise name the folder of $theirs"
  fi
  refuse_torn_main
  refuse_wide_patterns scrape scrape_config_files || exit 1
  [ -n "$is_agent" ] || refuse_wide_patterns rules rule_files || exit 1
  find_missing
  who_reads
  trap ended EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # An existing folder keeps its owner and mode, because Prometheus may use it.
  machine=$(machine_of /etc)
  machine=${machine:-$unknown_machine}
  are_safe prom-federate/. || stop "$said" "Nothing was written"
  [ -d prom-federate ] || step make_folder prom-federate || exit 1
  lock || stop "another run of kubectl prom-federate is writing to $root" "Run this script again when that run has ended"
  note_the_reader && stage && stage_main || exit 1
  prove
  look
  is_in_place=yes
  since=$(date +%s)
  commit_main && commit || exit 1
  reload || stop "the jobs are taken back" "Fix what is named above, and run this script again"
  verify "$since"
  finished
  tell "$root/prom-federate/$cluster.scrape.yml in place"
}
