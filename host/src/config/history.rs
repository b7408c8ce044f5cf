use chrono::{DateTime, Days, Utc};
use store::Retention;

use super::{ConfigError, Source, parsed};

/// How much of the plugins' history and audit the server keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryConfig {
    /// `CODETUNE_HISTORY_DAYS`; what is older goes. 0 is no limit.
    pub days: u32,
    /// `CODETUNE_HISTORY_ROWS`; the newest calls that stay, and as many of the newest uses. 0 is no limit.
    pub rows: u64,
}

impl HistoryConfig {
    pub(super) fn read(source: Source<'_>) -> Result<Self, ConfigError> {
        let (days, rows) = ("CODETUNE_HISTORY_DAYS", "CODETUNE_HISTORY_ROWS");
        Ok(Self {
            days: parsed(
                source,
                days,
                90,
                "a number of days; 0 is no limit",
                |value| value.parse().ok(),
            )?,
            rows: parsed(
                source,
                rows,
                100_000,
                "a number of rows; 0 is no limit",
                |value| value.parse().ok(),
            )?,
        })
    }

    /// The same for the store.
    pub fn retention(&self, now: DateTime<Utc>) -> Retention {
        let since = now.checked_sub_days(Days::new(self.days.into()));
        Retention {
            since: since.filter(|_| self.days > 0),
            rows: Some(self.rows).filter(|rows| *rows > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Utc};

    use super::HistoryConfig;

    fn read(days: &str, rows: &str) -> Result<HistoryConfig, super::ConfigError> {
        HistoryConfig::read(&|name| {
            let value = match name {
                "CODETUNE_HISTORY_DAYS" => days,
                _ => rows,
            };
            Some(value.to_owned()).filter(|value| !value.is_empty())
        })
    }

    #[test]
    fn days_and_rows_are_bounds_and_0_is_none() {
        let now = Utc.with_ymd_and_hms(2026, 4, 1, 12, 0, 0).unwrap();
        let kept = read("", "").unwrap().retention(now);
        let since = Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap();
        assert_eq!((kept.since, kept.rows), (Some(since), Some(100_000)));
        let kept = read("0", "0").unwrap().retention(now);
        assert_eq!((kept.since, kept.rows), (None, None));
        // Before the beginning of time.
        let kept = read("4000000000", "1").unwrap().retention(now);
        assert_eq!((kept.since, kept.rows), (None, Some(1)));
        let message = read("-1", "").unwrap_err().to_string();
        assert!(message.contains("CODETUNE_HISTORY_DAYS"), "{message}");
    }
}
