//! The curator `secrets`: keys, tokens, passwords, e-mail and network addresses are replaced, or the sample is dropped.
//!
//! The rules stand in `rules`, how they are found in `search`. The replacements are bigcode's: `<KEY>`, `<PASSWORD>`, `<EMAIL>`, `<IP_ADDRESS>`. What was
//! found never stands in a reason: reasons are kept and shown.

mod assigned;
mod rules;
mod search;
mod unquoted;

use std::ops::Range;

use codetune_plugin::{About, Curator, Decision, Edit, Reason, Sample, Settings, Verdict};

use rules::{Place, RULES};
use search::{Search, marked_words};
use unquoted::Unquoted;

/// The plugin.
pub struct Secrets {
    searches: Vec<Search>,
    drops: bool,
}

impl Curator for Secrets {
    const ABOUT: About = About {
        name: "secrets",
        version: env!("CARGO_PKG_VERSION"),
        description: "Finds keys, tokens, passwords, e-mail and network addresses; replaces them or drops the sample.",
        author: "CodeTune Studio",
        tags: &["curator", "secrets", "personal-data", "redaction"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        let personal = settings.get("personal_data", true)?;
        let ignored: Vec<String> = settings.get("ignore", Vec::new())?;
        let searches = RULES
            .iter()
            .filter(|rule| personal || !rule.personal)
            .filter(|rule| !ignored.iter().any(|code| code == rule.code))
            .map(Search::new)
            .collect();
        Ok(Self {
            searches,
            drops: settings.get("action", "redact".to_owned())? == "drop",
        })
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        let mut edits = Vec::new();
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        let unquoted = Unquoted::of(sample);
        for (part, text) in sample.parts.iter().enumerate() {
            let first = edits.len();
            let words = marked_words(&text.text);
            for search in &self.searches {
                let is_unquoted = matches!(search.rule.place, Place::Line);
                if is_unquoted && unquoted == Unquoted::None {
                    continue;
                }
                for Range { start, end } in search.find(&text.text, &words) {
                    if is_unquoted && !unquoted.takes(&text.text, start) {
                        continue;
                    }
                    let own: &[Edit] = &edits[first..];
                    if own.iter().any(|edit| start < edit.end && edit.start < end) {
                        continue;
                    }
                    edits.push(Edit {
                        part,
                        start,
                        end,
                        replacement: search.rule.placeholder.to_owned(),
                    });
                    let code = search.rule.code;
                    match counts.iter_mut().find(|(found, _)| *found == code) {
                        Some((_, count)) => *count += 1,
                        None => counts.push((code, 1)),
                    }
                }
            }
            edits[first..].sort_by_key(|edit| edit.start);
        }
        let scores = vec![("secrets", edits.len() as f64)];
        let mut reasons: Vec<Reason> = counts
            .into_iter()
            .map(|(code, count)| Reason {
                code,
                message: format!("{count} of {code}"),
            })
            .collect();
        let decision = if edits.is_empty() {
            Decision::Keep
        } else if self.drops {
            Decision::Drop(reasons.swap_remove(0))
        } else {
            Decision::Rewrite(edits, reasons)
        };
        Ok(Verdict {
            decision,
            scores,
            signature: None,
        })
    }
}

codetune_plugin::curator!(Secrets);

#[cfg(test)]
mod tests {
    use codetune_plugin::{sample_of, serde_json, verdict_json};

    use super::*;

    /// The text after redaction.
    fn redacted(text: &str) -> String {
        redacted_at(None, text)
    }

    fn redacted_at(path: Option<&str>, text: &str) -> String {
        let plugin = Secrets::new(&Settings::none()).unwrap();
        let mut sample = sample_of(&serde_json::json!({ "text": text }).to_string()).unwrap();
        sample.path = path.map(str::to_owned);
        let verdict = plugin.curate(&sample).unwrap();
        let answer: serde_json::Value =
            serde_json::from_str(&verdict_json(&sample, &verdict)).unwrap();
        answer["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn secrets_are_replaced_and_the_text_around_them_stays() {
        // Put together here, so that no scanner takes this file for a leak.
        let body = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
        let aws = format!("AKIA{}", "QWERTYUIOPASDFGH");
        for (text, expected) in [
            (format!("key = \"{aws}\"\nnext"), "key = \"<KEY>\"\nnext"),
            (format!("ghp_{body}"), "<KEY>"),
            (format!("é sk-{body} é"), "é <KEY> é"),
            (
                format!("password = 'x9{}Kq4'", "vT7_mP2w"),
                "password = '<PASSWORD>'",
            ),
            (
                "postgres://me:hunter22@db/x".to_owned(),
                "postgres://me:<PASSWORD>@db/x",
            ),
            (
                "by Jo Doe <jo.doe@firm.co.uk>, 2020".to_owned(),
                "by Jo Doe <<EMAIL>>, 2020",
            ),
            ("host 8.8.4.77:53".to_owned(), "host <IP_ADDRESS>:53"),
        ] {
            assert_eq!(redacted(&text), expected);
        }
        let key = format!(
            "-----BEGIN RSA {0}-----\n{body}{body}\n-----END RSA {0}-----\nx",
            "PRIVATE KEY"
        );
        assert_eq!(redacted(&key), "<KEY>\nx");
        let words = "Version: GnuPG v2 (Linux)\n\n";
        let block = format!(
            "-----BEGIN PGP {0}-----\n{words}{body}\n-----END PGP {0}-----\nx",
            "PRIVATE KEY BLOCK"
        );
        assert_eq!(redacted(&block), "<KEY>\nx");
        let lines = format!(
            "k = (\"-----BEGIN {0}-----\\n\"\n     \"{body}\\n\"\n     \"-----END {0}-----\")",
            "PRIVATE KEY"
        );
        assert_eq!(redacted(&lines), "k = (\"<KEY>\")");
    }

    #[test]
    fn what_only_looks_like_a_secret_stays() {
        for text in [
            "password = 'your_password_1'",
            "token = get_token()",
            "a@example.com, git@github.com",
            "127.0.0.1 10.1.2.3 192.168.1.1 1.2.3.4 2.10.3.1 999.1.1.1 8.8.4.77.5",
            "-----BEGIN PUBLIC KEY-----",
            "x.starts('-----BEGIN PRIVATE KEY-----') and other.ends('-----END PRIVATE KEY-----')",
            "sk-short",
            ".sk-toggleable__content-arrow-label { color: red }",
            "y = x@self.weight + q@k.transpose(1, 2)",
            "systemctl start getty@tty1.service icon@2x.webp wasi-cli@0.2.0.wasm",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn settings_without_quotes_lose_what_was_drawn() {
        let value = format!("x9{}Kq4", "vT7_mP2w");
        for (path, line) in [
            (".env", "DB_PASSWORD=@"),
            (".env", "export API_KEY=@ # the key"),
            ("a.yml", "  password: @"),
            ("a.yaml", "    - GITHUB_TOKEN=@"),
            ("a.yaml", "    - \"GITHUB_TOKEN=@\""),
            ("a.ini", "secret = @\r"),
            ("run.sh", "curl --token=@ https://a.de"),
            ("run.sh", "TOKEN=@; run"),
            ("Dockerfile", "ENV AUTH_TOKEN @"),
            ("Dockerfile", "ENV A=1 AUTH_TOKEN=@ B=2"),
            ("a.properties", "spring.datasource.password: @"),
            ("a.properties", "api-key=@"),
            (".npmrc", "//registry.a.de/:_authToken=@"),
            ("a.txt.env", "SECRET_KEY_BASE=@"),
        ] {
            let text = format!("a=1\n{line}\nb=2\n");
            assert_eq!(
                redacted_at(Some(path), &text.replace('@', &value)),
                text.replace('@', "<PASSWORD>"),
            );
        }
        // Nothing says what it is: as a shell writes it.
        assert_eq!(redacted(&format!("TOKEN={value}\n")), "TOKEN=<PASSWORD>\n");
        assert_eq!(
            redacted(&format!("token = {value}\n")),
            format!("token = {value}\n")
        );
        let code = format!("token={value}\n");
        assert_eq!(redacted_at(Some("a.py"), &code), code);
    }

    #[test]
    fn settings_keep_words_variables_placeholders_and_places() {
        let value = format!("x9{}Kq4", "vT7_mP2w");
        for line in [
            "PASSWORD=changeme",
            "PASSWORD=changeme123",
            "PASSWORD=${DB_PASSWORD}",
            "PASSWORD=$DB_PASSWORD2",
            "PASSWORD=$(pass show db1)",
            "API_KEY=<your-key-1>",
            "API_KEY=your_key_1234",
            "TOKEN=",
            "TOKEN=none",
            "password: correct horse battery staple",
            "password: {{ vault_password1 }}",
            "password: !vault a1b2c3d4e5",
            "password: *anchor1a2b3c",
            "password: %ENV_PASSWORD1%",
            "token: ${{ secrets.GITHUB_TOKEN2 }}",
            "secret: my-service-account2",
            "secret: /run/secrets/db_passw0rd",
            "secret: kubernetes.io/tls2",
            "secret: arn:aws:secretsmanager:x1:y2",
            "credentials: google-credentials-v2",
            "access_key: minioadmin1",
            "private_key: ~/.ssh/id_rsa2",
            "token: 1234567890",
            "tokens = x9vT7a1b2c3",
        ] {
            for path in ["a.yml", ".env"] {
                assert_eq!(redacted_at(Some(path), line), line);
            }
        }
        for line in [
            "title=@",
            "token_url=@",
            "TOKEN=f(@)",
            "TOKEN=@(",
            "[ $TOKEN == @ ]",
        ] {
            let text = line.replace('@', &value);
            assert_eq!(redacted_at(Some("a.sh"), &text), text);
        }
    }
}
