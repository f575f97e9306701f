//! The two text formats of metrics: OpenMetrics 1.0, and the older one of Prometheus for who asks for `text/plain` (`promtool check
//! metrics` reads no other). They differ in how counters are announced, in units, and in the mark of the end.

use std::fmt::Write as _;

use super::metrics::{ALL, Family, Kind};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus 0.0.4.
    Text,
}

impl Format {
    /// What the `Accept` headers ask for: the older format where `text/plain` is named and preferred, OpenMetrics otherwise.
    pub(crate) fn wanted<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let (mut open, mut text) = (None, None);
        for item in accept.flat_map(|header| header.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let noted = match kind {
                "application/openmetrics-text" => &mut open,
                "text/plain" => &mut text,
                _ => continue,
            };
            *noted = Some(quality.max(noted.unwrap_or(0.0)));
        }
        if text.unwrap_or(0.0) > open.unwrap_or(0.0) { Self::Text } else { Self::OpenMetrics }
    }

    /// The value of `Content-Type`.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Labels of a sample, written once and used for many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    text: String,
    names: Vec<&'static str>,
}

impl Labels {
    /// With one more; its value may hold anything.
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let Self { mut text, mut names } = self.clone();
        names.push(name);
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
        Self { text, names }
    }
}

/// Samples by family, as they come.
#[derive(Debug)]
pub(crate) struct Exposition {
    families: Vec<(&'static Family, String)>,
}

impl Exposition {
    /// Every family, without a sample.
    pub(crate) fn new() -> Self {
        Self { families: ALL.iter().map(|family| (*family, String::new())).collect() }
    }

    fn samples(&mut self, family: &Family) -> Option<&mut String> {
        self.families.iter_mut().find(|(known, _)| known.name == family.name).map(|(_, samples)| samples)
    }

    fn line(&mut self, family: &Family, suffix: &str, labels: &Labels, value: std::fmt::Arguments<'_>) {
        let Some(samples) = self.samples(family) else { return }; // a test holds all families against the list
        let own = labels.names.strip_suffix(&["le"]).unwrap_or(&labels.names);
        debug_assert_eq!(own, family.labels, "the labels of {}", family.name);
        // Writing to memory doesn't fail.
        let _ = writeln!(samples, "{}{suffix}{{{}}} {value}", family.name, labels.text);
    }

    /// A sample of a counter or of a gauge that counts.
    pub(crate) fn count(&mut self, family: &Family, labels: &Labels, value: u64) {
        self.line(family, family.suffix(), labels, format_args!("{value}"));
    }

    /// A sample of a gauge; what is no number is left out.
    pub(crate) fn gauge(&mut self, family: &Family, labels: &Labels, value: f64) {
        if value.is_finite() {
            self.line(family, family.suffix(), labels, format_args!("{value}"));
        }
    }

    /// A histogram of times. `counts` are those of each bucket by itself, one more than bounds.
    pub(crate) fn histogram(&mut self, family: &Family, labels: &Labels, bounds_ns: &[u64], counts: &[u64], sum_ns: u64) {
        let mut below = 0;
        for (bound, count) in bounds_ns.iter().zip(counts) {
            below += count;
            self.line(family, "_bucket", &labels.with("le", &bound_in_seconds(*bound)), format_args!("{below}"));
        }
        let all: u64 = counts.iter().sum();
        self.line(family, "_bucket", &labels.with("le", "+Inf"), format_args!("{all}"));
        self.line(family, "_count", labels, format_args!("{all}"));
        self.line(family, "_sum", labels, format_args!("{}", seconds(sum_ns)));
    }

    /// The whole text. Families stand in it whether they have samples or not.
    pub(crate) fn render(&self, format: Format) -> String {
        let mut text = String::new();
        for (family, samples) in &self.families {
            let name = match (format, family.kind) {
                (Format::Text, Kind::Counter) => format!("{}_total", family.name),
                _ => family.name.to_owned(),
            };
            let _ = writeln!(text, "# HELP {name} {}", family.help);
            let _ = writeln!(text, "# TYPE {name} {}", family.kind.as_str());
            if format == Format::OpenMetrics && !family.unit.is_empty() {
                let _ = writeln!(text, "# UNIT {name} {}", family.unit);
            }
            text.push_str(samples);
        }
        if format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

/// Nanoseconds as seconds.
#[allow(clippy::cast_precision_loss, reason = "to be looked at; the nearest double is near enough")]
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// A bound as OpenMetrics writes numbers: `1e-06`, `0.0005`, `1.0`.
fn bound_in_seconds(ns: u64) -> String {
    let value = seconds(ns);
    if value >= 1e-4 {
        return format!("{value:?}");
    }
    match format!("{value:e}").split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{DAEMON_UPTIME, FRAME_TO_RING, MESSAGES};
    use super::*;

    #[test]
    fn a_client_gets_the_format_that_it_asks_for_and_openmetrics_when_it_asks_for_none() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, wanted) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::OpenMetrics),
            ("*/*", Format::OpenMetrics),
            ("text/plain;q=0.5, application/openmetrics-text", Format::OpenMetrics),
            ("text/plain", Format::Text),
            ("text/plain; version=0.0.4; q=0.9, application/openmetrics-text; q=0.3", Format::Text),
        ] {
            assert_eq!(Format::wanted(std::iter::once(accept)), wanted, "{accept}");
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let labels = Labels::default().with("symbol", "a\\b\"c\nd").with("channel", "é");
        assert_eq!(labels.text, r#"symbol="a\\b\"c\nd",channel="é""#);
    }

    #[test]
    fn counters_histograms_and_units_are_written_as_each_format_wants_them() {
        let mut exposition = Exposition::new();
        let service = Labels::default().with("service", "datad.x");
        exposition.gauge(&DAEMON_UPTIME, &service, 1.5);
        exposition.gauge(&DAEMON_UPTIME, &service, f64::NAN);
        let labels = service.with("exchange", "x");
        exposition.count(&MESSAGES, &labels, 7);
        exposition.histogram(&FRAME_TO_RING, &labels, &[1_000, 50_000, 1_000_000_000], &[2, 0, 3, 1], 1_500_000_000);
        let open = exposition.render(Format::OpenMetrics);
        for lines in [
            "# TYPE dccd_messages counter\ndccd_messages_total{service=\"datad.x\",exchange=\"x\"} 7\n# HELP",
            "# TYPE dccd_daemon_uptime_seconds gauge\n# UNIT dccd_daemon_uptime_seconds seconds\ndccd_daemon_uptime_seconds{service=\"datad.x\"} 1.5\n# HELP",
            r#"dccd_frame_to_ring_seconds_bucket{service="datad.x",exchange="x",le="1e-06"} 2
dccd_frame_to_ring_seconds_bucket{service="datad.x",exchange="x",le="5e-05"} 2
dccd_frame_to_ring_seconds_bucket{service="datad.x",exchange="x",le="1.0"} 5
dccd_frame_to_ring_seconds_bucket{service="datad.x",exchange="x",le="+Inf"} 6
dccd_frame_to_ring_seconds_count{service="datad.x",exchange="x"} 6
dccd_frame_to_ring_seconds_sum{service="datad.x",exchange="x"} 1.5
"#,
        ] {
            assert!(open.contains(lines), "{open}");
        }
        assert!(open.ends_with("# EOF\n"));
        let text = exposition.render(Format::Text);
        assert!(text.contains("# TYPE dccd_messages_total counter\ndccd_messages_total{"), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }
}
