//! The sink for events of stages; the caller decides how to show them.

use crate::model::report::{
    ObjectReport,
    event::{Event, Why},
};

/// The sink for events.
#[derive(Clone, Copy)]
pub struct Events<'a> {
    sink: &'a dyn Fn(Event),
    only_warnings: bool,
}

impl<'a> Events<'a> {
    pub fn new(sink: &'a dyn Fn(Event)) -> Self {
        Self { sink, only_warnings: false }
    }

    /// Shows only warnings, for concurrent work on several clusters.
    #[must_use]
    pub fn only_warnings(self) -> Self {
        Self { only_warnings: true, ..self }
    }

    pub fn report(&self, event: Event) {
        if !self.only_warnings || event.is_warning() {
            (self.sink)(event);
        }
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
