//! One body of `POST /metrics`: read, checked and turned into records in one pass. Where the pass stands is noted as it
//! goes, so that an error names the metric and the field, also where it is not even JSON.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::client_id::short;
use crate::limits::{MetricLimits, NAME_MAX_BYTES, TIMESTAMP_MAX_MS, TIMESTAMP_MIN_MS};
use crate::log::Records;
use crate::refusal::Refusal;

/// What a metric counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows, until its source starts again.
    Counter,
    /// One observation of a distribution.
    Histogram,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Gauge, "gauge"), (Self::Counter, "counter"), (Self::Histogram, "histogram")];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
}

/// A value as it was written: whole numbers of 64 bits stay whole.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Float(f64),
    Signed(i64),
    Unsigned(u64),
}

impl Number {
    const fn is_negative(self) -> bool {
        match self {
            Self::Float(value) => value < 0.0,
            Self::Signed(value) => value < 0,
            Self::Unsigned(_) => false,
        }
    }
}

/// Reads a body. `received_ms` is the timestamp of metrics that have none.
///
/// # Errors
/// What is wrong with the first metric that is wrong; then no record is made of any.
pub(crate) fn parse(body: &[u8], limits: &MetricLimits, received_ms: i64) -> Result<Records, Refusal> {
    let pass = Pass {
        limits,
        received_ms,
        metric: Cell::new(None),
        field: RefCell::new(Cow::Borrowed("")),
        too_many: Cell::new(false),
        records: RefCell::new(Records::with_capacity(body.len() + body.len() / 2)),
    };
    let mut from = serde_json::Deserializer::from_slice(body);
    match BodySeed(&pass).deserialize(&mut from).and_then(|()| from.end()) {
        Ok(()) => Ok(pass.records.into_inner()),
        Err(error) => Err(pass.refusal(&error)),
    }
}

/// Where the pass stands, and what it has made.
struct Pass<'a> {
    limits: &'a MetricLimits,
    received_ms: i64,
    metric: Cell<Option<usize>>,
    field: RefCell<Cow<'static, str>>,
    too_many: Cell<bool>,
    records: RefCell<Records>,
}

impl Pass<'_> {
    fn at(&self, field: &'static str) {
        *self.field.borrow_mut() = Cow::Borrowed(field);
    }

    fn refusal(&self, error: &serde_json::Error) -> Refusal {
        if self.too_many.get() {
            return Refusal::BatchTooLarge { max: self.limits.batch_max };
        }
        let metric = self.metric.get();
        let field = Some(self.field.borrow().to_string()).filter(|field| !field.is_empty());
        if error.is_data() {
            return Refusal::Invalid { metric, field, why: error.to_string() };
        }
        let mut why = format!("this is no JSON: {error}");
        if field.as_deref() == Some("value") {
            why.push_str("; a value is a finite number, so NaN and Infinity cannot be sent");
        }
        Refusal::Malformed { metric, field, why }
    }
}

/// `{"metrics": […]}`.
struct BodySeed<'a, 'b>(&'a Pass<'b>);

impl<'de> DeserializeSeed<'de> for BodySeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object {\"metrics\": […]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(Text(key)) = map.next_key()? {
            if key != "metrics" {
                return Err(de::Error::custom(format_args!("unknown field `{}`, want `metrics`", short(&key))));
            }
            if std::mem::replace(&mut seen, true) {
                return Err(de::Error::custom("`metrics` is there twice"));
            }
            self.0.at("metrics");
            map.next_value_seed(ListSeed(self.0))?;
            self.0.metric.set(None);
            self.0.at("");
        }
        if seen { Ok(()) } else { Err(de::Error::custom("`metrics` is missing")) }
    }
}

struct ListSeed<'a, 'b>(&'a Pass<'b>);

impl<'de> DeserializeSeed<'de> for ListSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of metrics")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let pass = self.0;
        for index in 0.. {
            pass.metric.set(Some(index));
            pass.at("");
            // The one after the last that is allowed is only looked for, never read.
            if index == pass.limits.batch_max {
                pass.metric.set(None);
                return match list.next_element::<de::IgnoredAny>()? {
                    None => Ok(()),
                    Some(_) => {
                        pass.too_many.set(true);
                        Err(de::Error::custom("too many"))
                    }
                };
            }
            if list.next_element_seed(MetricSeed(pass))?.is_none() {
                pass.metric.set(None);
                pass.at("metrics");
                return if index > 0 { Ok(()) } else { Err(de::Error::custom("the list is empty")) };
            }
        }
        Ok(())
    }
}

struct MetricSeed<'a, 'b>(&'a Pass<'b>);

impl<'de> DeserializeSeed<'de> for MetricSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

/// A metric as far as it was read.
#[derive(Default)]
struct Draft<'de> {
    name: Option<Cow<'de, str>>,
    value: Option<Number>,
    kind: Option<Kind>,
    labels: Option<Vec<(Cow<'de, str>, Cow<'de, str>)>>,
    timestamp_ms: Option<i64>,
}

impl<'de> Visitor<'de> for MetricSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a metric: an object with name, value and type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let pass = self.0;
        let mut draft = Draft::default();
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "name" => {
                    pass.at("name");
                    once(draft.name.is_some())?;
                    let Text(name) = map.next_value()?;
                    check_name(&name, true).map_err(de::Error::custom)?;
                    draft.name = Some(name);
                }
                "value" => {
                    pass.at("value");
                    once(draft.value.is_some())?;
                    draft.value = Some(map.next_value()?);
                }
                "type" => {
                    pass.at("type");
                    once(draft.kind.is_some())?;
                    draft.kind = Some(map.next_value()?);
                }
                "labels" => {
                    pass.at("labels");
                    once(draft.labels.is_some())?;
                    draft.labels = Some(map.next_value_seed(LabelsSeed(pass))?);
                }
                "timestamp" => {
                    pass.at("timestamp");
                    once(draft.timestamp_ms.is_some())?;
                    draft.timestamp_ms = Some(timestamp(map.next_value()?).map_err(de::Error::custom)?);
                }
                other => {
                    *pass.field.borrow_mut() = Cow::Owned(short(other));
                    return Err(de::Error::custom(
                        "there is no such field; a metric has name, value, type, labels and timestamp",
                    ));
                }
            }
            pass.at("");
        }
        pass.finish(draft).map_err(de::Error::custom)
    }
}

fn once<E: de::Error>(seen: bool) -> Result<(), E> {
    if seen { Err(E::custom("this field is there twice")) } else { Ok(()) }
}

impl Pass<'_> {
    /// Checks what concerns the whole metric, and writes its record.
    fn finish(&self, draft: Draft<'_>) -> Result<(), String> {
        let missing = |field: &'static str| {
            self.at(field);
            format!("`{field}` is missing")
        };
        let name = draft.name.ok_or_else(|| missing("name"))?;
        let value = draft.value.ok_or_else(|| missing("value"))?;
        let kind = draft.kind.ok_or_else(|| missing("type"))?;
        if kind == Kind::Counter && value.is_negative() {
            self.at("value");
            return Err("a counter is never negative".to_owned());
        }
        let timestamp_ms = draft.timestamp_ms.unwrap_or(self.received_ms);
        let labels = draft.labels.unwrap_or_default();
        self.records.borrow_mut().push(|to| write(to, &name, kind, value, &labels, timestamp_ms));
        Ok(())
    }
}

/// The record: one JSON object, its fields always in this order. Names need no escapes: they were checked.
fn write(
    to: &mut Vec<u8>,
    name: &str,
    kind: Kind,
    value: Number,
    labels: &[(Cow<'_, str>, Cow<'_, str>)],
    timestamp_ms: i64,
) {
    let mut digits = itoa::Buffer::new();
    to.extend_from_slice(b"{\"name\":\"");
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b"\",\"value\":");
    match value {
        Number::Float(value) => json(to, &value),
        Number::Signed(value) => to.extend_from_slice(digits.format(value).as_bytes()),
        Number::Unsigned(value) => to.extend_from_slice(digits.format(value).as_bytes()),
    }
    to.extend_from_slice(b",\"type\":\"");
    to.extend_from_slice(kind.word().as_bytes());
    to.push(b'"');
    for (at, (label, value)) in labels.iter().enumerate() {
        to.extend_from_slice(if at == 0 { b",\"labels\":{\"" } else { b",\"" });
        to.extend_from_slice(label.as_bytes());
        to.extend_from_slice(b"\":");
        json(to, &**value);
    }
    to.extend_from_slice(if labels.is_empty() { b",\"timestamp\":" } else { b"},\"timestamp\":" });
    to.extend_from_slice(digits.format(timestamp_ms).as_bytes());
    to.push(b'}');
}

/// Text and finite numbers always are JSON, and memory always takes them.
fn json<T: serde::Serialize + ?Sized>(to: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(to, value);
    debug_assert!(written.is_ok(), "{written:?}");
}

/// Prometheus' data model: a metric is `[a-zA-Z_:][a-zA-Z0-9_:]*`, a label the same without colons, and labels that
/// begin with `__` are Prometheus' own.
fn check_name(name: &str, is_metric: bool) -> Result<(), String> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (is_metric && byte == b':');
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.len() > NAME_MAX_BYTES {
        return Err(format!("the name has {} bytes; {NAME_MAX_BYTES} at most", name.len()));
    }
    if let Some(at) = name.chars().find(|c| !c.is_ascii() || !sound(*c as u8)) {
        let colons = if is_metric { ", underscores and colons" } else { " and underscores" };
        return Err(format!("the name `{}` has {at:?} in it; a name is ASCII letters, digits{colons}", short(name)));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("the name `{}` begins with a digit", short(name)));
    }
    if !is_metric && name.starts_with("__") {
        return Err(format!(
            "the name `{}` begins with two underscores, which Prometheus keeps for itself",
            short(name)
        ));
    }
    Ok(())
}

fn timestamp(number: Number) -> Result<i64, String> {
    let given_ms = match number {
        Number::Signed(value) => value,
        Number::Unsigned(value) => i64::try_from(value).unwrap_or(i64::MAX),
        Number::Float(_) => return Err("a timestamp is a whole number of milliseconds since 1970".to_owned()),
    };
    match given_ms {
        TIMESTAMP_MIN_MS..=TIMESTAMP_MAX_MS => Ok(given_ms),
        ..TIMESTAMP_MIN_MS => {
            Err(format!("{given_ms} is before 1973; a timestamp is in milliseconds since 1970, not in seconds"))
        }
        _ => Err(format!("{given_ms} is after the year 9999; a timestamp is in milliseconds since 1970")),
    }
}

struct LabelsSeed<'a, 'b>(&'a Pass<'b>);

impl<'de> DeserializeSeed<'de> for LabelsSeed<'_, '_> {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LabelsSeed<'_, '_> {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels: an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (pass, limits) = (self.0, self.0.limits);
        let mut labels: Self::Value = Vec::new();
        while let Some(Text(label)) = map.next_key()? {
            if labels.len() == limits.labels_max {
                return Err(de::Error::custom(format_args!("more than {} labels", limits.labels_max)));
            }
            check_name(&label, false).map_err(de::Error::custom)?;
            *pass.field.borrow_mut() = Cow::Owned(format!("labels.{label}"));
            if labels.iter().any(|(known, _)| *known == label) {
                return Err(de::Error::custom("this label is there twice"));
            }
            let Text(value) = map.next_value()?;
            if value.len() > limits.label_value_max_bytes {
                let most = limits.label_value_max_bytes;
                return Err(de::Error::custom(format_args!("the value has {} bytes; {most} at most", value.len())));
            }
            labels.push((label, value));
            pass.at("labels");
        }
        Ok(labels)
    }
}

/// Text, without a copy where it has no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Reader)
    }
}

impl<'de> de::Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Number, E> {
                if value.is_finite() { Ok(Number::Float(value)) } else { Err(E::custom("the value is not finite")) }
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Number, E> {
                Ok(Number::Signed(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number::Unsigned(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                let text = short(text);
                Err(E::custom(format_args!("this is the text {text:?}; want a finite number, without quotes")))
            }
        }
        // Not as any number: a `null` or text is then told apart.
        from.deserialize_any(Reader)
    }
}

impl<'de> de::Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Text(word) = Text::deserialize(from)?;
        let found = Self::ALL.iter().find(|(_, known)| *known == word);
        found.map(|(kind, _)| *kind).ok_or_else(|| {
            de::Error::custom(format_args!("there is no type `{}`; want gauge, counter or histogram", short(&word)))
        })
    }
}

#[cfg(test)]
#[path = "metric_tests.rs"]
mod tests;
