//! What the front door counts, and its text for Prometheus (text exposition format 0.0.4).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;

/// Every status that is counted by itself.
const STATUSES: &[u16] = &[200, 202, 400, 401, 404, 405, 408, 413, 415, 429, 503];
/// Upper bounds of the buckets of durations, µs.
const BUCKETS_US: &[u64] =
    &[500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    answers: [AtomicU64; STATUSES.len()],
    pub(crate) metrics_acknowledged: AtomicU64,
    pub(crate) metrics_not_written: AtomicU64,
    pub(crate) metrics_unknown: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    /// Requests to `/metrics` that have no answer yet.
    pub(crate) open: AtomicU64,
    /// Accepted requests by how long they took; not cumulative.
    took: [AtomicU64; BUCKETS_US.len() + 1],
    took_sum_us: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts something for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Lasting<'a>(&'a AtomicU64);

impl<'a> Lasting<'a> {
    pub(crate) fn begin(counter: &'a AtomicU64) -> Self {
        count(counter);
        Self(counter)
    }
}

impl Drop for Lasting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stats {
    pub(crate) fn answered(&self, status: StatusCode) {
        if let Some(at) = STATUSES.iter().position(|known| *known == status.as_u16()) {
            count(&self.answers[at]);
        }
    }

    pub(crate) fn accepted_after(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|most| took_us <= *most).unwrap_or(BUCKETS_US.len());
        count(&self.took[bucket]);
        self.took_sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    /// The text for Prometheus.
    pub(crate) fn prometheus(&self, ready: bool) -> String {
        let mut text = String::with_capacity(4_096);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        family(&mut text, "http_requests_total", "counter", "Answers, by status");
        for (status, counter) in STATUSES.iter().zip(&self.answers) {
            let _ = writeln!(text, "metricstream_ingest_http_requests_total{{code=\"{status}\"}} {}", read(counter));
        }
        family(
            &mut text,
            "metrics_total",
            "counter",
            "Metrics that were handed to the cluster, by what became of them",
        );
        for (outcome, counter) in [
            ("acknowledged", &self.metrics_acknowledged),
            ("not_written", &self.metrics_not_written),
            ("unknown", &self.metrics_unknown),
        ] {
            let _ = writeln!(text, "metricstream_ingest_metrics_total{{outcome=\"{outcome}\"}} {}", read(counter));
        }
        let single = [
            ("body_bytes_total", "counter", "Bytes of bodies that were read", read(&self.body_bytes)),
            ("connections", "gauge", "Connections that are open", read(&self.connections)),
            ("connections_total", "counter", "Connections that were opened", read(&self.connections_total)),
            (
                "connections_refused_total",
                "counter",
                "Connections that were refused: there were too many",
                read(&self.connections_refused),
            ),
            ("requests_open", "gauge", "Requests to /metrics that have no answer yet", read(&self.open)),
            ("ready", "gauge", "1 if the cluster would probably acknowledge now", u64::from(ready)),
        ];
        for (name, kind, help, value) in single {
            family(&mut text, name, kind, help);
            let _ = writeln!(text, "metricstream_ingest_{name} {value}");
        }
        self.durations(&mut text);
        text
    }

    fn durations(&self, text: &mut String) {
        let name = "accepted_duration_seconds";
        family(text, name, "histogram", "From the head of a request to its 202");
        let mut sum = 0;
        for (at, counter) in self.took.iter().enumerate() {
            sum += counter.load(Ordering::Relaxed);
            let most = BUCKETS_US.get(at).map_or_else(|| "+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            let _ = writeln!(text, "metricstream_ingest_{name}_bucket{{le=\"{most}\"}} {sum}");
        }
        let sum_s = self.took_sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "metricstream_ingest_{name}_sum {sum_s}\nmetricstream_ingest_{name}_count {sum}");
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP metricstream_ingest_{name} {help}.\n# TYPE metricstream_ingest_{name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count() {
        let stats = Stats::default();
        for us in [400, 500, 501, 20_000_000] {
            stats.accepted_after(Duration::from_micros(us));
        }
        let text = stats.prometheus(true);
        for line in [
            "metricstream_ingest_accepted_duration_seconds_bucket{le=\"0.0005\"} 2",
            "metricstream_ingest_accepted_duration_seconds_bucket{le=\"0.001\"} 3",
            "metricstream_ingest_accepted_duration_seconds_bucket{le=\"10\"} 3",
            "metricstream_ingest_accepted_duration_seconds_bucket{le=\"+Inf\"} 4",
            "metricstream_ingest_accepted_duration_seconds_count 4",
            "metricstream_ingest_accepted_duration_seconds_sum 20.001401",
            "metricstream_ingest_ready 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    /// The grammar of the exposition format: a sample follows HELP and TYPE of its family, its name is Prometheus' own
    /// form, a counter ends in `_total`, and no sample is there twice.
    #[test]
    fn the_text_is_what_prometheus_reads() {
        let stats = Stats::default();
        stats.answered(StatusCode::ACCEPTED);
        let text = stats.prometheus(false);
        let (mut family, mut kind, mut seen) = ("", "", std::collections::BTreeSet::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().expect("a name");
            } else if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, of) = typed.split_once(' ').expect("name and type");
                assert_eq!(name, family, "HELP and TYPE are of the same family");
                assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
                kind = of;
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("sample and value");
                value.parse::<f64>().unwrap_or_else(|_| panic!("{line}: no number"));
                let name = sample.split('{').next().expect("a name");
                let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line}: not of {family}"));
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
                match kind {
                    "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                    "counter" => assert!(suffix.is_empty() && name.ends_with("_total"), "{line}"),
                    _ => assert!(suffix.is_empty() && !name.ends_with("_total"), "{line}"),
                }
                assert!(seen.insert(sample), "{sample} is there twice");
            }
        }
        assert!(seen.contains("metricstream_ingest_http_requests_total{code=\"202\"}"));
    }
}
