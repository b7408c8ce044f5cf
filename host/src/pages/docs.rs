use std::sync::LazyLock;

use actix_web::Responder;
use actix_web::web::Path;
use ammonia::Builder;
use domain::{FIELDS, FieldKind, RunConfig};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use rust_embed::RustEmbed;
use serde::Serialize;

use super::number;
use crate::error::{AppError, HtmlResult, see_other};
use crate::templates::{Page, View};

#[derive(RustEmbed)]
#[folder = "../web/docs"]
struct Files;

/// In the order of reading.
const ORDER: &[&str] = &[
    "getting-started",
    "run-toml",
    "coming-from",
    "plugins",
    "writing-plugins",
    "command-line",
    "safety",
];
/// Replaced by a table that is made from the same list that validates a RUN.toml.
const FIELDS_MARK: &str = "{{ run-toml-fields }}";

struct Doc {
    name: String,
    title: String,
    html: String,
    /// Id and title of each section.
    sections: Vec<(String, String)>,
}

static DOCS: LazyLock<Vec<Doc>> = LazyLock::new(|| {
    let mut docs: Vec<_> = Files::iter()
        .filter(|file| file.ends_with(".md"))
        .filter_map(|file| {
            let text = String::from_utf8(Files::get(&file)?.data.into_owned()).ok()?;
            let title = text
                .lines()
                .next()?
                .trim_start_matches('#')
                .trim()
                .to_owned();
            let text = text.replace(FIELDS_MARK, &fields_table());
            Some(Doc {
                name: file.trim_end_matches(".md").to_owned(),
                title,
                html: render(&text),
                sections: sections(&text),
            })
        })
        .collect();
    docs.sort_by_key(|doc| {
        ORDER
            .iter()
            .position(|name| *name == doc.name)
            .unwrap_or(ORDER.len())
    });
    docs
});

#[derive(Serialize)]
struct DocPage {
    name: String,
    title: String,
    /// Passed through the sanitizer; the only text that a template marks as safe.
    html: String,
    sections: Vec<(String, String)>,
    all: Vec<(String, String)>,
}

impl Page for DocPage {
    const TEMPLATE: &'static str = "docs.html";
}

/// `GET /docs`.
pub async fn index() -> impl Responder {
    see_other(format!("/docs/{}", ORDER[0]))
}

/// `GET /docs/{name}`.
pub async fn show(view: View, name: Path<String>) -> HtmlResult {
    let doc = DOCS.iter().find(|doc| doc.name == *name).ok_or_else(|| {
        AppError::not_found(format!("There is no page {name} in the documentation."))
    })?;
    view.page(&DocPage {
        name: doc.name.clone(),
        title: doc.title.clone(),
        html: doc.html.clone(),
        sections: doc.sections.clone(),
        all: DOCS
            .iter()
            .map(|doc| (doc.name.clone(), doc.title.clone()))
            .collect(),
    })
}

/// Markdown to HTML without anything that could run.
pub fn render(markdown: &str) -> String {
    let mut text = String::new();
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, options).collect();
    name_headings(&mut events);
    html::push_html(&mut text, events.into_iter());
    // A wide table scrolls inside its own box.
    let text = text
        .replace("<table>", "<div class=\"scroll\"><table>")
        .replace("</table>", "</table></div>");
    Builder::default()
        .add_allowed_classes("div", &["scroll"])
        .add_tag_attributes("h2", &["id"])
        .url_schemes(["http", "https", "mailto"].into())
        .link_rel(Some("noopener noreferrer"))
        .clean(&text)
        .to_string()
}

/// What a page can be read by.
fn sections(markdown: &str) -> Vec<(String, String)> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, options).collect();
    name_headings(&mut events)
}

/// Gives sections a name to link to, made of their title: `plugin.toml` is `plugin-toml`. The names, with the titles.
fn name_headings(events: &mut [Event<'_>]) -> Vec<(String, String)> {
    let mut named = Vec::new();
    for at in 0..events.len() {
        let (before, after) = events.split_at_mut(at + 1);
        let Some(Event::Start(Tag::Heading {
            level: HeadingLevel::H2,
            id,
            ..
        })) = before.last_mut()
        else {
            continue;
        };
        let title = after
            .iter()
            .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))))
            .filter_map(|event| match event {
                Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
                _ => None,
            })
            .collect::<String>();
        let lower = title.to_lowercase();
        let words = lower.split(|c: char| !c.is_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let name = words.join("-");
        *id = Some(name.clone().into());
        named.push((name, title));
    }
    named
}

fn fields_table() -> String {
    let default = RunConfig::default();
    let mut table = String::new();
    let mut last = "";
    for field in FIELDS {
        let (section, key) = field.path.split_once('.').expect("section.key");
        if section != last {
            table += &format!(
                "\n### `[{section}]`\n\n| Key | Default | May be | Meaning |\n|---|---|---|---|\n"
            );
            last = section;
        }
        let may_be = match field.kind {
            FieldKind::Integer { min, max } => format!("whole number, {min} to {max}"),
            FieldKind::Number { min, max } => {
                format!("number, {} to {}", number(min), number(max))
            }
            FieldKind::Choice(words) => words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", "),
            FieldKind::Text | FieldKind::Lines => "text".to_owned(),
            FieldKind::Flag => "`true` or `false`".to_owned(),
            FieldKind::Words => "text or a list".to_owned(),
            FieldKind::Integers => "a list of whole numbers".to_owned(),
            FieldKind::IntegersByName => "a list of whole numbers, or a table of such".to_owned(),
            FieldKind::FlagOrWord => "`true`, `false` or a word".to_owned(),
            FieldKind::Table => "a table of names and values".to_owned(),
        };
        let usual = match default.value_at(field.path) {
            _ if field.path == "train.output" => "required".to_owned(),
            None | Some(serde_json::Value::Null) => "none".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        table += &format!("| `{key}` | {usual} | {may_be} | {} |\n", field.help);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_markdown_cannot_run_anything() {
        for attack in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[x](javascript:alert(1))",
            "<a href=\"data:text/html,<script>\">x</a>",
            "<iframe src=//evil.example></iframe>",
            "<svg onload=alert(1)>",
            "<style>*{display:none}</style>",
            "<p style=\"position:fixed\">x</p>",
        ] {
            let html = render(attack);
            for bad in [
                "<script",
                "onerror",
                "javascript:",
                "data:",
                "<iframe",
                "onload",
                "<style",
                "style=",
            ] {
                assert!(!html.contains(bad), "{attack} became {html}");
            }
        }
    }

    #[test]
    fn sections_can_be_linked_to() {
        let html = render("## Changing a `plugin.toml`\n\nText.\n\n## Limits\n");
        for id in ["changing-a-plugin-toml", "limits"] {
            assert!(html.contains(&format!("<h2 id=\"{id}\">")), "{html}");
        }
    }

    #[test]
    fn each_section_of_a_page_has_a_name_of_its_own() {
        for doc in DOCS.iter() {
            let mut names: Vec<&String> = doc.sections.iter().map(|(id, _)| id).collect();
            assert!(names.len() > 2, "{} has hardly a section", doc.name);
            names.sort();
            names.dedup();
            assert_eq!(names.len(), doc.sections.len(), "{}", doc.name);
        }
    }

    #[test]
    fn every_setting_is_in_the_reference() {
        let reference = DOCS.iter().find(|doc| doc.name == "run-toml").unwrap();
        for field in FIELDS {
            let key = field.path.split_once('.').unwrap().1;
            assert!(
                reference.html.contains(&format!("<code>{key}</code>")),
                "{}",
                field.path
            );
        }
    }

    #[test]
    fn what_others_call_a_setting_is_told_by_settings_that_there_are() {
        let page = Files::get("coming-from.md").unwrap();
        let page = String::from_utf8(page.data.into_owned()).unwrap();
        let named: Vec<&str> = page
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|code| code.split(' ').next().unwrap_or_default())
            .filter(|code| {
                ["model.", "data.", "lora.", "train."]
                    .iter()
                    .any(|section| code.starts_with(section))
            })
            .collect();
        assert!(named.len() > 60, "{named:?}");
        for name in named {
            assert!(FIELDS.iter().any(|field| field.path == name), "{name}");
        }
    }

    #[test]
    fn every_page_of_the_documentation_is_there() {
        for name in ORDER {
            assert!(DOCS.iter().any(|doc| doc.name == *name), "{name}");
        }
    }
}
