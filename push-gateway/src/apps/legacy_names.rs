//! Exports metrics a second time under the names of older gateways, so that their dashboards continue to work.
//!
//! Invariant: it only wraps the recorder; the code that records metrics does not know of it.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Label, Metadata, Recorder, SharedString,
    Unit,
};
use parking_lot::RwLock;

/// A recorder that forwards every metric, and repeats a metric with an older name under that name.
pub(crate) struct LegacyNames<R> {
    recorder: R,
    types: AppTypes,
}

/// The type of each app by its pattern. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AppTypes(Arc<RwLock<HashMap<String, &'static str>>>);

/// A metric with its copies.
struct Both<M>(M, Vec<M>);

impl AppTypes {
    /// Replaces the apps.
    pub(crate) fn set(&self, apps: impl Iterator<Item = (String, &'static str)>) {
        *self.0.write() = apps.collect();
    }

    /// The older name of an app's type.
    fn old_name(&self, app: &str) -> Option<&'static str> {
        old_type(self.0.read().get(app)?)
    }
}

impl<R: Recorder> LegacyNames<R> {
    /// Wraps `recorder`. Apps outside `types` have no older names.
    pub(crate) fn new(recorder: R, types: AppTypes) -> Self {
        Self { recorder, types }
    }

    /// The older names and labels of the metric `key`.
    fn old_keys(&self, key: &Key) -> Vec<Key> {
        let label = |name: &str| key.labels().find(|label| label.key() == name).map(|label| label.value().to_owned());
        let app = label("app").unwrap_or_default();
        let of_type = |suffix: &str, labels: Vec<Label>| {
            let old_type = label("type").and_then(|name| old_type(&name)).or_else(|| self.types.old_name(&app));
            old_type.map(|old_type| old_key(&format!("{old_type}_{suffix}"), labels))
        };
        let by_app = || Label::new("pushkin", app.clone());
        let code = || Label::new("code", label("code").unwrap_or_default());
        match key.name() {
            // The older metrics do not count other paths and methods.
            "push_requests_total" | "push_request_seconds" if ["404", "405"].contains(&code().value()) => Vec::new(),
            "push_requests_total" => {
                vec![old_key("notifications_received", vec![]), old_key("pushgateway_status_codes", vec![code()])]
            }
            "push_request_seconds" => vec![old_key("notify_time", vec![code()])],
            "push_requests_in_flight" => {
                vec![old_key("requests_in_flight", vec![Label::new("resource", "notify")])]
            }
            "push_deliveries_total" => {
                let mut keys = vec![old_key("notifications_devices_received", vec![])];
                if self.types.old_name(&app).is_some() {
                    keys.push(old_key("per_pushkin_type", vec![by_app()]));
                }
                if label("reason").as_deref() == Some("overloaded") {
                    keys.push(old_key("inflight_request_limit_drop", vec![by_app()]));
                }
                keys
            }
            "push_upstream_status_total" => of_type("status_codes", vec![by_app(), code()]).into_iter().collect(),
            "push_upstream_seconds" => of_type("request_time", vec![]).into_iter().collect(),
            "push_queue_seconds" => of_type("queue_time", vec![]).into_iter().filter(is_queued).collect(),
            "push_in_flight" => {
                let name = self.types.old_name(&app).map(|old_type| format!("active_{old_type}_requests"));
                name.map(|name| old_key(&name, vec![])).into_iter().collect()
            }
            "push_waiting" => {
                let name = self.types.old_name(&app).filter(|name| *name != "apns");
                name.map(|old_type| old_key(&format!("pending_{old_type}_requests"), vec![])).into_iter().collect()
            }
            "push_credential_expiry_seconds" => vec![old_key("client_cert_expiry", vec![by_app()])],
            _ => Vec::new(),
        }
    }
}

/// The older gateways have no queue for APNs.
fn is_queued(key: &Key) -> bool {
    !key.name().starts_with("sygnal_apns")
}

fn old_type(type_name: &str) -> Option<&'static str> {
    match type_name {
        "apns" => Some("apns"),
        "fcm" => Some("gcm"),
        "webpush" => Some("webpush"),
        _ => None,
    }
}

fn old_key(name: &str, labels: Vec<Label>) -> Key {
    Key::from_parts(format!("sygnal_{name}"), labels)
}

/// The older gateways' client library appends `_total` to the names of counters.
fn with_total(key: &Key) -> Key {
    Key::from_parts(format!("{}_total", key.name()), key.labels().cloned().collect::<Vec<_>>())
}

impl<R: Recorder> Recorder for LegacyNames<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.recorder.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.recorder.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.recorder.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let new = self.recorder.register_counter(key, metadata);
        let old = self.old_keys(key);
        let keys = old.iter().flat_map(|key| [key.clone(), with_total(key)]);
        let old: Vec<_> = keys.map(|key| self.recorder.register_counter(&key, metadata)).collect();
        if old.is_empty() { new } else { Counter::from_arc(Arc::new(Both(new, old))) }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let new = self.recorder.register_gauge(key, metadata);
        let old: Vec<_> = self.old_keys(key).iter().map(|key| self.recorder.register_gauge(key, metadata)).collect();
        if old.is_empty() { new } else { Gauge::from_arc(Arc::new(Both(new, old))) }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let new = self.recorder.register_histogram(key, metadata);
        let old: Vec<_> =
            self.old_keys(key).iter().map(|key| self.recorder.register_histogram(key, metadata)).collect();
        if old.is_empty() { new } else { Histogram::from_arc(Arc::new(Both(new, old))) }
    }
}

impl<M> Both<M> {
    fn each(&self, act: impl Fn(&M)) {
        act(&self.0);
        self.1.iter().for_each(act);
    }
}

impl CounterFn for Both<Counter> {
    fn increment(&self, value: u64) {
        self.each(|counter| counter.increment(value));
    }

    fn absolute(&self, value: u64) {
        self.each(|counter| counter.absolute(value));
    }
}

impl GaugeFn for Both<Gauge> {
    fn increment(&self, value: f64) {
        self.each(|gauge| gauge.increment(value));
    }

    fn decrement(&self, value: f64) {
        self.each(|gauge| gauge.decrement(value));
    }

    fn set(&self, value: f64) {
        self.each(|gauge| gauge.set(value));
    }
}

impl HistogramFn for Both<Histogram> {
    fn record(&self, value: f64) {
        self.each(|histogram| histogram.record(value));
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Key, Label, NoopRecorder};

    use super::{AppTypes, LegacyNames};

    /// The older names of `name{labels}`, with their labels.
    fn old(name: &'static str, labels: &[(&'static str, &'static str)]) -> Vec<String> {
        let types = AppTypes::default();
        types.set([("org.a".to_owned(), "apns"), ("org.f".to_owned(), "fcm")].into_iter());
        let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, *value)).collect();
        let keys = LegacyNames::new(NoopRecorder, types).old_keys(&Key::from_parts(name, labels));
        let text = |key: &Key| {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            format!("{} {}", key.name(), labels.join(" ")).trim_end().to_owned()
        };
        keys.iter().map(text).collect()
    }

    #[test]
    fn a_metric_with_an_older_name_is_exported_under_it() {
        let received = "sygnal_notifications_received";
        let devices = "sygnal_notifications_devices_received";
        for (name, labels, expected) in [
            (
                "push_requests_total",
                &[("code", "200")][..],
                &[received, "sygnal_pushgateway_status_codes code=200"][..],
            ),
            ("push_requests_total", &[("code", "404")], &[]),
            ("push_request_seconds", &[("code", "502")], &["sygnal_notify_time code=502"]),
            ("push_requests_in_flight", &[], &["sygnal_requests_in_flight resource=notify"]),
            (
                "push_deliveries_total",
                &[("app", "org.f"), ("type", "fcm"), ("outcome", "delivered"), ("reason", "")],
                &[devices, "sygnal_per_pushkin_type pushkin=org.f"],
            ),
            ("push_deliveries_total", &[("app", "unknown"), ("type", "unknown")], &[devices]),
            (
                "push_deliveries_total",
                &[("app", "org.a"), ("reason", "overloaded")],
                &[devices, "sygnal_per_pushkin_type pushkin=org.a", "sygnal_inflight_request_limit_drop pushkin=org.a"],
            ),
            (
                "push_upstream_status_total",
                &[("app", "org.a"), ("code", "410")],
                &["sygnal_apns_status_codes pushkin=org.a code=410"],
            ),
            (
                "push_upstream_status_total",
                &[("app", "org.f"), ("code", "200")],
                &["sygnal_gcm_status_codes pushkin=org.f code=200"],
            ),
            ("push_upstream_seconds", &[("app", "org.f"), ("type", "fcm")], &["sygnal_gcm_request_time"]),
            ("push_upstream_seconds", &[("app", "org.a"), ("type", "apns")], &["sygnal_apns_request_time"]),
            ("push_queue_seconds", &[("app", "org.f")], &["sygnal_gcm_queue_time"]),
            ("push_queue_seconds", &[("app", "org.a")], &[]),
            ("push_in_flight", &[("app", "org.a")], &["sygnal_active_apns_requests"]),
            ("push_in_flight", &[("app", "org.f")], &["sygnal_active_gcm_requests"]),
            ("push_waiting", &[("app", "org.f")], &["sygnal_pending_gcm_requests"]),
            ("push_waiting", &[("app", "org.a")], &[]),
            ("push_credential_expiry_seconds", &[("app", "org.a")], &["sygnal_client_cert_expiry pushkin=org.a"]),
            ("push_attempts_total", &[("app", "org.a")], &[]),
        ] {
            assert_eq!(old(name, labels), expected, "{name} {labels:?}");
        }
    }
}
