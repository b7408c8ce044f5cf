use std::ops::Range;

/// A split, or a part of one, as `load_dataset` takes it: `train`, `train[:10%]`, `train[100:200]`, `train[-5%:](pct1_dropremainder)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitPart {
    /// As it was written.
    pub text: String,
    /// The split's name.
    pub name: String,
    /// Where it begins and ends; below 0 it is counted from the end.
    bounds: [Option<i64>; 2],
    unit: Unit,
}

/// What bounds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Rows,
    /// Hundredths of the rows, to the closest row.
    Closest,
    /// Hundredths of the rows without what a hundred does not divide: each hundredth has as many rows as any other.
    DropRemainder,
}

impl SplitPart {
    /// All of a split.
    pub fn whole(name: &str) -> Self {
        Self {
            text: name.to_owned(),
            name: name.to_owned(),
            bounds: [None, None],
            unit: Unit::Rows,
        }
    }

    /// Reads `data.split`: one split or several with `+` between them, each whole or in part.
    ///
    /// # Errors
    /// One sentence, for what `datasets` refuses too.
    pub fn read_all(text: &str) -> Result<Vec<Self>, String> {
        let parts: Vec<Self> = text
            .split('+')
            .map(|part| Self::read(part.trim()))
            .collect::<Result<_, _>>()?;
        let rounding = |part: &Self| Some(part.unit).filter(|unit| *unit != Unit::Rows);
        if let Some(first) = parts.first().and_then(rounding)
            && parts.iter().filter_map(rounding).any(|unit| unit != first)
        {
            return Err(format!(
                "{text:?}: percentages that are rounded in two ways cannot be put together"
            ));
        }
        Ok(parts)
    }

    fn read(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no split; write train, train[:10%], train[100:200] or train[-5%:], and + between several"
            )
        };
        let (rest, rounding) = match text.strip_suffix(')') {
            Some(rest) => rest
                .rsplit_once('(')
                .map(|(rest, word)| (rest, Some(word)))
                .ok_or_else(wrong)?,
            None => (text, None),
        };
        let (name, slice) = match rest.strip_suffix(']') {
            Some(rest) => rest
                .split_once('[')
                .map(|(name, slice)| (name, Some(slice)))
                .ok_or_else(wrong)?,
            None => (rest, None),
        };
        if name.is_empty() || name.contains(['[', ']', '(', ')']) {
            return Err(wrong());
        }
        let (from, to) = slice.unwrap_or(":").split_once(':').ok_or_else(wrong)?;
        let (from, from_percent) = bound(from).ok_or_else(wrong)?;
        let (to, to_percent) = bound(to).ok_or_else(wrong)?;
        let is_percent = from_percent || to_percent;
        let unit = match (is_percent, rounding) {
            (false, None) => Unit::Rows,
            (true, None | Some("closest")) => Unit::Closest,
            (true, Some("pct1_dropremainder")) => Unit::DropRemainder,
            (false, Some(_)) => {
                return Err(format!(
                    "{text:?}: only percentages are rounded; leave out what stands in parentheses"
                ));
            }
            (true, Some(other)) => {
                return Err(format!(
                    "{text:?}: percentages are rounded closest or pct1_dropremainder, not {other:?}"
                ));
            }
        };
        let bounds = [from, to];
        if is_percent && bounds.iter().flatten().any(|bound| bound.abs() > 100) {
            return Err(format!("{text:?}: a percentage is from -100 to 100"));
        }
        Ok(Self {
            text: text.to_owned(),
            name: name.to_owned(),
            bounds,
            unit,
        })
    }

    /// It is all of the split.
    pub fn is_whole(&self) -> bool {
        self.bounds == [None, None]
    }

    /// The rows that it means, where that does not hang on how many there are.
    pub fn rows_of_any(&self) -> Option<Range<u64>> {
        if self.unit != Unit::Rows {
            return None;
        }
        let [from, to] = self.bounds;
        let from = u64::try_from(from.unwrap_or(0)).ok()?;
        let to = u64::try_from(to.unwrap_or(i64::MAX)).ok()?;
        Some(from..to.max(from))
    }

    /// The rows that it means of so many.
    ///
    /// # Errors
    /// A sentence where there are too few for its way of rounding.
    pub fn rows_of(&self, count: u64) -> Result<Range<u64>, String> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self.unit == Unit::DropRemainder && count < 100 {
            return Err(format!(
                "{:?}: pct1_dropremainder takes nothing of {count} rows; it needs a hundred",
                self.text
            ));
        }
        let place = |bound: i64| {
            let row = match self.unit {
                Unit::Rows => bound,
                // As Python rounds: halves to the even row.
                Unit::Closest => (bound as f64 * count as f64 / 100.0).round_ties_even() as i64,
                Unit::DropRemainder => bound * (count / 100),
            };
            let row = if row < 0 {
                row.saturating_add(count)
            } else {
                row
            };
            row.clamp(0, count) as u64
        };
        let [from, to] = self.bounds;
        let (from, to) = (from.map_or(0, place), to.map_or(count as u64, place));
        Ok(from..to.max(from))
    }
}

/// A bound and whether it is a percentage; `None` for what is neither a whole number nor empty.
fn bound(text: &str) -> Option<(Option<i64>, bool)> {
    if text.is_empty() {
        return Some((None, false));
    }
    let (number, is_percent) = match text.strip_suffix('%') {
        Some(number) => (number, true),
        None => (text, false),
    };
    let digits = number.strip_prefix('-').unwrap_or(number);
    // Python's whole numbers: a single _ may stand between two digits.
    let is_number = digits
        .split('_')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let value = is_number.then(|| number.replace('_', "").parse().ok())??;
    Some((Some(value), is_percent))
}
