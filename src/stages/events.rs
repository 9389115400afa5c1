//! The sink for events of stages; the caller decides how to show them.

use crate::model::{
    report::{
        ObjectReport,
        event::{Event, Wait, Why},
    },
    text::names::ClusterName,
};
use std::time::Duration;

/// The sink for events.
#[derive(Clone, Copy)]
pub struct Events<'a> {
    sink: &'a dyn Fn(Event),
    shown: Shown<'a>,
}

#[derive(Clone, Copy)]
enum Shown<'a> {
    Everything,
    Warnings,
    /// Warnings, and every right of this cluster's account that changes.
    RightsOf(&'a ClusterName),
}

impl<'a> Events<'a> {
    pub fn new(sink: &'a dyn Fn(Event)) -> Self {
        Self { sink, shown: Shown::Everything }
    }

    /// Shows only warnings, for concurrent work on several clusters.
    #[must_use]
    pub fn only_warnings(self) -> Self {
        Self { shown: Shown::Warnings, ..self }
    }

    /// Shows warnings and changes of rights, for concurrent work on several clusters that grants nothing as a rule.
    #[must_use]
    pub fn rights_of<'b>(self, cluster: &'b ClusterName) -> Events<'b>
    where
        'a: 'b,
    {
        Events { sink: self.sink, shown: Shown::RightsOf(cluster) }
    }

    pub fn report(&self, event: Event) {
        match (self.shown, event) {
            (Shown::RightsOf(cluster), Event::Object { report, why }) if report.changes_rights() => {
                (self.sink)(Event::RightChanged { cluster: cluster.clone(), report, why });
            }
            (Shown::Everything, event) => (self.sink)(event),
            (_, event) if event.is_warning() => (self.sink)(event),
            _ => {}
        }
    }

    /// Reports what the run waits for from now on, and at most how long.
    pub fn waits(&self, wait: Wait, at_most: Option<Duration>) {
        self.report(Event::Waits(wait, at_most));
    }

    /// Reports a change of an object, and returns its report.
    pub(in crate::stages) fn object(&self, report: ObjectReport, why: Option<Why>) -> ObjectReport {
        self.report(Event::Object { report: report.clone(), why });
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn quiet_events_include_warnings() {
        let told = RefCell::new(Vec::new());
        let sink = |event: Event| told.borrow_mut().push(event.is_warning());
        for events in [Events::new(&sink), Events::new(&sink).only_warnings()] {
            events.report(Event::Undone(1));
            events.report(Event::NoWitness(crate::error::Error::usage("none")));
        }
        assert_eq!(*told.borrow(), [false, true, true]);
    }
}
