//! A kubeconfig and an environment mean to us what they mean to kubectl: both are run with them, and what reached the
//! API server and the proxies is compared.

use crate::{
    plugin::{Account, Run, command, run},
    push::mkfifo,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use testbed::{Action, FaultProxy, ForwardProxy, Kubeconfig, Prometheus, Rule, Tunnel, User, Validity};

trials! {
    kubeconfig:
    smoke {
        files_are_merged_as_kubectl_merges_them,
        servers_are_verified_as_kubectl_verifies_them,
        plugin_runs_as_under_kubectl,
    }
    full {
        credentials_equal_those_of_kubectl,
        odd_characters_equal_those_of_kubectl,
        pipe_serves_every_destination_of_a_run,
        account_of_a_pod_is_used_without_a_kubeconfig,
        proxies_equal_those_of_kubectl,
        a_plugin_runs_once,
        client_certificate_authenticates_its_user,
        hanging_server_is_not_waited_for,
        garbled_token_is_not_logged,
        unreachable_proxy_is_named,
        missing_plugin_is_named_with_its_install_hint,
    }
}

const API_VERSION: &str = "client.authentication.k8s.io/v1";

/// A cluster that refuses everybody and remembers what they said, and the proxies that lead to it.
struct Place {
    folder: PathBuf,
    server: FaultProxy,
    http: ForwardProxy,
    https: ForwardProxy,
}

/// What one program did with a kubeconfig.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Who the API server was told it is, each once; empty if nothing came.
    identities: BTreeSet<Vec<(String, String)>>,
    /// The proxies were asked for these, over HTTP and over HTTPS.
    tunnels: [BTreeSet<Tunnel>; 2],
}

/// A case: a name, and what differs from an ordinary kubeconfig.
struct Case<'a> {
    name: &'a str,
    environment: Vec<(&'a str, OsString)>,
    flags: Vec<&'a str>,
}

impl Place {
    fn new(name: &str) -> Self {
        let east = &testbed::shared().east;
        let folder = testbed::run_dir().expect("a folder").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let server = FaultProxy::in_front_of(east).expect("a server");
        let refusal = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no" });
        server.rule(Rule::new("*", "", Action::Answer { status: 403, body: refusal }));
        let http = ForwardProxy::to(server.address()).expect("a proxy");
        let https = ForwardProxy::over_tls(server.address(), east).expect("a proxy");
        Self { folder, server, http, https }
    }

    /// A kubeconfig with one context.
    fn kubeconfig(&self, name: &str, cluster: &Value, user: &Value) -> Value {
        let mut all = json!({ "server": self.server.url(), "certificate-authority": testbed::shared().east.ca_file() });
        for (key, value) in cluster.as_object().expect("fields") {
            all[key] = value.clone();
        }
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
            "clusters": [{ "name": name, "cluster": all }],
            "users": [{ "name": name, "user": user }],
        })
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("the folder can be written to");
        path
    }

    /// A program that prints this and remembers in files beside it that it ran and what it was told.
    fn program(&self, name: &str, prints: &Value) -> PathBuf {
        let path = self.write(
            name,
            format!(
                "#!/bin/sh\nPATH=/bin:/usr/bin\necho \"$FLAVOUR\" >>'{0}/{name}.runs'\nprintf %s \"$KUBERNETES_EXEC_INFO\" >'{0}/{name}.told'\ncat <<'.'\n{prints}\n.\n",
                self.folder.display()
            ),
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be made a program");
        path
    }

    fn runs(&self, name: &str) -> usize {
        fs::read_to_string(self.folder.join(format!("{name}.runs"))).unwrap_or_default().lines().count()
    }

    fn told(&self, name: &str) -> Value {
        let told = fs::read_to_string(self.folder.join(format!("{name}.told"))).expect("it was told something");
        serde_json::from_str(&told).expect("JSON")
    }

    /// Runs it in the folder, with nothing else in its environment.
    fn see(&self, mut program: Command, case: &Case) -> (Seen, Run) {
        self.server.forget_requests();
        self.http.forget_tunnels();
        self.https.forget_tunnels();
        program.env_clear().env("HOME", &self.folder).envs(case.environment.iter().cloned());
        let output = program.args(&case.flags).current_dir(&self.folder).stdin(Stdio::null()).output();
        let identities = self.server.requests().into_iter().map(|request| request.identity).collect();
        let tunnels = [&self.http, &self.https].map(|proxy| proxy.tunnels().into_iter().collect());
        (Seen { identities, tunnels }, output.expect("it starts").into())
    }

    /// What kubectl did, and that we did the same.
    fn both(&self, case: &Case) -> Seen {
        let mut kubectl = Command::new(&testbed::tools().kubectl);
        kubectl.args(["get", "--raw", "/version"]);
        let (theirs, said) = self.see(kubectl, case);
        let east = &testbed::shared().east;
        let mut ours = command(Path::new(""), &["join", "--dry-run=client", "--namespace=e2e-kubeconfig"]);
        // The address as Prometheus sees it does not matter here.
        ours.args(["--api-server", east.url(), "--api-server-ca-file"]).arg(east.ca_file()).arg("--cluster-name=east");
        let (ours, we_said) = self.see(ours, case);
        assert_eq!(ours, theirs, "{}:\nkubectl said {}\nwe said {}", case.name, said.stderr, we_said.stderr);
        if theirs.identities.is_empty() {
            assert_eq!((said.code, we_said.code), (Some(1), Some(1)), "{}: {}", case.name, we_said.stderr);
            assert!(we_said.stderr.contains("\nhint: "), "{}: {}", case.name, we_said.stderr);
        }
        assert!(!we_said.stderr.contains("hunter2"), "{}: {}", case.name, we_said.stderr);
        ours
    }
}

impl Seen {
    /// The one token that was sent; none if nothing came or came without one.
    fn token(&self) -> Option<&str> {
        let [identity] = self.identities.iter().collect::<Vec<_>>()[..] else { return None };
        identity.iter().find(|(name, _)| name == "authorization")?.1.strip_prefix("Bearer ")
    }

    /// Where the proxy that speaks HTTP was asked to lead.
    fn led_to(&self) -> Vec<&str> {
        self.tunnels[0].iter().map(|tunnel| tunnel.to.as_str()).collect()
    }
}

fn files_are_merged_as_kubectl_merges_them() {
    let place = Place::new("merging");
    let file = |name: &str| place.kubeconfig(name, &json!({}), &json!({ "token": format!("of-{name}") }));
    let token = |file: &mut Value, token: &str| file["users"][0]["user"]["token"] = token.into();
    place.write("a", file("a").to_string());
    place.write("b", file("b").to_string());
    place.write("empty", "");
    place.write("comment", "# nothing\n");
    let mut without_context = file("a");
    without_context["current-context"] = "".into();
    place.write("without-context", without_context.to_string());
    let mut again = file("a");
    token(&mut again, "of-a-again");
    place.write("a-again", again.to_string());
    let mut twice = file("a");
    let first = twice["users"][0].clone();
    twice["users"].as_array_mut().expect("a list").push(first);
    place.write("twice", twice.to_string());
    place.write("two-documents", format!("{}\n---\n{}\n", file("a"), file("b")));
    place.write("another-version", file("a").to_string().replace("\"v1\"", "\"v2\""));
    place.write("another-kind", file("a").to_string().replace("\"Config\"", "\"Pod\""));
    let mut bare = file("a");
    bare.as_object_mut().expect("fields").retain(|key, _| key != "apiVersion" && key != "kind");
    place.write("bare", bare.to_string());
    let mut number = file("a");
    number["users"][0]["user"]["token"] = 42.into();
    place.write("number", number.to_string());
    let mut broken_elsewhere = file("a");
    broken_elsewhere["users"].as_array_mut().expect("a list").push(json!({ "name": "z", "user": { "token": [] } }));
    place.write("broken-elsewhere", broken_elsewhere.to_string());
    let text = file("a").to_string();
    place.write(
        "utf-16",
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
    );
    place.write("marked", format!("\u{feff}{text}"));
    place.write("latin", [text.as_bytes(), b"# \xe9"].concat());
    place.write(".kube/config", file("home").to_string());
    // Paths in an entry are relative to its file, not to the working directory.
    let relative = place.kubeconfig("r", &json!({}), &json!({ "tokenFile": "token" }));
    place.write("sub/relative", relative.to_string());
    place.write("sub/token", "of-the-file\n");
    place.write("token", "of-the-wrong-file\n");
    let strange = OsString::from_vec(b"str\xffnge".to_vec());
    fs::create_dir_all(place.folder.join(&strange)).expect("a folder");
    fs::write(place.folder.join(&strange).join("relative"), relative.to_string()).expect("a file");
    fs::write(place.folder.join(&strange).join("token"), "of-the-strange-folder").expect("a file");
    let mut strange_file = strange;
    strange_file.push("/relative");

    let cases: [(&str, OsString, Vec<&str>, Option<&str>); 30] = [
        ("one file", "a".into(), vec![], Some("of-a")),
        ("the first context", "a:b".into(), vec![], Some("of-a")),
        ("a context of the second file", "a:b".into(), vec!["--context=b"], Some("of-b")),
        ("the first that has a context", "without-context:b".into(), vec![], Some("of-b")),
        ("the first entry of a name", "without-context:a-again".into(), vec![], Some("of-a")),
        ("missing files", "/nowhere/x:a:/nowhere/y".into(), vec![], Some("of-a")),
        ("empty elements", "::a:".into(), vec![], Some("of-a")),
        ("an empty file", "empty:comment:a".into(), vec![], Some("of-a")),
        ("the same file twice", "a:a".into(), vec![], Some("of-a")),
        ("no variable", "".into(), vec![], Some("of-home")),
        ("nothing but empty elements", ":".into(), vec![], None),
        ("a folder", "/tmp:a".into(), vec![], None),
        ("a file that is no folder", "a/x:b".into(), vec![], None),
        ("no expansion", "~/.kube/config".into(), vec![], None),
        ("a flag instead of the variable", "a".into(), vec!["--kubeconfig=b"], Some("of-b")),
        ("a flag that leads nowhere", "a".into(), vec!["--kubeconfig=/nowhere"], None),
        ("a flag is no list", "a".into(), vec!["--kubeconfig=a:b"], None),
        ("an unknown context", "a".into(), vec!["--context=z"], None),
        ("a name that is there twice", "twice".into(), vec![], None),
        ("two documents", "two-documents".into(), vec![], Some("of-a")),
        ("the second document", "two-documents".into(), vec!["--context=b"], None),
        ("another version", "another-version".into(), vec![], None),
        ("another kind", "another-kind".into(), vec![], None),
        ("neither version nor kind", "bare".into(), vec![], Some("of-a")),
        ("a token that is a number", "number".into(), vec![], None),
        ("a broken entry of somebody else", "broken-elsewhere".into(), vec![], None),
        ("UTF-16", "utf-16".into(), vec![], Some("of-a")),
        ("a byte order mark", "marked".into(), vec![], Some("of-a")),
        ("a relative path", "a:sub/relative".into(), vec!["--context=r"], Some("of-the-file")),
        ("a folder that is not UTF-8", strange_file, vec![], Some("of-the-strange-folder")),
    ];
    for (name, kubeconfig, flags, token) in cases {
        let seen = place.both(&Case { name, environment: vec![("KUBECONFIG", kubeconfig)], flags });
        assert_eq!(seen.token(), token, "{name}");
    }
}

/// An ordinary kubeconfig but for these.
fn one<'a>(place: &Place, name: &'a str, cluster: &Value, user: &Value, flags: &[&'a str]) -> Case<'a> {
    let path = place.write("kubeconfig", place.kubeconfig("a", cluster, user).to_string());
    Case { name, environment: vec![("KUBECONFIG", path.into())], flags: flags.to_vec() }
}

fn credentials_equal_those_of_kubectl() {
    let place = Place::new("credentials");
    place.write("token", " of-the-file \n");
    place.write("none", "");
    place.write("junk", "junk");
    let plugin = place.program("plugin", &answer(&json!({ "token": "of-the-plugin" })));
    let exec = json!({ "apiVersion": API_VERSION, "command": plugin, "interactiveMode": "Never" });
    let east = &testbed::shared().east;
    let certificate = east.client_certificate("jane", &[], Validity::current()).expect("a certificate");
    let (certificate, key) = (json!(certificate.certificate), json!(certificate.key));
    let as_all = [
        "--as=jane",
        "--as-group=a",
        "--as-group=b",
        "--as-uid=7",
        "--as-user-extra=scope=x=y",
        "--as-user-extra=scope=z",
        "--as-user-extra=Example.org/Why?=",
    ];
    let kubeconfigs_as = json!({ "token": "t", "as": "joe", "as-uid": "8", "as-groups": ["c"], "as-user-extra": { "scope": ["q"], "more": ["r"] } });
    for (name, user, flags, comes) in [
        ("a token", json!({ "token": "t" }), &[][..], true),
        ("a token file", json!({ "tokenFile": "token" }), &[], true),
        ("a token and a file", json!({ "token": "t", "tokenFile": "token" }), &[], true),
        ("a token and no file", json!({ "token": "t", "tokenFile": "/nowhere" }), &[], true),
        ("no token file", json!({ "tokenFile": "/nowhere" }), &[], false),
        ("an empty token file", json!({ "tokenFile": "none" }), &[], false),
        ("a password", json!({ "username": "jane", "password": "hunter2" }), &[], true),
        ("a user without a password", json!({ "username": "jane" }), &[], true),
        (
            "a password and a token",
            json!({ "username": "jane", "password": "hunter2", "token": "hunter2" }),
            &[],
            false,
        ),
        ("a plugin", json!({ "exec": exec }), &[], true),
        ("a plugin behind a token", json!({ "exec": exec, "token": "t" }), &[], true),
        ("a plugin behind a password", json!({ "exec": exec, "username": "jane" }), &[], true),
        (
            "a plugin behind a certificate",
            json!({ "exec": exec, "client-certificate": certificate, "client-key": key }),
            &[],
            true,
        ),
        (
            "a certificate and a token",
            json!({ "token": "t", "client-certificate": certificate, "client-key": key }),
            &[],
            true,
        ),
        ("a certificate without a key", json!({ "client-certificate": certificate }), &[], false),
        (
            "a certificate twice",
            json!({ "client-certificate": certificate, "client-certificate-data": "YQ==", "client-key": key }),
            &[],
            false,
        ),
        ("a certificate that is not there", json!({ "client-certificate": "/nowhere", "client-key": key }), &[], false),
        ("an auth provider of old", json!({ "auth-provider": { "name": "gcp" } }), &[], false),
        ("impersonation", json!({ "token": "t" }), &as_all, true),
        ("impersonation of the kubeconfig", kubeconfigs_as.clone(), &[], true),
        ("impersonation of both", kubeconfigs_as.clone(), &as_all, true),
        ("another user's groups", kubeconfigs_as, &["--as=jane"], true),
        ("groups without a user", json!({ "token": "t", "as-groups": ["a"] }), &[], false),
        ("seconds without a unit", json!({ "token": "t" }), &["--request-timeout=30"], true),
        ("a timeout of several units", json!({ "token": "t" }), &["--request-timeout=1m30.5s"], true),
        ("no timeout", json!({ "token": "t" }), &["--request-timeout=0"], true),
    ] {
        let seen = place.both(&one(&place, name, &json!({}), &user, flags));
        assert_eq!(!seen.identities.is_empty(), comes, "{name}: {seen:?}");
    }
    // kubectl continues anonymously, and says only that it could not load the certificate.
    for (user, says) in [
        (json!({ "client-certificate": "junk", "client-key": key }), "/junk contains no PEM certificate"),
        (json!({ "client-certificate": certificate, "client-key": "junk" }), "/junk contains no PEM private key"),
    ] {
        let case = one(&place, "no certificate or key", &json!({}), &user, &["join", "--yes"]);
        place.see(command(Path::new(""), &[]), &case).1.failed("CredentialPluginFailed", &["a: ", says]);
    }
}

/// What a header may not contain is sent by neither.
fn odd_characters_equal_those_of_kubectl() {
    let place = Place::new("characters");
    place.write("two", "hunter2\nhunter2\n");
    place.write("windows", "of-the-file\r\n");
    place.write("marked", "\u{feff}of-the-file\n");
    let spoilt = place.program("spoilt", &answer(&json!({ "token": "hunter2\nt" })));
    let spoilt = json!({ "apiVersion": API_VERSION, "command": spoilt, "interactiveMode": "Never" });
    for (name, user, flags, comes) in [
        ("a token of two lines", json!({ "token": "hunter2\nt" }), &[][..], false),
        ("a token with the end of its line", json!({ "token": "hunter2\n" }), &[], false),
        ("a token with a control character", json!({ "token": "hunter2\u{7f}" }), &[], false),
        ("a token with white space", json!({ "token": "a b\tc" }), &[], true),
        ("a token that is not ASCII", json!({ "token": "t\u{f6}\u{6771}" }), &[], true),
        ("a token file of two lines", json!({ "tokenFile": "two" }), &[], false),
        ("a token file with Windows' ends of lines", json!({ "tokenFile": "windows" }), &[], true),
        ("a token file with a byte order mark", json!({ "tokenFile": "marked" }), &[], true),
        ("a plugin whose token has two lines", json!({ "exec": spoilt }), &[], false),
        ("a password of two lines", json!({ "username": "jane\n", "password": "a\nb\u{f6}" }), &[], true),
        ("a user of two lines", json!({ "token": "t", "as": "hunter2\nx" }), &[], false),
        ("a group with a control character", json!({ "token": "t", "as": "a", "as-groups": ["\u{1b}"] }), &[], false),
        ("a UID of two lines", json!({ "token": "t", "as": "a", "as-uid": "1\r\n2" }), &[], false),
        ("an extra of two lines", json!({ "token": "t", "as": "a", "as-user-extra": { "a": ["1\n2"] } }), &[], false),
        (
            "an odd key of an extra",
            json!({ "token": "t", "as": "a", "as-user-extra": { "a/\u{f6} %": ["1"] } }),
            &[],
            true,
        ),
    ] {
        let seen = place.both(&one(&place, name, &json!({}), &user, flags));
        assert_eq!(!seen.identities.is_empty(), comes, "{name}: {seen:?}");
    }
}

fn servers_are_verified_as_kubectl_verifies_them() {
    let place = Place::new("servers");
    place.write("junk", "junk");
    let ca = fs::read(testbed::shared().east.ca_file()).expect("a CA");
    for (name, cluster, comes) in [
        (
            "a CA inline, in lines",
            json!({ "certificate-authority": null, "certificate-authority-data": in_lines(&ca) }),
            true,
        ),
        ("a CA twice", json!({ "certificate-authority-data": in_lines(&ca) }), false),
        ("a CA that is not there", json!({ "certificate-authority": "/nowhere" }), false),
        ("a CA that is none", json!({ "certificate-authority": "junk" }), false),
        ("a CA that is not base64", json!({ "certificate-authority": null, "certificate-authority-data": "?" }), false),
        ("another server name", json!({ "tls-server-name": "localhost" }), true),
        ("a wrong server name", json!({ "tls-server-name": "wrong.example" }), false),
        ("no compression", json!({ "disable-compression": true }), true),
        ("a path in front", json!({ "server": format!("{}/k8s/clusters/c-1/", place.server.url()) }), true),
        ("no server", json!({ "server": "" }), false),
    ] {
        let seen = place.both(&one(&place, name, &cluster, &json!({ "token": "t" }), &[]));
        assert_eq!(!seen.identities.is_empty(), comes, "{name}: {seen:?}");
    }
}

fn in_lines(bytes: &[u8]) -> String {
    let base64 = serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).expect("base64");
    let base64 = base64.as_str().expect("text").as_bytes().to_vec();
    base64.chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}

fn answer(status: &Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": "ExecCredential", "status": status })
}

fn proxies_equal_those_of_kubectl() {
    let place = Place::new("proxies");
    let (http, https) = (place.http.address(), place.https.address());
    let plain = format!("http://{http}");
    let with_password = format!("http://me:hunter2%40@{http}");
    let over_tls = format!("https://{https}");
    let socks = format!("socks5://{http}");
    let bare = http.to_string();
    let (direct, name, ip) = (place.server.url(), "https://api.corp.example:6443", "https://203.0.113.5");
    let there = ["api.corp.example:6443"];
    let nobody = "http://127.0.0.1:1";
    for (case, server, proxy_url, environment, led_to) in [
        ("proxy-url", name, plain.as_str(), vec![], &there[..]),
        ("proxy-url on this machine", &direct, &plain, vec![], &[direct.trim_start_matches("https://")][..]),
        ("proxy-url whatever NO_PROXY says", name, &plain, vec![("NO_PROXY", "*")], &there),
        ("proxy-url before HTTPS_PROXY", name, &plain, vec![("HTTPS_PROXY", nobody)], &there),
        ("proxy-url with a password", name, &with_password, vec![], &there),
        ("proxy-url of SOCKS", name, &socks, vec![], &there),
        ("proxy-url over TLS", name, &over_tls, vec![], &[]),
        ("proxy-url of no scheme", name, &bare, vec![], &[]),
        ("proxy-url of another scheme", name, "ftp://127.0.0.1:1", vec![], &[]),
        ("HTTPS_PROXY", name, "", vec![("HTTPS_PROXY", plain.as_str())], &there),
        ("HTTPS_PROXY for an address", ip, "", vec![("HTTPS_PROXY", &plain)], &["203.0.113.5:443"]),
        ("https_proxy", name, "", vec![("https_proxy", &plain)], &there),
        ("capitals come first", name, "", vec![("https_proxy", nobody), ("HTTPS_PROXY", &plain)], &there),
        ("without a scheme", name, "", vec![("HTTPS_PROXY", &bare)], &there),
        ("with a password", name, "", vec![("HTTPS_PROXY", &with_password)], &there),
        ("SOCKS", name, "", vec![("HTTPS_PROXY", &socks)], &there),
        ("not HTTP_PROXY", &direct, "", vec![("HTTP_PROXY", nobody)], &[]),
        ("not ALL_PROXY", &direct, "", vec![("ALL_PROXY", nobody)], &[]),
        ("not for this machine", &direct, "", vec![("HTTPS_PROXY", &plain)], &[]),
        (
            "NO_PROXY of another",
            name,
            "",
            vec![("HTTPS_PROXY", &plain), ("NO_PROXY", "corp.example.org,10.0.0.0/8,,")],
            &there,
        ),
        ("NO_PROXY of the proxy", name, "", vec![("HTTPS_PROXY", &plain), ("NO_PROXY", "127.0.0.1")], &there),
        (
            "NO_PROXY of the domain",
            name,
            "",
            vec![("HTTPS_PROXY", &plain), ("NO_PROXY", "localhost,,corp.example")],
            &[],
        ),
        (
            "no_proxy of another port",
            name,
            "",
            vec![("HTTPS_PROXY", &plain), ("no_proxy", ".corp.example:443")],
            &there,
        ),
        ("a CGI program", name, "", vec![("HTTPS_PROXY", &plain), ("REQUEST_METHOD", "GET")], &there),
    ] {
        let cluster = json!({ "server": server, "proxy-url": proxy_url, "tls-server-name": "localhost" });
        // Only the proxies answer for these names and addresses.
        let mut case = one(&place, case, &cluster, &json!({ "token": "t" }), &["--request-timeout=3s"]);
        case.environment.extend(environment.iter().map(|(key, value)| (*key, value.into())));
        let seen = place.both(&case);
        assert_eq!(seen.led_to(), led_to, "{}: {seen:?}", case.name);
        assert_eq!(seen.tunnels[1].is_empty(), case.name != "proxy-url over TLS", "{seen:?}");
    }
    // Neither where all is shown nor where it fails.
    let cluster = json!({ "server": name, "proxy-url": with_password, "tls-server-name": "localhost" });
    let case = one(
        &place,
        "-v",
        &cluster,
        &json!({ "token": "hunter2" }),
        &["join", "-v=9", "--api-server=https://127.0.0.1:1"],
    );
    let (_, said) = place.see(command(Path::new(""), &[]), &case);
    assert!(
        said.stderr.contains("GET https://api.corp.example:6443/") && said.stderr.contains(" 403 in "),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains("hunter2"), "{}", said.stderr);
}

fn plugin_runs_as_under_kubectl() {
    let place = Place::new("plugins");
    place.program("bin/get-token", &answer(&json!({ "token": "t" })));
    let cluster = json!({
        "tls-server-name": "localhost", "disable-compression": true,
        "extensions": [{ "name": "client.authentication.k8s.io/exec", "extension": { "region": "eu", "n": [1, null] } }],
    });
    let v1beta1 = "client.authentication.k8s.io/v1beta1";
    for (name, patch, comes) in [
        ("a path", json!({}), true),
        ("a name in PATH", json!({ "command": "get-token" }), true),
        ("a name that is not in PATH", json!({ "command": "get-nothing" }), false),
        ("a path that is not there", json!({ "command": "./nowhere/get-token" }), false),
        ("the cluster", json!({ "provideClusterInfo": true }), true),
        ("an environment", json!({ "env": [{ "name": "FLAVOUR", "value": "sour" }, { "name": "EMPTY" }] }), true),
        ("if available", json!({ "interactiveMode": "IfAvailable" }), true),
        ("always", json!({ "interactiveMode": "Always" }), false),
        ("no mode", json!({ "interactiveMode": null }), false),
        ("an unknown mode", json!({ "interactiveMode": "Sometimes" }), false),
        ("no version", json!({ "apiVersion": null }), false),
        ("a version of old", json!({ "apiVersion": "client.authentication.k8s.io/v1alpha1" }), false),
        ("an answer of another version", json!({ "apiVersion": v1beta1 }), false),
        ("no command", json!({ "command": "" }), false),
        ("a nameless variable", json!({ "env": [{ "value": "x" }] }), false),
    ] {
        let mut exec = json!({ "apiVersion": API_VERSION, "command": "./bin/get-token", "interactiveMode": "Never" });
        for (key, value) in patch.as_object().expect("fields") {
            exec[key] = value.clone();
        }
        let path = OsString::from(place.folder.join("bin"));
        let with_path = |mut case: Case<'static>| {
            case.environment.push(("PATH", path.clone()));
            case
        };
        let seen = place.both(&with_path(one(&place, name, &cluster, &json!({ "exec": exec }), &[])));
        assert_eq!(seen.token().is_some(), comes, "{name}: {seen:?}");
        if comes {
            let ours = place.told("bin/get-token");
            let case = with_path(one(&place, name, &cluster, &json!({ "exec": exec }), &["get", "--raw=/version"]));
            place.see(Command::new(&testbed::tools().kubectl), &case);
            assert_eq!(ours, place.told("bin/get-token"), "{name}");
        }
    }
    let flavours = fs::read_to_string(place.folder.join("bin/get-token.runs")).expect("it ran");
    assert_eq!(flavours.matches("sour").count(), 3, "twice by kubectl, once by us: {flavours:?}");
    for (name, status) in [
        ("nothing", json!({})),
        ("a number", json!({ "token": 5 })),
        ("no time", json!({ "token": "hunter2", "expirationTimestamp": "hunter2" })),
        ("half a pair", json!({ "token": "hunter2", "clientKeyData": "hunter2" })),
        ("no key", json!({ "clientCertificateData": "hunter2", "clientKeyData": "hunter2" })),
    ] {
        let program = place.program("bad", &answer(&status));
        let exec = json!({ "apiVersion": API_VERSION, "command": program, "interactiveMode": "Never" });
        let seen = place.both(&one(&place, name, &json!({}), &json!({ "exec": exec }), &[]));
        assert!(seen.identities.is_empty(), "{name}: {seen:?}");
    }
}

/// A certificate from a plugin that would be run three times by kube: once for its token, once for its certificate,
/// once for its end.
fn a_plugin_runs_once() {
    let (place, east) = (Place::new("once"), &testbed::shared().east);
    let admin = east.client_certificate("admin", &["system:masters"], Validity::current()).expect("a certificate");
    let [certificate, key] = [&admin.certificate, &admin.key].map(|path| fs::read_to_string(path).expect("PEM"));
    let status = json!({ "clientCertificateData": certificate, "clientKeyData": key, "expirationTimestamp": "2999-01-01T00:00:00Z" });
    let program = place.program("get-certificate", &answer(&status));
    let user = User::Exec { command: program.display().to_string(), args: Vec::new() };
    let path = east.write_kubeconfig(&Kubeconfig { user, ..east.admin() }).expect("a kubeconfig");
    Account::new(east, "plugin-once").run_with(&path, &["join", "--dry-run=server"]).succeeded();
    assert_eq!(place.runs("get-certificate"), 1);
}

fn client_certificate_authenticates_its_user() {
    let (place, east) = (Place::new("certificates"), &testbed::shared().east);
    let jane = east.client_certificate("jane", &["people"], Validity::current()).expect("a certificate");
    let [certificate, key] = [&jane.certificate, &jane.key].map(|path| fs::read(path).expect("PEM"));
    let cluster = json!({ "server": east.url() });
    for (name, user) in [
        ("files", json!({ "client-certificate": jane.certificate, "client-key": jane.key })),
        ("data", json!({ "client-certificate-data": in_lines(&certificate), "client-key-data": in_lines(&key) })),
        ("mixed", json!({ "client-certificate": jane.certificate, "client-key-data": in_lines(&key) })),
    ] {
        for (program, arguments) in
            [(None, vec!["join", "--yes"]), (Some(&testbed::tools().kubectl), vec!["get", "nodes"])]
        {
            let program = program.map_or_else(|| command(Path::new(""), &[]), Command::new);
            let (_, said) = place.see(program, &one(&place, name, &cluster, &user, &arguments));
            assert!(said.stderr.contains("User \"jane\" cannot"), "{name}: {}", said.stderr);
        }
    }
}

/// kube by itself would wait for ever.
fn hanging_server_is_not_waited_for() {
    let east = &testbed::shared().east;
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("*", "", Action::Hang));
    for timeout in ["200ms", "0.2s"] {
        let arguments = ["join", "--yes", "--request-timeout", timeout, "--api-server", east.url()];
        run(&proxy.kubeconfig(), &arguments).failed("Timeout", &["did not answer in time"]);
    }
}

/// kube by itself would log the whole answer.
fn garbled_token_is_not_logged() {
    let east = &testbed::shared().east;
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let token =
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "status": { "token": ["hunter2"] } });
    proxy.rule(Rule::new("POST", "/token", Action::Answer { status: 201, body: token }));
    let account = Account::new(east, "garbled");
    let output = command(&proxy.kubeconfig(), &["join", "--yes", "-v=9", "--namespace", &account.namespace])
        .env("RUST_LOG", "trace")
        .output()
        .expect("it starts");
    let run = Run::from(output).failed("ApiServerError", &["/token"]);
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

fn unreachable_proxy_is_named() {
    let place = Place::new("down");
    let cluster = json!({ "proxy-url": format!("http://me:hunter2@{}", testbed::refused_port()) });
    let case = one(&place, "down", &cluster, &json!({ "token": "t" }), &["join", "--yes"]);
    let (_, said) = place.see(command(Path::new(""), &[]), &case);
    let said = said.failed("ConnectionRefused", &[&place.server.url(), "(through the proxy http://127.0.0.1:"]);
    assert!(!said.stderr.contains("hunter2"), "{}", said.stderr);
}

fn missing_plugin_is_named_with_its_install_hint() {
    let place = Place::new("missing");
    let exec = json!({
        "apiVersion": API_VERSION, "command": "get-nothing", "args": ["hunter2"], "interactiveMode": "Never",
        "installHint": "Get it:\n  brew install get-nothing\u{1b}[1m",
    });
    let case = one(&place, "missing", &json!({}), &json!({ "exec": exec }), &["join", "--yes"]);
    let (_, said) = place.see(command(Path::new(""), &[]), &case);
    let says = ["a: the credential plugin get-nothing", "hint: Get it:\n  brew install get-nothing\\u{1b}[1m"];
    let said = said.failed("CredentialPluginFailed", &says);
    assert!(!said.stderr.contains("hunter2"), "{}", said.stderr);
}

/// `--kubeconfig <(…)`: a pipe gives its content once.
fn pipe_serves_every_destination_of_a_run() {
    let account = Account::new(&testbed::shared().east, "pipe");
    let servers = [(); 2].map(|()| Prometheus::start("global: {scrape_interval: 1s}\n").expect("Prometheus starts"));
    let folders = servers.each_ref().map(|server| server.dir().to_str().expect("UTF-8"));
    for folder in folders {
        account.run(&["join", "-p", folder, "--cluster-name=east", "--scrape-interval=1s"]).succeeded();
    }
    let pipe = testbed::run_dir().expect("a folder").join("kubeconfig-pipe");
    mkfifo(&pipe);
    for (arguments, says) in [(&["rotate", "--now"][..], "east"), (&["status"], "east"), (&["check"], "0 failed")] {
        let content = fs::read(account.cluster.kubeconfig()).expect("a file");
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, content).expect("a reader")
        });
        let mut all = arguments.to_vec();
        all.extend(["--kubeconfig", pipe.to_str().expect("UTF-8"), "-p", folders[0], "-p", folders[1]]);
        let run: Run = command(Path::new("/nonexistent"), &all).output().expect("it starts").into();
        writer.join().expect("the pipe was read");
        let run = run.succeeded();
        assert!(format!("{}{}", run.stdout, run.stderr).contains(says), "{} {}", run.stdout, run.stderr);
    }
    account.run(&["leave", "east", "-p", folders[0], "-p", folders[1]]).succeeded();
}

/// In a mount namespace that has what a kubelet mounts.
fn account_of_a_pod_is_used_without_a_kubeconfig() {
    let east = &testbed::shared().east;
    let folder = testbed::run_dir().expect("a folder").join("pod");
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(east.ca_file(), folder.join("ca.crt")).expect("a file");
    east.apply(
        r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pod", "namespace": "kube-system"}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "e2e-pod"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
             "subjects": [{"kind": "ServiceAccount", "name": "pod", "namespace": "kube-system"}]}]}"#,
    );
    fs::write(folder.join("token"), east.kubectl_ok(&["-n", "kube-system", "create", "token", "pod"])).expect("a file");
    let script = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount && \
                  mount --bind \"$1\" /run/secrets/kubernetes.io/serviceaccount && shift && exec \"$@\"";
    let within = |program: &str, arguments: &[&str]| -> Run {
        let mut pod = Command::new("unshare");
        pod.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(&folder).arg(program);
        pod.args(arguments).env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        pod.env("KUBERNETES_SERVICE_HOST", "127.0.0.1");
        pod.env("KUBERNETES_SERVICE_PORT", east.address().port().to_string());
        pod.stdin(Stdio::null()).output().expect("unshare starts").into()
    };
    let kubectl = testbed::tools().kubectl.to_str().expect("UTF-8");
    within(kubectl, &["get", "--raw", "/version"]).succeeded();
    let ours = env!("CARGO_BIN_EXE_kubectl-prom_federate");
    let joined = within(ours, &["join", "--namespace=e2e-pod", "--cluster-name=here", "--yes"]).succeeded();
    assert!(joined.stdout.contains("leave --context in-cluster --namespace e2e-pod"), "{}", joined.stdout);
    let left = ["leave", "--context=in-cluster", "--namespace=e2e-pod", "--yes"];
    within(ours, &left).succeeded();
    within(ours, &["leave", "--context=other", "--namespace=e2e-pod", "--yes"]).failed("KubeconfigNotFound", &[]);
}
