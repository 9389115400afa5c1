//! What limits an account, its fence and its rights, as far as the token in use can see: for a watch that proves it again
//! and again.

use super::checklist::{FIND_BINDING, TokenFacts, dangerous, of_the_token_in_use, surplus};
use crate::{
    error::{Error, Reason, Result},
    model::{account::fence, store::record::Record},
};
use jiff::Timestamp;

/// How many surplus rights an error names, and how much of each: a server sent them.
const RIGHTS_SHOWN: usize = 8;
const RIGHT_LENGTH: usize = 120;

/// Whether a limit holds. An error is not in doubt: what cannot be asked is unknown, neither holding nor broken.
#[derive(Clone, Debug)]
pub enum Limit {
    Holds,
    Broken(Error),
    Unknown(Error),
}

/// The same in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitState {
    Holds,
    Broken,
    Unknown,
}

impl Limit {
    pub fn state(&self) -> LimitState {
        match self {
            Self::Holds => LimitState::Holds,
            Self::Broken(_) => LimitState::Broken,
            Self::Unknown(_) => LimitState::Unknown,
        }
    }

    /// None if it is unknown.
    pub fn holds(&self) -> Option<bool> {
        match self {
            Self::Holds => Some(true),
            Self::Broken(_) => Some(false),
            Self::Unknown(_) => None,
        }
    }

    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Holds => None,
            Self::Broken(error) | Self::Unknown(error) => Some(error),
        }
    }
}

/// The state of the fence, if there is one, and of the rights.
pub type LimitStates = (Option<LimitState>, LimitState);

/// The limits of one account.
#[derive(Clone, Debug)]
pub struct AccountLimits {
    /// The token reads a page of its jobs, and the fence refuses every other request. None without a fence, and where
    /// RBAC refuses everything that the fence would.
    pub fence: Option<Limit>,
    /// The account has the rights that its jobs need and no others.
    pub rights: Limit,
}

impl AccountLimits {
    /// The verdict on what the token showed, or on why it showed nothing.
    pub fn new(facts: &Result<TokenFacts>, record: &Record) -> Self {
        let has_fence = record.fenced && fence::is_asked(&record.routed_jobs());
        let (fence, rights) = match facts {
            Ok(facts) => (fence_of(facts), rights_of(facts)),
            Err(error) => (Limit::Unknown(error.clone()), Limit::Unknown(error.clone())),
        };
        Self { fence: has_fence.then_some(fence), rights }
    }

    pub fn states(&self) -> LimitStates {
        (self.fence.as_ref().map(Limit::state), self.rights.state())
    }

    /// Whether one of them is known not to hold.
    pub fn are_broken(&self) -> bool {
        let (fence, rights) = self.states();
        fence == Some(LimitState::Broken) || rights == LimitState::Broken
    }

    /// Whether one of them is unknown.
    pub fn are_in_doubt(&self) -> bool {
        let (fence, rights) = self.states();
        fence == Some(LimitState::Unknown) || rights == LimitState::Unknown
    }
}

/// Why the token shows nothing; its page too, without which a refusal proves nothing.
fn obstacle(facts: &TokenFacts) -> Option<&Error> {
    facts.reached.as_ref().err().or_else(|| facts.alive.as_ref()?.as_ref().err())
}

fn fence_of(facts: &TokenFacts) -> Limit {
    let unread = || match facts.pages.as_ref()? {
        Err(error) => Some(error),
        // A request that is refused is refused, whether or not a target answers.
        Ok(_) if matches!(facts.refused, Some(Ok(_))) => None,
        Ok(proof) => proof.away.first().filter(|_| proof.pages.is_empty()).map(|away| &away.error),
    };
    match (obstacle(facts).or_else(unread), &facts.refused) {
        (None, Some(Ok(_))) => Limit::Holds,
        (None, Some(Err(error))) if error.reason == Reason::FenceNotEnforced => {
            Limit::Broken(of_the_token_in_use(error))
        }
        (Some(error), _) | (None, Some(Err(error))) => Limit::Unknown(of_the_token_in_use(error)),
        (None, None) => Limit::Unknown(Error::new(Reason::ProofFailed, "the fence was not asked")),
    }
}

fn rights_of(facts: &TokenFacts) -> Limit {
    let unknown = |error: &Error| Limit::Unknown(of_the_token_in_use(error));
    if let Some(error) = obstacle(facts) {
        return unknown(error);
    }
    let (Some(dangers), Some(excess)) = (&facts.dangers, &facts.excess) else {
        return unknown(&Error::new(Reason::ProofFailed, "the rights of the token were not asked"));
    };
    let mut beyond = Vec::new();
    let granted: Vec<String> = dangers.iter().flatten().map(ToString::to_string).collect();
    beyond.extend((!granted.is_empty()).then(|| dangerous(&shown(&granted))));
    let granted = excess.iter().flatten().cloned().collect::<Vec<String>>();
    beyond.extend((!granted.is_empty()).then(|| surplus(&shown(&granted))));
    if !beyond.is_empty() {
        return Limit::Broken(Error::new(Reason::CheckFailed, beyond.join(", and ")).hint(FIND_BINDING));
    }
    dangers.as_ref().err().or(excess.as_ref().err()).map_or(Limit::Holds, unknown)
}

fn shown(rights: &[String]) -> String {
    let mut shown: Vec<String> =
        rights.iter().take(RIGHTS_SHOWN).map(|right| right.chars().take(RIGHT_LENGTH).collect()).collect();
    shown.extend((rights.len() > RIGHTS_SHOWN).then(|| format!("{} more", rights.len() - RIGHTS_SHOWN)));
    shown.join("; ")
}

/// What a watch has seen of the limits of one account.
#[derive(Clone, Debug, Default)]
pub struct LimitsHistory {
    last: Option<AccountLimits>,
    told: Option<(LimitStates, String)>,
    /// When the fence and the rights were last known to hold or not to hold.
    fence_known: Option<Timestamp>,
    rights_known: Option<Timestamp>,
}

impl LimitsHistory {
    /// Whether this is to be told: it differs from what was told before.
    ///
    /// - A join has proven the limits, so that they hold is no news at first.
    /// - One proof without an answer is none: a rotation may have replaced the token meanwhile. Two in a row are.
    /// - The words of an error about the fence may change each time. Those about rights name them, so that a change is news.
    pub fn saw(&mut self, limits: AccountLimits, now: Timestamp) -> bool {
        let was_in_doubt = self.last.as_ref().is_some_and(AccountLimits::are_in_doubt);
        let is_sure = limits.are_broken() || !limits.are_in_doubt() || was_in_doubt;
        if limits.fence.as_ref().and_then(Limit::holds).is_some() {
            self.fence_known = Some(now);
        }
        if limits.rights.holds().is_some() {
            self.rights_known = Some(now);
        }
        let wide = match &limits.rights {
            Limit::Broken(error) => error.to_string(),
            Limit::Holds | Limit::Unknown(_) => String::new(),
        };
        let saying = (limits.states(), wide);
        let is_news = match &self.told {
            Some(told) => *told != saying,
            None => limits.are_broken() || limits.are_in_doubt(),
        };
        if is_sure {
            self.told = Some(saying);
        }
        self.last = Some(limits);
        is_sure && is_news
    }

    /// The record or its destination cannot be read, which is told otherwise: what was seen is not known any more.
    pub fn lost(&mut self, why: &Error) {
        if let Some(last) = &mut self.last {
            last.rights = Limit::Unknown(why.clone());
            last.fence = last.fence.take().map(|_| Limit::Unknown(why.clone()));
        }
    }

    /// What was seen last.
    pub fn last(&self) -> Option<&AccountLimits> {
        self.last.as_ref()
    }

    pub fn states(&self) -> Option<LimitStates> {
        self.last().map(AccountLimits::states)
    }

    pub fn fence_known(&self) -> Option<Timestamp> {
        self.fence_known
    }

    pub fn rights_known(&self) -> Option<Timestamp> {
        self.rights_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{Access, Origin},
        job::Job,
        report::{ProofReport, UnreachableJob, checklist::dangers, status::tests::record},
    };
    use std::time::Duration;

    fn error(reason: Reason) -> Error {
        Error::new(reason, "page answers 200 to the new token")
    }

    fn facts() -> TokenFacts {
        let access = Access {
            url: "https://10.0.0.5:6443".parse().unwrap(),
            origin: Origin::Record,
            ca: None,
            tls_server_name: None,
            proxy: None,
            kubelet_ca: None,
        };
        let pages = ProofReport { nodes: 2, ..ProofReport::default() };
        TokenFacts {
            access,
            reached: Ok(String::new()),
            alive: Some(Ok(())),
            pages: Some(Ok(pages)),
            refused: Some(Ok(8)),
            dangers: Some(Ok(Vec::new())),
            excess: Some(Ok(Vec::new())),
        }
    }

    fn verdict(change: impl Fn(&mut TokenFacts)) -> LimitStates {
        let mut facts = facts();
        change(&mut facts);
        AccountLimits::new(&Ok(facts), &record("east")).states()
    }

    #[test]
    fn only_what_was_asked_and_answered_is_known() {
        let [holds, broken, unknown] = [LimitState::Holds, LimitState::Broken, LimitState::Unknown];
        assert_eq!(verdict(|_| ()), (Some(holds), holds));
        for reason in [Reason::Timeout, Reason::ConnectionRefused] {
            let silent = verdict(|facts| {
                facts.reached = Err(error(reason));
                (facts.alive, facts.pages, facts.refused) = (None, None, None);
                (facts.dangers, facts.excess) = (None, None);
            });
            assert_eq!(silent, (Some(unknown), unknown), "{reason}");
            assert_eq!(verdict(|facts| facts.refused = Some(Err(error(reason)))), (Some(unknown), holds));
            assert_eq!(verdict(|facts| facts.dangers = Some(Err(error(reason)))), (Some(holds), unknown));
            assert_eq!(verdict(|facts| facts.excess = Some(Err(error(reason)))), (Some(holds), unknown));
        }
        let not_enforced = |facts: &mut TokenFacts| facts.refused = Some(Err(error(Reason::FenceNotEnforced)));
        assert_eq!(verdict(not_enforced), (Some(broken), holds));
        // RBAC refused the request first.
        assert_eq!(verdict(|facts| facts.refused = Some(Err(error(Reason::ProofFailed)))), (Some(unknown), holds));
        // Something else answers everything with 404.
        let without_a_page = verdict(|facts| {
            not_enforced(facts);
            facts.pages = Some(Err(error(Reason::ProofFailed)));
        });
        assert_eq!(without_a_page, (Some(unknown), holds));
        // The same where no job is of nodes, whose targets may be away.
        let away = UnreachableJob { job: Job::Apiserver, error: error(Reason::TargetUnavailable) };
        let is_away = |facts: &mut TokenFacts| {
            facts.pages = Some(Ok(ProofReport { away: vec![away.clone()], ..ProofReport::default() }));
        };
        assert_eq!(verdict(is_away), (Some(holds), holds));
        let away_and_let_through = verdict(|facts| {
            is_away(facts);
            not_enforced(facts);
        });
        assert_eq!(away_and_let_through, (Some(unknown), holds));
        // A right that is seen is there, whatever could not be asked.
        let wide = verdict(|facts| {
            facts.dangers = Some(Ok(dangers()));
            facts.excess = Some(Err(error(Reason::Timeout)));
        });
        assert_eq!(wide, (Some(holds), broken));
        assert_eq!(verdict(|facts| facts.excess = Some(Ok(vec!["get pods".into()]))), (Some(holds), broken));
    }

    #[test]
    fn fence_that_no_request_reaches_is_neither_holding_nor_broken() {
        for change in [
            (|record: &mut Record| record.fenced = false) as fn(&mut Record),
            |record| record.route = "kubelet".parse().unwrap(),
            |record| record.jobs = "apiserver".parse().unwrap(),
        ] {
            let mut record = record("east");
            change(&mut record);
            assert!(AccountLimits::new(&Ok(facts()), &record).fence.is_none(), "{:?}", record.jobs);
        }
        let mut pinned = record("east");
        pinned.route = "pinned".parse().unwrap();
        assert!(AccountLimits::new(&Ok(facts()), &pinned).fence.is_some());
    }

    #[test]
    fn error_about_rights_names_them_within_limits() {
        let mut facts = facts();
        facts.dangers = Some(Ok(dangers()[..1].to_vec()));
        facts.excess = Some(Ok((0..10).map(|n| format!("get things-{n}{}", "x".repeat(n * 100))).collect()));
        let limits = AccountLimits::new(&Ok(facts), &record("east"));
        let told = limits.rights.error().unwrap().to_string();
        assert!(
            told.starts_with(
                "the account may get secrets, which join never grants, and the account may also get things-0; "
            ),
            "{told}"
        );
        assert!(told.ends_with("; 2 more, which the jobs do not need") && told.len() < 1300, "{told}");
    }

    #[test]
    fn only_changes_are_news_and_only_answers_move_the_time() {
        let now = Timestamp::UNIX_EPOCH;
        let holds = || AccountLimits { fence: Some(Limit::Holds), rights: Limit::Holds };
        let silent = |reason| AccountLimits {
            fence: Some(Limit::Unknown(error(reason))),
            rights: Limit::Unknown(error(reason)),
        };
        let wide =
            |what: &str| AccountLimits { rights: Limit::Broken(Error::new(Reason::CheckFailed, what)), ..holds() };
        let mut history = LimitsHistory::default();
        assert!(!history.saw(holds(), now), "a join has proven it");
        assert!(!history.saw(silent(Reason::Timeout), now + Duration::from_secs(1)), "once");
        assert!(history.saw(silent(Reason::Timeout), now + Duration::from_secs(2)));
        assert!(!history.saw(silent(Reason::ConnectionRefused), now + Duration::from_secs(3)));
        assert_eq!((history.fence_known(), history.rights_known()), (Some(now), Some(now)));
        let absent = (Some(LimitState::Unknown), LimitState::Unknown);
        assert_eq!(history.states(), Some(absent), "the metrics are absent at once");
        assert!(history.saw(holds(), now + Duration::from_secs(4)));
        assert_eq!(history.fence_known(), Some(now + Duration::from_secs(4)));
        assert!(history.saw(wide("get pods"), now));
        assert!(!history.saw(wide("get pods"), now));
        assert!(!history.saw(silent(Reason::Timeout), now), "once");
        assert!(!history.saw(wide("get pods"), now));
        assert!(history.saw(wide("get pods; get secrets"), now));
        assert!(history.saw(AccountLimits { fence: None, ..holds() }, now), "the record has no fence any more");
        let mut history = LimitsHistory::default();
        history.lost(&error(Reason::DestinationUnusable));
        assert_eq!(history.states(), None, "nothing was seen yet");
        assert!(!history.saw(holds(), now));
        history.lost(&error(Reason::DestinationUnusable));
        assert_eq!(history.states(), Some(absent));
        assert!(!history.saw(holds(), now), "it is as it was told");
        let mut at_first = LimitsHistory::default();
        assert!(!at_first.saw(silent(Reason::Timeout), now) && at_first.saw(silent(Reason::Timeout), now));
    }
}
