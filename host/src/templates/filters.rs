use chrono::{DateTime, Utc};
use tera::{Kwargs, State, Tera, TeraResult};

use crate::pages::assets;
use crate::safety::gate;

/// Numbers, times and sizes as people read them.
pub(super) fn register(tera: &mut Tera) {
    tera.register_function("asset", |kwargs: Kwargs, _: &State| -> TeraResult<String> {
        Ok(assets::url(kwargs.must_get::<&str>("path")?))
    });
    tera.register_filter("figure", |value: f64, _: Kwargs, _: &State| figure(value));
    tera.register_filter("count", |value: f64, _: Kwargs, _: &State| count(value));
    tera.register_filter("spoken", |value: f64, _: Kwargs, _: &State| spoken(value));
    tera.register_filter("bytes", |value: f64, _: Kwargs, _: &State| bytes(value));
    tera.register_filter("seconds", |value: f64, _: Kwargs, _: &State| seconds(value));
    tera.register_filter("percent", |value: f64, _: Kwargs, _: &State| {
        format!("{:.0} %", value * 100.0)
    });
    tera.register_filter("date", |value: &str, _: Kwargs, _: &State| date(value));
    tera.register_filter("ago", |value: &str, _: Kwargs, _: &State| ago(value));
    tera.register_filter("query", |value: &str, _: Kwargs, _: &State| {
        gate::form_urlencode(value)
    });
    tera.register_filter("short", |value: &str, _: Kwargs, _: &State| {
        value.chars().take(12).collect::<String>()
    });
}

/// Four significant digits: 2.345, 0.0002, 1.2e-7.
fn figure(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e7).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        format!("{digits}e{power}")
    } else {
        let digits = (3 - size.log10().floor() as i32).clamp(0, 8) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    }
}

/// Whole numbers with thin gaps: 1 234 567.
fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("−{text}")
    } else {
        text
    }
}

/// Large numbers in words: 20 billion, 1.5 million.
fn spoken(value: f64) -> String {
    let words = [(1e12, "trillion"), (1e9, "billion"), (1e6, "million")];
    let found = words.into_iter().find(|(size, _)| value.abs() >= *size);
    found.map_or_else(
        || count(value),
        |(size, word)| {
            let number = format!("{:.1}", value / size);
            format!("{} {word}", number.trim_end_matches(".0"))
        },
    )
}

fn bytes(value: f64) -> String {
    let mut size = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            let digits = usize::from(unit != "B" && size < 10.0);
            return format!("{size:.digits$} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

fn parse(text: &str) -> Option<DateTime<Utc>> {
    text.parse().ok()
}

fn date(text: &str) -> String {
    parse(text).map_or_else(
        || text.to_owned(),
        |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn ago(text: &str) -> String {
    let Some(at) = parse(text) else {
        return text.to_owned();
    };
    match (Utc::now() - at).num_seconds() {
        ..5 => "just now".to_owned(),
        past @ 5..60 => format!("{past} s ago"),
        past @ 60..3600 => format!("{} min ago", past / 60),
        past @ 3600..86_400 => format!("{} h ago", past / 3600),
        past => format!("{} d ago", past / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (2.345_67, "2.346"),
            (0.000_2, "0.0002"),
            (1.2e-7, "1.2e-7"),
            (0.0, "0"),
            (100.0, "100"),
            (126.4, "126.4"),
            (48_211.0, "48211"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(count(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(bytes(1_536.0), "1.5 KiB");
        for (value, text) in [
            (2e10, "20 billion"),
            (1_500_000.0, "1.5 million"),
            (1e13, "10 trillion"),
            (54_304.0, "54\u{202f}304"),
        ] {
            assert_eq!(spoken(value), text);
        }
        assert_eq!(seconds(3_725.0), "1 h 02 min");
        assert_eq!(seconds(65.0), "1 min 05 s");
    }
}
