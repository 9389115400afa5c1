//! An API server in this process: objects by their paths, RBAC, server-side apply, tokens and the admission policies of
//! the fence. As far as the plugin goes, it answers as a kube-apiserver does; what it cannot do it answers with 501.

mod objects;
mod proxied;
mod serves;
mod target;
mod tokens;

use crate::rbac::{self, User};
use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use objects::merge;
use prom_federate::clock;
use proxied::decoded;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use target::Target;
use testbed::{Action, Request, Rule};
use tokio::time::Instant;

/// Kubernetes `pkg/kubeapiserver/options`, `TokenSuccessCacheTTL`.
const TOKEN_CACHE: Duration = Duration::from_secs(10);
pub(crate) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
pub(crate) const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// What an API server may be without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lack {
    /// The kinds of admission policies.
    Policies,
    /// The admission plugin that enforces them.
    Enforcement,
    TokenRequest,
    /// The controller that puts tokens into Secrets of that type.
    TokenController,
    /// The server of the aggregated API metrics.k8s.io.
    AggregatedServer,
}

pub(crate) struct ApiServer(Mutex<State>);

type Hook = Box<dyn FnOnce(&mut State) + Send>;

/// What it has and how it behaves. A test changes what it is about.
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Value>,
    /// Which fields of an object a manager owns.
    owned: BTreeMap<(String, String), BTreeSet<String>>,
    tokens: BTreeMap<String, Issued>,
    /// Until when a token is taken without another look.
    remembered: BTreeMap<String, Instant>,
    pub(crate) users: BTreeMap<String, User>,
    /// What a kubelet, a Service or a pod answers, by the path behind `/proxy`.
    pub(crate) pages: BTreeMap<String, (u16, String)>,
    pub(crate) lacks: BTreeSet<Lack>,
    pub(crate) token_cap: Option<u64>,
    /// How far its clock is ahead of that of this machine.
    pub(crate) clock: SignedDuration,
    rules: Vec<Rule>,
    hooks: Vec<(String, String, Hook)>,
    log: Vec<Request>,
    count: u64,
}

struct Issued {
    user: User,
    /// Each with the UID that it must still have.
    bound_to: Vec<(String, Value)>,
    /// None for one that never expires.
    expires: Option<Timestamp>,
}

/// What is to happen to a request.
pub(crate) enum Verdict {
    Answer(Answer),
    Wait(Duration),
    Endless,
    Hang,
    Close,
    Refuse,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn content_type(&self) -> &'static str {
        let is_json = self.body.first().is_some_and(|first| b"{[\"".contains(first));
        if is_json { "application/json" } else { "text/plain; version=0.0.4" }
    }

    fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes() }
    }

    /// As the API server refuses.
    fn refusal(code: StatusCode, reason: &str, message: &str, details: &Value) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code.as_u16(),
        });
        Self::json(code.as_u16(), &status)
    }
}

/// So many there were: objects of two servers have different UIDs.
static SERVERS: AtomicU64 = AtomicU64::new(0);

impl ApiServer {
    /// With two nodes, an administrator whose token is `admin`, and nothing else.
    pub(crate) fn new() -> Self {
        let page = |text: &str| (200, format!("# HELP {text} A sample.\n{text} 1\n"));
        let mut state = State {
            objects: BTreeMap::new(),
            owned: BTreeMap::new(),
            tokens: BTreeMap::new(),
            remembered: BTreeMap::new(),
            users: BTreeMap::new(),
            pages: BTreeMap::from([
                ("/metrics".to_owned(), page("kubelet_running_pods")),
                ("/metrics/cadvisor".to_owned(), page("container_cpu_usage_seconds_total")),
                ("/metrics/resource".to_owned(), page("node_cpu_usage_seconds_total")),
                ("/metrics/probes".to_owned(), page("prober_probe_total")),
            ]),
            lacks: BTreeSet::new(),
            token_cap: None,
            clock: SignedDuration::ZERO,
            rules: Vec::new(),
            hooks: Vec::new(),
            log: Vec::new(),
            count: 1000 * SERVERS.fetch_add(1, Ordering::Relaxed),
        };
        state.users.insert("admin".into(), User::new("admin", &["system:masters"]));
        for namespace in ["default", "kube-system", "kube-public"] {
            state.put(&format!("/api/v1/namespaces/{namespace}"), json!({}), "kubectl");
        }
        for name in ["node-1", "node-2"] {
            state.put_node(name, true);
        }
        Self(Mutex::new(state))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add a rule, after those that are there.
    pub(crate) fn rule(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    pub(crate) fn clear_rules(&self) {
        self.state().rules.clear();
    }

    /// Have this happen just before the first request with this method whose path contains this text is answered.
    pub(crate) fn before(&self, method: &str, path: &str, hook: impl FnOnce(&mut State) + Send + 'static) {
        self.state().hooks.push((method.to_owned(), path.to_owned(), Box::new(hook)));
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    pub(crate) fn forget_requests(&self) {
        self.state().log.clear();
    }

    /// What was sent to change something: neither reads nor dry runs nor questions about permissions.
    pub(crate) fn writes(&self) -> Vec<String> {
        let changes = |request: &Request| {
            request.method != "GET"
                && !request.path.contains("dryRun=All")
                && request.json()["dryRun"] != json!(["All"])
                && !request.path.contains("/authorization.k8s.io/")
                && !request.path.contains("/authentication.k8s.io/")
        };
        let requests = self.requests().into_iter().filter(changes);
        requests
            .map(|request| format!("{} {}", request.method, request.path.split('?').next().unwrap_or_default()))
            .collect()
    }

    /// The log, the rules, then the answer.
    pub(crate) fn receive(self: &Arc<Self>, head: &http::request::Parts, body: Bytes) -> Verdict {
        let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let header = |name: &str| {
            let values = head.headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect::<Vec<_>>()
        };
        let credentials = header("authorization").pop();
        let identity: Vec<(String, String)> =
            credentials.iter().map(|value| ("authorization".to_owned(), value.clone())).collect();
        let mut state = self.state();
        let request =
            Request { method: head.method.to_string(), path, body, authorization: credentials.is_some(), identity };
        state.log.push(request.clone());
        let is_hooked = |(method, part, _): &(String, String, Hook)| {
            *method == request.method && request.path.contains(part.as_str())
        };
        if let Some(index) = state.hooks.iter().position(is_hooked) {
            let (.., hook) = state.hooks.remove(index);
            hook(&mut state);
        }
        let action = state.rules.iter_mut().find_map(|rule| rule.take(&request.method, &request.path, ""));
        let content_type = header("content-type").pop().unwrap_or_default();
        let impersonated = header("impersonate-user").pop().map(|name| User {
            name,
            groups: header("impersonate-group").into_iter().chain(["system:authenticated".to_owned()]).collect(),
        });
        let mut answer = || {
            let user = match state.authenticate(credentials.as_deref()) {
                Some(admin)
                    if impersonated.is_some()
                        && state.allows(&admin, &rbac::Attributes::of("impersonate", "users")) =>
                {
                    impersonated.clone()
                }
                user => user,
            };
            let Some(user) = user else {
                return Answer::refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized", &Value::Null);
            };
            state.answer(&user, &head.method, &request, &content_type).unwrap_or_else(|refusal| refusal)
        };
        match action.unwrap_or(Action::Pass) {
            Action::Answer { status, body } => Verdict::Answer(Answer::json(status, &body)),
            Action::Text { status, text } => Verdict::Answer(Answer { status, body: text.into_bytes() }),
            Action::Close => Verdict::Close,
            Action::Refuse => Verdict::Refuse,
            // kube's body has one piece, so it cannot break off: a proxy in front of a real API server has that.
            Action::CutAnswer => {
                let mut half = answer();
                half.body.truncate(half.body.len() / 2);
                Verdict::Answer(half)
            }
            Action::LoseAnswer => {
                answer();
                Verdict::Close
            }
            Action::Endless => Verdict::Endless,
            Action::Hang => Verdict::Hang,
            Action::Delay(duration) => Verdict::Wait(duration),
            Action::Pass => Verdict::Answer(answer()),
        }
    }

    /// The answer to a request that waited.
    pub(crate) fn answer_late(self: &Arc<Self>, head: &http::request::Parts, body: Bytes) -> Answer {
        let rules = std::mem::take(&mut self.state().rules);
        let verdict = self.receive(head, body);
        let mut state = self.state();
        state.rules = rules;
        // It is one request, and was noted when it came.
        state.log.pop();
        let Verdict::Answer(answer) = verdict else { unreachable!("there was no rule") };
        answer
    }
}

impl State {
    pub(crate) fn now(&self) -> Timestamp {
        clock::now() + self.clock
    }

    /// Moves everything that has an end: the tokens, and what is noted of them.
    pub(crate) fn move_ends(&mut self, by: SignedDuration) {
        self.tokens.values_mut().filter_map(|issued| issued.expires.as_mut()).for_each(|expires| *expires += by);
        self.remembered.clear();
        for object in self.objects.values_mut() {
            if let Some(noted) = object.pointer_mut("/metadata/annotations/prom-federate.io~1expires")
                && let Some(expires) = noted.as_str().and_then(|text| text.parse::<Timestamp>().ok())
            {
                *noted = json!((expires + by).to_string());
            }
        }
    }

    /// Stores an object as `manager` would write it; what the path says is filled in.
    pub(crate) fn put(&mut self, path: &str, fields: Value, manager: &str) {
        let target = Target::parse(path).expect("a path");
        let mut manifest = fields;
        manifest["metadata"]["name"] = json!(target.name);
        self.apply(&target, &manifest, manager, false)
            .unwrap_or_else(|answer| panic!("{}", String::from_utf8_lossy(&answer.body)));
    }

    pub(crate) fn put_node(&mut self, name: &str, is_ready: bool) {
        let status = json!({
            "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "Unknown" } }],
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
        });
        self.put(&format!("/api/v1/nodes/{name}"), json!({ "status": status }), "kubelet");
    }

    /// Has a user with a token of this name and these rights.
    pub(crate) fn grant(&mut self, name: &str, rules: &[Value]) {
        self.users.insert(name.to_owned(), User::new(name, &[]));
        self.put(&format!("{RBAC}/clusterroles/{name}"), json!({ "rules": rules }), "kubectl");
        let binding = json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        });
        self.put(&format!("{RBAC}/clusterrolebindings/{name}"), binding, "kubectl");
    }

    /// Takes an object away, and what is in it.
    pub(crate) fn remove(&mut self, path: &str) {
        let inside = format!("{path}/");
        let namespace = path.strip_prefix("/api/v1/namespaces/").map(|name| format!("/namespaces/{name}/"));
        let goes = |one: &String| {
            one == path
                || one.starts_with(&inside)
                || namespace.as_ref().is_some_and(|inside| one.contains(inside.as_str()))
        };
        self.objects.retain(|one, _| !goes(one));
        self.owned.retain(|(one, _), _| !goes(one));
    }

    pub(crate) fn allows(&self, user: &User, attributes: &rbac::Attributes) -> bool {
        rbac::rules_of(user, &self.objects).iter().any(|(namespace, rule)| {
            namespace.as_ref().is_none_or(|one| *one == attributes.namespace) && attributes.is_granted_by(rule)
        })
    }

    fn answer(
        &mut self,
        user: &User,
        method: &Method,
        request: &Request,
        content_type: &str,
    ) -> Result<Answer, Answer> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect();
        if let Some(answer) = self.discovery(path) {
            return Ok(answer);
        }
        let Some(target) = Target::parse(path) else {
            let attributes = rbac::Attributes { verb: "get".into(), url: path.to_owned(), ..Default::default() };
            if !self.allows(user, &attributes) {
                let message = format!("forbidden: User \"{}\" cannot get path \"{path}\"", user.name);
                return Err(Answer::refusal(StatusCode::FORBIDDEN, "Forbidden", &message, &json!({})));
            }
            return match self.pages.get(path) {
                Some((status, body)) => Ok(Answer { status: *status, body: body.clone().into_bytes() }),
                None => Err(Answer { status: 404, body: b"404 page not found\n".to_vec() }),
            };
        };
        if target.group == "authorization.k8s.io" || target.group == "authentication.k8s.io" {
            return Ok(self.review(user, &target, &request.json()));
        }
        if target.kind().is_none() || (target.root == ADMISSION && self.lacks.contains(&Lack::Policies)) {
            return Err(Answer { status: 404, body: b"404 page not found\n".to_vec() });
        }
        if target.subresource.as_deref() == Some("proxy") {
            return self.proxied(user, &target);
        }
        let body = request.json();
        match (method.as_str(), &target.name, target.subresource.as_deref()) {
            ("GET", Some(_), None) => {
                self.authorize(user, &target, "get")?;
                let object = self.objects.get(&target.path()).ok_or_else(|| target.not_found())?;
                Ok(Answer::json(200, object))
            }
            ("GET", None, None) => {
                self.authorize(user, &target, "list")?;
                Ok(self.list(&target, &query))
            }
            ("PATCH", Some(_), None) if content_type.contains("apply-patch") => {
                self.authorize(user, &target, "patch")?;
                let exists = self.objects.contains_key(&target.path());
                if !exists {
                    self.authorize(user, &target, "create")?;
                }
                self.no_escalation(user, &target, &body)?;
                let manager = query.get("fieldManager").map(String::as_str).unwrap_or_default();
                let object = self.apply(&target, &body, manager, query.contains_key("dryRun"))?;
                Ok(Answer::json(if exists { 200 } else { 201 }, &object))
            }
            ("PATCH", Some(_), None) => {
                self.authorize(user, &target, "patch")?;
                let count = self.count();
                let object = self.objects.get_mut(&target.path()).ok_or_else(|| target.not_found())?;
                merge(object, &body);
                object["metadata"]["resourceVersion"] = json!(count.to_string());
                Ok(Answer::json(200, object))
            }
            ("DELETE", Some(_), None) => {
                self.authorize(user, &target, "delete")?;
                self.delete(&target, &body)
            }
            ("POST", Some(_), Some("token")) => {
                if self.lacks.contains(&Lack::TokenRequest) {
                    return Err(Answer::refusal(
                        StatusCode::NOT_FOUND,
                        "NotFound",
                        "the server could not find the requested resource",
                        &json!({}),
                    ));
                }
                self.authorize(user, &target, "create")?;
                self.issue(user, &target, &body)
            }
            _ => Ok(Answer { status: 501, body: format!("the fake has no {method} {path}").into_bytes() }),
        }
    }

    fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}
