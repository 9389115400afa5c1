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

# The last value of a flag, --NAME=VALUE or --NAME VALUE, in a command line with one word on each line.
flag() { printf '%s\n' "$words" | sed -n -e "s/^--*$1=//p" -e "/^--*$1\$/{
n
p
}" | tail -n 1; }

# Finds the process that reads this main configuration, and sets pid, words and program.
find_consumer() {
  for pid in $(candidates); do
    words=$(tr '\0' '\n' 2> /dev/null < "/proc/$pid/cmdline")
    program=$(readlink "/proc/$pid/exe" 2> /dev/null) || program=$(printf '%s\n' "$words" | sed 1q)
    case ${program##*/} in
      *vmagent* | *victoria-metrics* | *vmsingle*) theirs=$(flag promscrape.config) ;;
      prometheus) theirs=$(flag config.file) theirs=${theirs:-prometheus.yml} ;;
      *prometheus*) theirs=$(flag config.file) ;;
      *) continue ;;
    esac
    if [ -n "$theirs" ] && means "$pid" "$theirs"; then
      return 0
    fi
  done
  pid= words= program=
}

# The effective number of a field in /proc/PID/status, see proc(5).
number_of() { sed -n "s/^$1:[[:space:]]*[0-9]*[[:space:]]*\([0-9]*\).*/\1/p" "/proc/$pid/status"; }

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

who_reads() {
  if [ -n "$named" ]; then
    user=$(id -u "${named%%:*}" 2> /dev/null) || user=${named%%:*}
    case $named in
      *:*) its_group=${named#*:} its_group=$(getent group "$its_group" 2> /dev/null | cut -d : -f 3) its_group=${its_group:-${named#*:}} ;;
      *) its_group=$(id -g "$named" 2> /dev/null) || its_group=$user ;;
    esac
    case $user$its_group in
      *[!0-9]*) stop "this host has no user or group $named" "Name the user of Prometheus, and optionally its group: USER:GROUP" ;;
    esac
    choose_readers "$user" "$its_group"
  elif [ -n "$pid" ]; then
    # shellcheck disable=SC2046 # several numbers are several words
    choose_readers "$(number_of Uid)" "$(number_of Gid)" $(sed -n 's/^Groups://p' "/proc/$pid/status")
  elif [ "$(id -u)" = 0 ]; then
    stop "cannot tell which user must be able to read the token: no running Prometheus uses $root/$main; nothing was written" \
      "Name the user of Prometheus after the folder: sh SCRIPT $root USER" "Or start Prometheus first"
  else
    readers '' ''
  fi
}

# Whether the main configuration has a pattern, outside of comments.
includes() { sed 's/#.*//' "$main" | grep -q -F "prom-federate/*.$1.yml"; }

has_key() { grep -q -E "^[\"']?$1[\"']?[[:space:]]*:" "$main"; }

# Finds the patterns that are missing from the main configuration. They are added to its end with --edit, if that is safe.
missing=
find_missing() {
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
  if [ -z "$may_edit" ] || ! has_key '[a-z_]+'; then
    stop "$root/$main does not include prom-federate/*.scrape.yml" \
      "Add this to its end, or run this with --edit: $(printf %s "$missing" | tr '\n' ' ')"
  fi
}

stage_main() {
  [ -n "$missing" ] || return 0
  step copy "$main" "$main.before-prom-federate" || return
  # shellcheck disable=SC2016 # evaluated by the undo
  later 'back remove "$main.prom-federate.new"'
  added="
$missing"
  { cat "$main" && printf %s "$added"; } |
    step write_like "$main.prom-federate.new" $(($(size_of "$main") + ${#added})) "$main"
}

commit_main() {
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2016
  later 'back rename "$main.before-prom-federate" "$main"'
  step rename "$main.prom-federate.new" "$main"
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
  api=http://$listens${prefix:+/$prefix}
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
    answered=$(curl_configuration | curl -s -S -K - 2>&1)
  elif wget --version 2> /dev/null < /dev/null | grep -q GNU && [ -z "$tls_name" ]; then
    answered=$(wget_configuration | with_configuration within 20 wget -nv -O /dev/null --tries=1 --max-redirect=0 "$server" 2>&1) &&
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
  said=$(promtool check "$@" 2>&1 > /dev/null < /dev/null) ||
    stop "promtool rejects $root/$file: $(printf '%s\n' "$said" | sed -n '$p')" "Nothing was put in place; fix the problem that promtool names"
}

look() {
  if [ -n "$missing" ]; then
    look_at config --syntax-only "$main.prom-federate.new"
  else
    look_at config --syntax-only "$main"
  fi
  look_at config --syntax-only "prom-federate/$cluster.scrape.yml.new"
  [ -n "$is_agent" ] || look_at rules "prom-federate/$cluster.rules.yml.new"
}

# A failed reload is only a warning: an administrator can reload Prometheus later.
reload() {
  if [ -n "$pid" ]; then
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
  find_api
  if [ -z "$api" ] || ! can_ask || [ -z "$pid" ]; then
    tell "Warning: no scrape with the new token was observed: see the targets page of Prometheus"
    return 0
  fi
  ends=$(($(date +%s) + patience))
  until was_reloaded "$1"; do
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
  if [ ! -d "$path" ]; then
    main=${path##*/}
    path=$(folder_of "$path")
  fi
  root=$(cd "$path" 2> /dev/null && pwd -P) || stop "cannot open $path" "Name the folder of prometheus.yml, or that file"
  cd "$root" || exit
  [ -f "$main" ] || stop "$root has no $main" "Name the folder of prometheus.yml, or that file"
  find_consumer
  case ${program##*/} in
    *vmagent* | *victoria-metrics* | *vmsingle*) stop "this script is for Prometheus, but vmagent reads $root/$main" "Join with -p ssh://HOST$root" ;;
  esac
  [ -z "$pid" ] || began=$(started_at "$pid")
  is_agent=
  case ${words-} in
    *--agent* | *enable-feature*agent*) is_agent=yes ;;
  esac
  find_missing
  who_reads
  trap ended EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # An existing folder keeps its owner and mode, because Prometheus may use it.
  [ -d prom-federate ] || step make_folder prom-federate || exit 1
  lock || stop "another run of kubectl prom-federate is writing to $root" "Run this script again when that run has ended"
  stage && stage_main || exit 1
  prove
  look
  is_in_place=yes
  since=$(date +%s)
  commit_main && commit || exit 1
  reload
  verify "$since"
  finished
  tell "$root/prom-federate/$cluster.scrape.yml in place"
}
