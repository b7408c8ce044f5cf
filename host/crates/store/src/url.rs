//! Reads `DATABASE_URL`, and hides the password in whatever is said about it.

use std::path::PathBuf;

use crate::Error;

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by the URL that libpq reads.
    Postgres(String),
}

/// Reads a database URL. A wrong scheme is an error: guessing would end in a new, empty file.
pub(crate) fn parse(url: &str) -> Result<Target, Error> {
    let url = url.trim();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Target::Postgres(url.to_owned()));
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.starts_with(":memory:") {
            return Err(Error::InvalidUrl(
                "DATABASE_URL: sqlite: needs the path of a file, for example sqlite:codetune.db"
                    .into(),
            ));
        }
        let path = std::path::absolute(path).map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })?;
        return Ok(Target::Sqlite(path));
    }
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let plain = !scheme.is_empty()
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let found = if plain {
        format!("not {scheme}:")
    } else {
        "and it has no scheme".to_owned()
    };
    Err(Error::InvalidUrl(format!(
        "DATABASE_URL must begin with postgres:// or sqlite:, {found}"
    )))
}

/// The URL without its password, for logs and pages.
///
/// It rather hides too much than too little: everything between the user's name and the last `@` goes, since
/// a password that was not percent-encoded may hold any of the characters that end it.
pub fn redact(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let rest = match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => format!("{login}@{host}"),
        },
        None => rest.to_owned(),
    };
    let hidden = match rest.split_once('?') {
        Some((before, query)) => {
            let query: Vec<String> = query.split('&').map(redact_parameter).collect();
            format!("{before}?{}", query.join("&"))
        }
        None => rest,
    };
    if !scheme.is_empty() {
        return scheme + &hidden;
    }
    // The `key=value` form of libpq is refused as a URL, but a person may well have written it.
    let words: Vec<String> = hidden.split(' ').map(redact_parameter).collect();
    words.join(" ")
}

fn redact_parameter(pair: &str) -> String {
    match pair.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}=***"),
        _ => pair.to_owned(),
    }
}

/// A message of the database's client library without the URL's secrets, which some of them quote.
pub(crate) fn scrub(message: &str, url: &str) -> String {
    let mut text = message.replace(url, &redact(url));
    for secret in secrets(url) {
        text = text.replace(&secret, "***");
    }
    text.trim().replace('\n', " ")
}

/// Every spelling of every secret in a URL: as written, and percent-decoded.
fn secrets(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let mut found = Vec::new();
    if let Some((login, _)) = rest.rsplit_once('@')
        && let Some((_, password)) = login.split_once(':')
    {
        found.push(password.to_owned());
        // What libpq takes for host or port when the password was not encoded.
        found.extend(password.split(['@', '/', ':', '?']).map(str::to_owned));
    }
    for pair in rest.split(['?', '&', ' ']) {
        if let Some((key, value)) = pair.split_once('=')
            && key.to_ascii_lowercase().contains("password")
        {
            found.push(value.to_owned());
        }
    }
    found.extend(found.clone().iter().map(|text| percent_decode(text)));
    // A secret of one or two letters would blank ordinary words and tell more than it hides.
    found.retain(|text| text.len() > 2);
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found.dedup();
    found
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The URL with a connect timeout, so that a host that swallows packets is given up in seconds.
pub(crate) fn with_connect_timeout(url: &str) -> String {
    if url.contains("connect_timeout=") {
        return url.to_owned();
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}connect_timeout=5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hidden_however_it_is_written() {
        for (url, shown) in [
            (
                "postgres://ada:secret@db:5432/studio",
                "postgres://ada:***@db:5432/studio",
            ),
            (
                "postgresql://ada:p@ss/wo?rd@db/studio",
                "postgresql://ada:***@db/studio",
            ),
            (
                "postgres://db/studio?user=ada&password=secret",
                "postgres://db/studio?user=ada&password=***",
            ),
            (
                "postgres://db/studio?sslpassword=secret&sslmode=require",
                "postgres://db/studio?sslpassword=***&sslmode=require",
            ),
            (
                "host=db password=secret user=ada",
                "host=db password=*** user=ada",
            ),
            ("postgres://ada@db/studio", "postgres://ada@db/studio"),
            ("sqlite:/data/codetune.db", "sqlite:/data/codetune.db"),
        ] {
            assert_eq!(redact(url), shown);
        }
    }

    #[test]
    fn a_quoted_password_is_scrubbed_from_a_message() {
        let url = "postgres://ada:p%40ss%zz@db/studio";
        let message = "invalid percent-encoded token: \"p%40ss%zz\"\n";
        let shown = scrub(message, url);
        assert_eq!(shown, "invalid percent-encoded token: \"***\"");
        assert!(!scrub("password p@ss%zz is wrong", url).contains("p@ss"));
    }

    #[test]
    fn a_wrong_scheme_is_an_error_that_names_it_and_no_secret() {
        for url in ["mysql://ada:secret@db/x", "codetune.db", "", "ada:secret"] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains("postgres:// or sqlite:"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn both_spellings_of_a_file_are_the_same_file() {
        let file = PathBuf::from("/data/codetune.db");
        assert_eq!(
            parse("sqlite:/data/codetune.db").unwrap(),
            Target::Sqlite(file.clone())
        );
        assert_eq!(
            parse("sqlite:///data/codetune.db").unwrap(),
            Target::Sqlite(file)
        );
        assert!(parse("sqlite::memory:").is_err());
    }
}
