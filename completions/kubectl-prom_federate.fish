# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_kubectl_prom_federate_global_optspecs
    string join \n h/help V/version
end

function __fish_kubectl_prom_federate_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_kubectl_prom_federate_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_kubectl_prom_federate_using_subcommand
    set -l cmd (__fish_kubectl_prom_federate_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -s h -l help -d 'Print help'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -s V -l version -d 'Print version'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "join" -d 'Give Prometheus access to a cluster and print the scrape jobs'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "leave" -d 'Remove the access and verify that it has ended'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "rotate" -d 'Replace tokens before they expire'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "status" -d 'Show each cluster that a destination knows: token, fence, targets, CPU and memory in use'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "check" -d 'Find problems that would stop a join, or test the access of joined clusters; writes nothing'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "manifests" -d 'Print the objects that join would apply, with the reason for each rule'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "rules" -d 'Print alerting rules: token expiring, cluster absent, cluster down'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "dashboard" -d 'Print Grafana dashboards over all clusters: fleet, cluster, nodes, pods, scrape'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "completion" -d 'Print the completion script of a shell, or kubectl\'s'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_needs_command" -f -a "version" -d 'Print the version'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l jobs -d 'Comma-separated scrape jobs: cadvisor, kubelet, default (both), resource, probes, apiserver, slis, kube-state-metrics, service=NAMESPACE/[https:]SERVICE:PORT[/PATH], node-exporter[=NAMESPACE[:PORT]], pods=NAMESPACE[/PATH] (annotated), federate[=NAMESPACE/SERVICE:PORT], aggregated=GROUP/VERSION/RESOURCE/NAME[/SUBRESOURCE]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -s n -l namespace -d 'Namespace of the account; not the context\'s' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l service-account -d 'Service account that Prometheus uses' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l fence -d 'Whether the policy that limits the account must be in force' -r -f -a "required\t'Fail if the API server cannot enforce it'
off\t'No policy: the token can then read every pod\'s logs through the API server'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l route -d 'How the jobs of nodes reach the kubelets' -r -f -a "apiserver\t'Through the API server, by the right to nodes/proxy'
kubelet\t'Directly to port 10250 of each node, by the right to nodes/metrics alone'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l cluster-name -d 'Value of the cluster label [default: the context\'s name]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l cluster-name-template -d 'The labels of clusters that the destination does not know yet: text with {context}, {cluster}, {user} or {namespace} of the kubeconfig [default: {context}]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l node-selector -d 'The nodes of the jobs of nodes, by their labels in kubectl\'s syntax, such as \'type!=virtual-kubelet\' [default: all]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l scrape-interval -d 'How often to scrape' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l scrape-timeout -d 'How long a scrape may take; at most the interval [default: 30s, or the interval if that is shorter]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l body-size-limit -d 'Largest page that Prometheus reads of a target; 0 is no limit [default: 64MB for jobs of nodes, 256MB for others]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l sample-limit -d 'Most samples of one scrape; 0 is no limit [default: 500000 for jobs of nodes, 2000000 for others]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l fallback-scrape-protocol -d 'How Prometheus 3 reads a page of a service or pod that has no content type of metrics' -r -f -a "PrometheusText0.0.4\t''
PrometheusText1.0.0\t''
OpenMetricsText0.0.1\t''
OpenMetricsText1.0.0\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l federate-match -d 'Series for the job federate, such as up or {job="shop"}; can be repeated [default: recording rules and up]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l duration -d 'Requested lifetime of the token, at least 10m; the server may grant less' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l api-server -d 'Address of the API server, https://HOST:PORT [default: the kubeconfig\'s]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l api-server-ca-file -d 'PEM file with the CA of the API server' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l api-server-tls-name -d 'Name to verify the API server\'s certificate against' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l api-server-proxy -d 'Proxy between Prometheus and the API server, http, https or socks5; the plugin itself uses the kubeconfig\'s or the environment\'s proxy' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l kubelet-ca-file -d 'PEM file with the CA of the kubelets, for --route=kubelet and the proof of --pin-nodes [default: the API server\'s]' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -s p -l prometheus -d 'Folder of prometheus.yml or of a collector\'s config.yaml, or that file, on this host or on another host (ssh://[USER@]HOST[:PORT]/DIR), or operator://NAMESPACE[/NAME][?context=CONTEXT]; can be repeated for an HA pair' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l prometheus-url -d 'Base URL of Prometheus\' API, to verify the result [default: found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l prometheus-http-config -d 'File with the password, token, CA or client certificate for Prometheus\' API, in the format of promtool\'s --http.config.file' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l reload -d 'How to reload Prometheus: auto, http, signal, none or command:COMMAND' -r -f -a "auto\t''
http\t''
signal\t''
none\t''
command:\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l format -d 'The program that reads the jobs [default: found from the running process]' -r -f -a "prometheus\t'Prometheus 2.43 or later, also as an agent'
vmagent\t'vmagent, also within a single-node storage server'
otel\t'OpenTelemetry Collector with the Prometheus receiver, 0.107 or later'
script\t'For join without -p: print a POSIX script with a token, which delivers the jobs on the host of Prometheus'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l owner -d 'User, and optionally group, of Prometheus; it is remembered [default: remembered, or found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l dry-run -d 'Only show what would be done: client reads the cluster and sends no write, server lets it validate the writes' -r -f -a "none\t''
client\t''
server\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -s o -l output -d 'Show the report on standard output in this format' -r -f -a "json\t''
yaml\t''
name\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l contexts-from -d 'Use the contexts of this file, one on each line, or LABEL=CONTEXT; - is standard input' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l parallel -d 'Clusters that are worked on at the same time' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l kubeconfig -d 'Path to the kubeconfig file to use for CLI requests' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l context -d 'The name of the kubeconfig context to use' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l as -d 'Username to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l as-group -d 'Group to impersonate for the operation; this flag can be repeated' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l as-uid -d 'UID to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l as-user-extra -d 'User extra to impersonate for the operation, KEY=VALUE; this flag can be repeated, also for one key' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l request-timeout -d 'The length of time to wait before giving up on a single server request; zero means don\'t timeout' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -s v -l v -d 'Number for the log level verbosity: from 6 on every request is logged, never its headers or body' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l keep-all-metrics -d 'Keep the series that the drop lists of the jobs drop'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l self-renew -d 'Let the account renew its own token, for at most --duration each time, and nothing more. A thief can renew a stolen token too, until an administrator deletes its Secret or runs leave'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l pin-nodes -d 'Grant nodes by NAME:PORT, so that the token is useless at a kubelet itself; run join or rotate again after adding nodes'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l long-lived-token -d 'Use a token that never expires, stored in its Secret, for clusters that issue no short-lived tokens. Prefer short-lived tokens and rotate'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l rename -d 'Give a cluster that the destination knows a new label'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l replace -d 'Let this cluster take the label of another cluster, which is gone'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -s y -l yes -d 'Do not ask for confirmation'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l keep-on-failure -d 'Keep the objects that a failed run created, for debugging'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l interactive -d 'Ask at the terminal for clusters, jobs, route, token lifetime and destination, except where a flag says it; show the plan, ask, and print the same command as flags'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -l all-contexts -d 'Use every context of the kubeconfig. --context can also be repeated, have * and ?, and leave contexts out: --context \'prod-*\' --context \'^prod-old\''
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand join" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -s p -l prometheus -d 'Folder of prometheus.yml or of a collector\'s config.yaml, or that file, on this host or on another host (ssh://[USER@]HOST[:PORT]/DIR), or operator://NAMESPACE[/NAME][?context=CONTEXT]; can be repeated for an HA pair' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l prometheus-url -d 'Base URL of Prometheus\' API, to verify the result [default: found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l prometheus-http-config -d 'File with the password, token, CA or client certificate for Prometheus\' API, in the format of promtool\'s --http.config.file' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l reload -d 'How to reload Prometheus: auto, http, signal, none or command:COMMAND' -r -f -a "auto\t''
http\t''
signal\t''
none\t''
command:\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l format -d 'The program that reads the jobs [default: found from the running process]' -r -f -a "prometheus\t'Prometheus 2.43 or later, also as an agent'
vmagent\t'vmagent, also within a single-node storage server'
otel\t'OpenTelemetry Collector with the Prometheus receiver, 0.107 or later'
script\t'For join without -p: print a POSIX script with a token, which delivers the jobs on the host of Prometheus'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l owner -d 'User, and optionally group, of Prometheus; it is remembered [default: remembered, or found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l only -d 'Remove only one side, if the other one is dead; cluster without -p removes everything, also for other destinations' -r -f -a "cluster\t'Accounts, rights and tokens; writes no destination'
prometheus\t'Jobs and their files; contacts no cluster, so tokens stay valid until they expire'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -s n -l namespace -d 'Namespace of the account; not the context\'s' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l service-account -d 'Service account that Prometheus uses' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l api-server -d 'Address of the API server, https://HOST:PORT [default: the kubeconfig\'s]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l api-server-ca-file -d 'PEM file with the CA of the API server' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l api-server-tls-name -d 'Name to verify the API server\'s certificate against' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l api-server-proxy -d 'Proxy between Prometheus and the API server, http, https or socks5; the plugin itself uses the kubeconfig\'s or the environment\'s proxy' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l dry-run -d 'Only show what would be done: client reads the cluster and sends no write, server lets it validate the writes' -r -f -a "none\t''
client\t''
server\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -s o -l output -d 'Show the report on standard output in this format' -r -f -a "json\t''
yaml\t''
name\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l contexts-from -d 'Use the contexts of this file, one on each line, or LABEL=CONTEXT; - is standard input' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l parallel -d 'Clusters that are worked on at the same time' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l kubeconfig -d 'Path to the kubeconfig file to use for CLI requests' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l context -d 'The name of the kubeconfig context to use' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l as -d 'Username to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l as-group -d 'Group to impersonate for the operation; this flag can be repeated' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l as-uid -d 'UID to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l as-user-extra -d 'User extra to impersonate for the operation, KEY=VALUE; this flag can be repeated, also for one key' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l request-timeout -d 'The length of time to wait before giving up on a single server request; zero means don\'t timeout' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -s v -l v -d 'Number for the log level verbosity: from 6 on every request is logged, never its headers or body' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -s y -l yes -d 'Do not ask for confirmation'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -l all-contexts -d 'Use every context of the kubeconfig. --context can also be repeated, have * and ?, and leave contexts out: --context \'prod-*\' --context \'^prod-old\''
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand leave" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l metrics-file -d 'Write metrics to this file; name it *.prom for the textfile collector of Prometheus\' node exporter' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l proof-interval -d 'With --watch, how often to prove that the fence is enforced and the rights are narrow, at most 30m; 0s: never [default: 5m]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -s p -l prometheus -d 'Folder of prometheus.yml or of a collector\'s config.yaml, or that file, on this host or on another host (ssh://[USER@]HOST[:PORT]/DIR), or operator://NAMESPACE[/NAME][?context=CONTEXT]; can be repeated for an HA pair' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l prometheus-url -d 'Base URL of Prometheus\' API, to verify the result [default: found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l prometheus-http-config -d 'File with the password, token, CA or client certificate for Prometheus\' API, in the format of promtool\'s --http.config.file' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l reload -d 'How to reload Prometheus: auto, http, signal, none or command:COMMAND' -r -f -a "auto\t''
http\t''
signal\t''
none\t''
command:\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l format -d 'The program that reads the jobs [default: found from the running process]' -r -f -a "prometheus\t'Prometheus 2.43 or later, also as an agent'
vmagent\t'vmagent, also within a single-node storage server'
otel\t'OpenTelemetry Collector with the Prometheus receiver, 0.107 or later'
script\t'For join without -p: print a POSIX script with a token, which delivers the jobs on the host of Prometheus'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l owner -d 'User, and optionally group, of Prometheus; it is remembered [default: remembered, or found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -s o -l output -d 'Show the report on standard output in this format' -r -f -a "json\t''
yaml\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l contexts-from -d 'Use the contexts of this file, one on each line, or LABEL=CONTEXT; - is standard input' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l parallel -d 'Clusters that are worked on at the same time' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l kubeconfig -d 'Path to the kubeconfig file to use for CLI requests' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l context -d 'The name of the kubeconfig context to use' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l as -d 'Username to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l as-group -d 'Group to impersonate for the operation; this flag can be repeated' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l as-uid -d 'UID to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l as-user-extra -d 'User extra to impersonate for the operation, KEY=VALUE; this flag can be repeated, also for one key' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l request-timeout -d 'The length of time to wait before giving up on a single server request; zero means don\'t timeout' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -s v -l v -d 'Number for the log level verbosity: from 6 on every request is logged, never its headers or body' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l now -d 'Also replace tokens that are not due'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l watch -d 'Keep running and replace each token when it is due; write each event as a line of logfmt to standard error'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l print-unit -d 'Print a systemd service that runs this program with --watch and these flags'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -l all-contexts -d 'Use every context of the kubeconfig. --context can also be repeated, have * and ?, and leave contexts out: --context \'prod-*\' --context \'^prod-old\''
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rotate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -s p -l prometheus -d 'Folder of prometheus.yml or of a collector\'s config.yaml, or that file, on this host or on another host (ssh://[USER@]HOST[:PORT]/DIR), or operator://NAMESPACE[/NAME][?context=CONTEXT]; can be repeated for an HA pair' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l prometheus-url -d 'Base URL of Prometheus\' API [default: found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l prometheus-http-config -d 'File with the password, token, CA or client certificate for Prometheus\' API, in the format of promtool\'s --http.config.file' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -s o -l output -d 'Show the report on standard output in this format instead of a table' -r -f -a "json\t''
yaml\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l contexts-from -d 'Use the contexts of this file, one on each line, or LABEL=CONTEXT; - is standard input' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l parallel -d 'Clusters that are worked on at the same time' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l kubeconfig -d 'Path to the kubeconfig file to use for CLI requests' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l context -d 'The name of the kubeconfig context to use' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l as -d 'Username to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l as-group -d 'Group to impersonate for the operation; this flag can be repeated' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l as-uid -d 'UID to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l as-user-extra -d 'User extra to impersonate for the operation, KEY=VALUE; this flag can be repeated, also for one key' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l request-timeout -d 'The length of time to wait before giving up on a single server request; zero means don\'t timeout' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -s v -l v -d 'Number for the log level verbosity: from 6 on every request is logged, never its headers or body' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l only-broken -d 'Show only the clusters that need attention; the summary counts all'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -s w -l watch -d 'Look again every 10 seconds until Ctrl-C: a screen on a terminal, elsewhere a line of logfmt for each change'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -l all-contexts -d 'Use every context of the kubeconfig. --context can also be repeated, have * and ?, and leave contexts out: --context \'prod-*\' --context \'^prod-old\''
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l jobs -d 'Comma-separated scrape jobs: cadvisor, kubelet, default (both), resource, probes, apiserver, slis, kube-state-metrics, service=NAMESPACE/[https:]SERVICE:PORT[/PATH], node-exporter[=NAMESPACE[:PORT]], pods=NAMESPACE[/PATH] (annotated), federate[=NAMESPACE/SERVICE:PORT], aggregated=GROUP/VERSION/RESOURCE/NAME[/SUBRESOURCE]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -s n -l namespace -d 'Namespace of the account; not the context\'s' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l service-account -d 'Service account that Prometheus uses' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l fence -d 'Whether the policy that limits the account must be in force' -r -f -a "required\t'Fail if the API server cannot enforce it'
off\t'No policy: the token can then read every pod\'s logs through the API server'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l route -d 'How the jobs of nodes reach the kubelets' -r -f -a "apiserver\t'Through the API server, by the right to nodes/proxy'
kubelet\t'Directly to port 10250 of each node, by the right to nodes/metrics alone'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l cluster-name -d 'Value of the cluster label [default: the context\'s name]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l cluster-name-template -d 'The labels of clusters that the destination does not know yet: text with {context}, {cluster}, {user} or {namespace} of the kubeconfig [default: {context}]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l node-selector -d 'The nodes of the jobs of nodes, by their labels in kubectl\'s syntax, such as \'type!=virtual-kubelet\' [default: all]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l scrape-interval -d 'How often to scrape' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l scrape-timeout -d 'How long a scrape may take; at most the interval [default: 30s, or the interval if that is shorter]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l api-server -d 'Address of the API server, https://HOST:PORT [default: the kubeconfig\'s]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l api-server-ca-file -d 'PEM file with the CA of the API server' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l api-server-tls-name -d 'Name to verify the API server\'s certificate against' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l api-server-proxy -d 'Proxy between Prometheus and the API server, http, https or socks5; the plugin itself uses the kubeconfig\'s or the environment\'s proxy' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l kubelet-ca-file -d 'PEM file with the CA of the kubelets, for --route=kubelet and the proof of --pin-nodes [default: the API server\'s]' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -s p -l prometheus -d 'Folder of prometheus.yml or of a collector\'s config.yaml, or that file, on this host or on another host (ssh://[USER@]HOST[:PORT]/DIR), or operator://NAMESPACE[/NAME][?context=CONTEXT]; can be repeated for an HA pair' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l prometheus-url -d 'Base URL of Prometheus\' API, to verify the result [default: found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l prometheus-http-config -d 'File with the password, token, CA or client certificate for Prometheus\' API, in the format of promtool\'s --http.config.file' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l reload -d 'How to reload Prometheus: auto, http, signal, none or command:COMMAND' -r -f -a "auto\t''
http\t''
signal\t''
none\t''
command:\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l format -d 'The program that reads the jobs [default: found from the running process]' -r -f -a "prometheus\t'Prometheus 2.43 or later, also as an agent'
vmagent\t'vmagent, also within a single-node storage server'
otel\t'OpenTelemetry Collector with the Prometheus receiver, 0.107 or later'
script\t'For join without -p: print a POSIX script with a token, which delivers the jobs on the host of Prometheus'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l owner -d 'User, and optionally group, of Prometheus; it is remembered [default: remembered, or found from the running process]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -s o -l output -d 'Show the report on standard output in this format instead of a list' -r -f -a "json\t''
yaml\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l contexts-from -d 'Use the contexts of this file, one on each line, or LABEL=CONTEXT; - is standard input' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l parallel -d 'Clusters that are worked on at the same time' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l kubeconfig -d 'Path to the kubeconfig file to use for CLI requests' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l context -d 'The name of the kubeconfig context to use' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l as -d 'Username to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l as-group -d 'Group to impersonate for the operation; this flag can be repeated' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l as-uid -d 'UID to impersonate for the operation' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l as-user-extra -d 'User extra to impersonate for the operation, KEY=VALUE; this flag can be repeated, also for one key' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l request-timeout -d 'The length of time to wait before giving up on a single server request; zero means don\'t timeout' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -s v -l v -d 'Number for the log level verbosity: from 6 on every request is logged, never its headers or body' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l self-renew -d 'Whether the account may renew its own token'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l pin-nodes -d 'Whether the role grants each node by NAME:PORT'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l rename -d 'Give a cluster that the destination knows a new label'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l replace -d 'Let this cluster take the label of another cluster, which is gone'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -l all-contexts -d 'Use every context of the kubeconfig. --context can also be repeated, have * and ?, and leave contexts out: --context \'prod-*\' --context \'^prod-old\''
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand manifests" -l jobs -d 'Comma-separated scrape jobs: cadvisor, kubelet, default (both), resource, probes, apiserver, slis, kube-state-metrics, service=NAMESPACE/[https:]SERVICE:PORT[/PATH], node-exporter[=NAMESPACE[:PORT]], pods=NAMESPACE[/PATH] (annotated), federate[=NAMESPACE/SERVICE:PORT], aggregated=GROUP/VERSION/RESOURCE/NAME[/SUBRESOURCE]' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand manifests" -s n -l namespace -d 'Namespace of the account; not the context\'s' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand manifests" -l service-account -d 'Service account that Prometheus uses' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand manifests" -l fence -d 'Whether the policy that limits the account must be in force' -r -f -a "required\t'Fail if the API server cannot enforce it'
off\t'No policy: the token can then read every pod\'s logs through the API server'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand manifests" -l route -d 'How the jobs of nodes reach the kubelets' -r -f -a "apiserver\t'Through the API server, by the right to nodes/proxy'
kubelet\t'Directly to port 10250 of each node, by the right to nodes/metrics alone'"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand manifests" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rules" -s p -l prometheus -d 'Take clusters, jobs, interval and expiry from this destination: folder of prometheus.yml on this host, that file, or an operator\'s Prometheus as in join -p' -r -F
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rules" -l jobs -d 'Comma-separated scrape jobs with their places, as reported by join' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rules" -l scrape-interval -d 'Scrape interval of the jobs: an alert waits for ten scrapes, and at least 5m' -r
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand rules" -s h -l help -d 'Print help'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand dashboard" -s o -l output -d 'json for Grafana\'s import, or configmap for its sidecar, with the label `grafana_dashboard`' -r -f -a "json\t''
configmap\t''"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand dashboard" -l out -d 'Write the JSON of each dashboard into this folder instead' -r -f -a "(__fish_complete_directories)"
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand dashboard" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand completion" -s h -l help -d 'Print help'
complete -c kubectl-prom_federate -n "__fish_kubectl_prom_federate_using_subcommand version" -s h -l help -d 'Print help'
