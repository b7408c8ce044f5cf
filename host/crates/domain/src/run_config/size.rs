/// Bytes of a size as people write it: `"8GB"`, `"900 MiB"`, `"1.5GiB"`, `"500000000"`.
///
/// Units are kB, MB, GB, TB (powers of 1,000) and KiB, MiB, GiB, TiB (powers of 1,024), in any case; a bare number is
/// bytes.
///
/// # Errors
/// What is wrong with it, as half a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => {
            return Err(format!(
                "must be a size such as 8GB or 900MiB, not {text:?}"
            ));
        }
    };
    match number.parse::<f64>() {
        Ok(number) if (1.0..1e18).contains(&(number * factor)) => Ok((number * factor) as u64),
        _ => Err(format!(
            "must be a size such as 8GB or 900MiB, not {text:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_in_powers_of_1000_and_1024() {
        assert_eq!(parse_size("8GB"), Ok(8_000_000_000));
        assert_eq!(parse_size("900 MiB"), Ok(900 << 20));
        assert_eq!(parse_size("1.5gib"), Ok(3 << 29));
        assert_eq!(parse_size("1000"), Ok(1000));
        for wrong in [
            "",
            "GB",
            "8XB",
            "-1GB",
            "1e5",
            "0",
            "999999999TB",
            "1.2.3MB",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong:?}");
        }
    }
}
