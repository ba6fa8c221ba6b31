//! Keeps the rules of a link: every call that a component of this host makes through one passes here
//! before anything leaves, whatever road it will take.

mod answers;
mod operands;
mod rate;
mod sql;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Uri};
use lattice_codec::Path;
use lattice_core::grant::{self, Grants, Verdict};
use lattice_core::rules::{
    self, Answer, Effect, Function, LinkRules, Rule, matches_name, matches_prefix, matches_subject,
};
use lattice_core::{Link, reply::message_chain};
use lattice_runtime::{InvokeError, StreamingReply};

use operands::Operands;
use rate::{Bucket, Excess};

/// The rules of one link, ready to be kept.
#[derive(Debug)]
pub(crate) struct LinkGuard {
    /// The link in words.
    link: String,
    rules: LinkRules,
    to: Grants,
    /// A rule that this host cannot keep, and why; nothing passes then.
    broken: Option<(String, String)>,
    /// Kept when other rules of the link change, lest that fill it again.
    bucket: Option<Arc<Bucket>>,
}

impl LinkGuard {
    /// The gate of a link; none for a link without rules. What the gate that the link had `before` has
    /// counted still counts where the rate is the same.
    pub(crate) fn of(link: &Link, before: Option<&Self>) -> Option<Arc<Self>> {
        if link.rules.is_empty() {
            return None;
        }
        let rules = link.rules.clone();
        // Records are written by others as well, so that what is checked when a link is put is
        // checked again.
        let checked = rules.check(&link.wit_namespace, &link.wit_package, &link.interfaces);
        let broken = checked.err();
        let to = Grants::of(rules.to.iter().map(String::as_str));
        Some(Arc::new(Self {
            link: format!(
                "{} -> {}:{} ({})",
                link.source_id, link.wit_namespace, link.wit_package, link.name
            ),
            broken: broken.map(|error| (error.rule().to_owned(), message_chain(&error))),
            to: to.unwrap_or_default(),
            bucket: rules.rate.map(|rate| {
                let counting = before.and_then(|before| before.bucket.as_ref());
                match counting.filter(|bucket| bucket.rate() == rate) {
                    Some(counting) => Arc::clone(counting),
                    None => Arc::new(Bucket::new(rate)),
                }
            }),
            rules,
        }))
    }

    /// Lets a call through, or says which rule refuses it and what would let it through.
    pub(crate) fn check(
        &self,
        instance: &str,
        function: &str,
        params: &Bytes,
    ) -> Result<(), InvokeError> {
        self.check_again(instance, function, params)?;
        self.count_call(Asked { instance, function }, params)
    }

    /// The same as [`LinkGuard::check`] for a call that was let through in another form, which nobody
    /// serves. It counts once.
    pub(crate) fn check_again(
        &self,
        instance: &str,
        function: &str,
        params: &Bytes,
    ) -> Result<(), InvokeError> {
        let asked = Asked { instance, function };
        self.refuse_broken(asked)?;
        let known = rules::function(instance, function);
        self.check_function(asked, known)?;
        if !self.rules.to.is_empty() {
            let why = "where it leads does not show; requests of `wasi:http/outgoing-handler` are let \
                       through by their address";
            return Err(self.denied(Rule::To, asked, why));
        }
        let looks = [Rule::ReadOnly, Rule::Within, Rule::Prefix, Rule::Subject];
        if let Some(rule) = looks.into_iter().find(|rule| self.rules.has(*rule)) {
            let Some(known) = known else {
                let why = "this host does not know what the function does";
                return Err(self.denied(rule, asked, why));
            };
            self.check_effect(asked, known)?;
            let operands = self.operands(rule, asked, known, params)?;
            self.check_operands(asked, &operands)?;
        }
        Ok(())
    }

    /// The same as [`LinkGuard::check`] for a call that the host makes for itself, to learn in which form the
    /// other side takes those of the component. No rule is about it.
    pub(crate) fn check_form(&self, instance: &str, function: &str) -> Result<(), InvokeError> {
        self.refuse_broken(Asked { instance, function })
    }

    /// The same as [`LinkGuard::check`] for an HTTP request.
    pub(crate) fn check_http(&self, method: &Method, uri: &Uri) -> Result<(), InvokeError> {
        let asked = Asked {
            instance: "wasi:http/outgoing-handler",
            function: method.as_str(),
        };
        self.refuse_broken(asked)?;
        if self.rules.read_only && !method.is_safe() {
            return Err(self.changes(asked));
        }
        if !self.rules.to.is_empty() && self.to.judge(method, uri) == Verdict::Denied {
            let wanted = grant::wanted(method, uri);
            let why = format_args!("`--to '{}'` would let it through", Shown(&wanted));
            return Err(self.denied(Rule::To, asked, why));
        }
        self.count(asked, 1)
    }

    /// An answer without what the rules hide.
    pub(crate) fn narrow(
        &self,
        instance: &str,
        function: &str,
        reply: Bytes,
    ) -> Result<Bytes, InvokeError> {
        if self.rules.prefix.is_empty() {
            return Ok(reply);
        }
        match rules::function(instance, function).map(|known| known.answer) {
            Some(Answer::Keys) => answers::keys(&self.rules.prefix, reply),
            Some(Answer::Jobs) => answers::jobs(&self.rules.prefix, reply),
            // A stream that has ended already stands in the answer as a list.
            Some(Answer::Names) => answers::whole_names(&self.rules.prefix, reply),
            Some(Answer::Plain) | None => Ok(reply),
        }
    }

    /// The same for an answer that goes on in streams, the first of which is on the first path.
    pub(crate) fn narrow_streams(
        &self,
        instance: &str,
        function: &str,
        results: &[Path],
        reply: StreamingReply,
    ) -> Result<StreamingReply, InvokeError> {
        let known = rules::function(instance, function);
        let has_names = known.is_some_and(|known| known.answer == Answer::Names);
        if self.rules.prefix.is_empty() || !has_names {
            return Ok(reply);
        }
        answers::names(&self.rules.prefix, results.first(), reply)
    }

    fn refuse_broken(&self, asked: Asked<'_>) -> Result<(), InvokeError> {
        match &self.broken {
            Some((rule, why)) => Err(self.denied_by(rule.clone(), asked, why)),
            None => Ok(()),
        }
    }

    fn operands(
        &self,
        rule: Rule,
        asked: Asked<'_>,
        known: &Function,
        params: &Bytes,
    ) -> Result<Operands, InvokeError> {
        Operands::read(known.params, params.clone()).map_err(|error| {
            let why = format_args!("its parameters cannot be read: {error}");
            self.denied(rule, asked, why)
        })
    }

    fn check_function(
        &self,
        asked: Asked<'_>,
        known: Option<&Function>,
    ) -> Result<(), InvokeError> {
        let allow = &self.rules.allow;
        let is_it = |name: &String| {
            name == asked.function || known.is_some_and(|known| known.is_called(name))
        };
        if allow.is_empty() || allow.iter().any(is_it) {
            return Ok(());
        }
        let why = format_args!("`--allow {}` would let it through", Shown(asked.function));
        Err(self.denied(Rule::Allow, asked, why))
    }

    fn check_effect(&self, asked: Asked<'_>, known: &Function) -> Result<(), InvokeError> {
        if self.rules.read_only && known.effect == Effect::Writes {
            return Err(self.changes(asked));
        }
        if known.whole && !self.rules.prefix.is_empty() {
            let why = "it is about all that is there, whatever its name";
            return Err(self.denied(Rule::Prefix, asked, why));
        }
        Ok(())
    }

    fn check_operands(&self, asked: Asked<'_>, operands: &Operands) -> Result<(), InvokeError> {
        let LinkRules {
            within,
            prefix,
            subject,
            ..
        } = &self.rules;
        self.all(asked, Rule::Within, within, &operands.within, matches_name)?;
        self.all(asked, Rule::Prefix, prefix, &operands.keys, matches_prefix)?;
        self.all(
            asked,
            Rule::Subject,
            subject,
            &operands.subjects,
            matches_subject,
        )?;
        if self.rules.read_only
            && let Some(statement) = &operands.statement
            && !sql::only_reads(statement)
        {
            let why = "the statement may change something; one that is a single `SELECT`, without \
                       words such as `INTO` or `UPDATE`, is let through";
            return Err(self.denied(Rule::ReadOnly, asked, why));
        }
        Ok(())
    }

    /// Checks each name that a call has against a rule, if the link has it.
    fn all(
        &self,
        asked: Asked<'_>,
        rule: Rule,
        items: &[String],
        names: &[String],
        matches: fn(&[String], &str) -> bool,
    ) -> Result<(), InvokeError> {
        if items.is_empty() {
            return Ok(());
        }
        let Some(name) = names.iter().find(|name| !matches(items, name)) else {
            return Ok(());
        };
        let end = name.char_indices().nth(SHOWN).map(|(at, _)| at);
        // The beginning of a long name lets it through as well, where the rule is about beginnings.
        let grant = match end {
            Some(end) if rule == Rule::Prefix => &name[..end],
            _ => name.as_str(),
        };
        let (name, grant) = (Shown(name), Shown(grant));
        let why =
            format_args!("`{name}` is not covered; `--{rule} '{grant}'` would let it through");
        Err(self.denied(rule, asked, why))
    }

    /// Counts a call against the rate: as one, or as many as the things that a batch is about.
    fn count_call(&self, asked: Asked<'_>, params: &Bytes) -> Result<(), InvokeError> {
        if self.bucket.is_none() {
            return Ok(());
        }
        let known = rules::function(asked.instance, asked.function);
        let batch = match known.filter(|known| known.is_batch()) {
            Some(known) => self.operands(Rule::Rate, asked, known, params)?.batch,
            None => None,
        };
        self.count(asked, batch.map_or(1, |count| count.max(1)))
    }

    fn count(&self, asked: Asked<'_>, count: u32) -> Result<(), InvokeError> {
        let Some(bucket) = &self.bucket else {
            return Ok(());
        };
        let rate = bucket.rate();
        let pause = match bucket.take(count) {
            Ok(()) => return Ok(()),
            Err(Excess::For(pause)) => pause,
            Err(Excess::Ever) => {
                let why = format_args!(
                    "it is a batch of {count}, and `{rate}` lets {} through at once; smaller batches, \
                     or `--rate` with a number of {count} or more, would be let through",
                    rate.count
                );
                return Err(self.denied(Rule::Rate, asked, why));
            }
        };
        Err(InvokeError::Limited {
            rate: rate.to_string(),
            link: self.link.clone(),
            function: asked.to_string(),
            // A caller that comes back a moment too early would be refused again.
            retry_after_ms: u64::try_from(pause.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
        })
    }

    fn changes(&self, asked: Asked<'_>) -> InvokeError {
        let why = "it may change something; a link without `--read-only` would let it through";
        self.denied(Rule::ReadOnly, asked, why)
    }

    fn denied(&self, rule: Rule, asked: Asked<'_>, why: impl fmt::Display) -> InvokeError {
        self.denied_by(rule.to_string(), asked, &why)
    }

    fn denied_by(&self, rule: String, asked: Asked<'_>, why: &dyn fmt::Display) -> InvokeError {
        InvokeError::Denied {
            rule,
            link: self.link.clone(),
            function: asked.to_string(),
            why: why.to_string(),
        }
    }
}

/// A function as a component calls it.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    instance: &'a str,
    function: &'a str,
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.instance.is_empty() {
            write!(f, "{}.", self.instance)?;
        }
        f.write_str(self.function)
    }
}

/// A text of a guest, as far as it may stand in an error.
struct Shown<'a>(&'a str);

/// The longest part of a guest's text that is shown.
const SHOWN: usize = 120;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(SHOWN) {
            write!(f, "{}", c.escape_debug())?;
        }
        if chars.next().is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
