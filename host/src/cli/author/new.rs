//! `codetune plugin new`: a project that builds as it is, with everything that it is built against.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rust_embed::RustEmbed;
use tera::{Context, Tera};

use super::usage_error;

/// `LANGUAGE/all`, `LANGUAGE/KIND` and `fixtures`; what ends in `.tera` is filled in.
#[derive(RustEmbed)]
#[folder = "templates/plugin"]
struct Templates;

/// The contract, which every project carries.
#[derive(RustEmbed)]
#[folder = "../wit/0.1.1"]
struct Contract;

/// The crate that Rust projects carry, so that they need nothing of this repository.
#[derive(RustEmbed)]
#[folder = "../plugins-src/codetune-plugin/src"]
struct Crate;

/// Says which versions that crate is built with.
const GUESTS: &str = include_str!("../../../../plugins-src/Cargo.toml");

/// Arguments of `codetune plugin new`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin new long-lines --lang rust --kind analyzer\n  \
    codetune plugin new todo-finder --lang python --into plugins-of-mine/todo-finder"
)]
pub(crate) struct NewArgs {
    /// The plugin's name, in kebab-case
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// What it does beside answering questions
    #[arg(long, value_enum, default_value_t = Kind::Analyzer)]
    kind: Kind,
    /// The project's folder, by default the name in the working folder
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

/// What a project is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Python,
    Typescript,
    C,
}

/// What a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// JSON in, JSON out
    Tool,
    /// Looks at source files
    Analyzer,
    /// Decides what goes into a dataset
    Curator,
    /// Scores what a model wrote
    Scorer,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Typescript => "typescript",
            Self::C => "c",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tool => "tool",
            Self::Analyzer => "analyzer",
            Self::Curator => "curator",
            Self::Scorer => "scorer",
        })
    }
}

/// Makes the project and says how to go on.
///
/// # Errors
/// A name that is none, a folder that has something in it.
pub(crate) fn run(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let files = project(&args.name, args.lang, args.kind)?;
    let folder = args.into.clone().unwrap_or_else(|| (&args.name).into());
    create(&folder, &files)?;
    println!(
        "{}: {} in {}; README.md says what it needs. Next:\n  codetune plugin test {}",
        folder.display(),
        a(args.kind),
        args.lang,
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// A path in the project, and what stands there.
type File = (String, Vec<u8>);

/// Every file of a project.
fn project(name: &str, language: Language, kind: Kind) -> anyhow::Result<Vec<File>> {
    plugin_host::check_name(name)
        .map_err(|why| usage_error(format!("the plugin's name {name:?} {why}")))?;
    let own = format!("{language}/{kind}/");
    let context = context(name, kind)?;
    let mut files = vec![(
        "fixtures.json".to_owned(),
        embedded::<Templates>(&format!("fixtures/{kind}.json"))?,
    )];
    for source in Templates::iter() {
        let all = format!("{language}/all/");
        let Some(path) = source
            .strip_prefix(&own)
            .or_else(|| source.strip_prefix(&all))
        else {
            continue;
        };
        let bytes = embedded::<Templates>(&source)?;
        files.push(match path.strip_suffix(".tera") {
            Some(path) => {
                let text =
                    String::from_utf8(bytes).with_context(|| format!("{source} is not UTF-8"))?;
                (place(path), fill(&source, text, &context)?.into_bytes())
            }
            None => (place(path), bytes),
        });
    }
    // Not as `wit` in Rust, where cargo-component takes that folder for its own to write bindings from.
    let contract = match language {
        Language::Rust => "codetune-plugin/contract",
        _ => "wit",
    };
    for path in Contract::iter() {
        files.push((format!("{contract}/{path}"), embedded::<Contract>(&path)?));
    }
    if language == Language::Rust {
        for path in Crate::iter() {
            files.push((
                format!("codetune-plugin/src/{path}"),
                embedded::<Crate>(&path)?,
            ));
        }
    }
    Ok(files)
}

/// Git would take a template of that name for its own.
fn place(path: &str) -> String {
    match path {
        "gitignore" => ".gitignore".to_owned(),
        path => path.to_owned(),
    }
}

fn a(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "a tool",
        Kind::Analyzer => "an analyzer",
        Kind::Curator => "a curator",
        Kind::Scorer => "a scorer",
    }
}

/// What templates name.
fn context(name: &str, kind: Kind) -> anyhow::Result<Context> {
    let mut context = Context::new();
    context.insert("name", name);
    context.insert("name_", &name.replace('-', "_"));
    context.insert("kind", &kind.to_string());
    let mut a_kind = a(kind).to_owned();
    a_kind.replace_range(..1, "A");
    context.insert("a_kind", &a_kind);
    let guests: toml::Table = toml::from_str(GUESTS)?;
    for (key, dependency) in [
        ("serde", "serde"),
        ("serde_json", "serde_json"),
        ("wit_bindgen", "wit-bindgen"),
    ] {
        let version = guests
            .get("workspace")
            .and_then(|workspace| workspace.get("dependencies")?.get(dependency))
            .with_context(|| format!("plugins-src/Cargo.toml does not name {dependency}"))?;
        context.insert(key, &version.to_string());
    }
    Ok(context)
}

fn fill(name: &str, text: String, context: &Context) -> anyhow::Result<String> {
    let mut tera = Tera::new();
    tera.add_raw_templates([(name.to_owned(), text)])
        .and_then(|()| tera.render(name, context))
        .map_err(|error| anyhow::anyhow!("host/templates/plugin/{name}: {error}"))
}

fn embedded<E: RustEmbed>(path: &str) -> anyhow::Result<Vec<u8>> {
    let file = E::get(path).with_context(|| format!("{path} is not in the program"))?;
    Ok(file.data.into_owned())
}

/// Writes the files beside the folder, then renames: there is never half a project.
fn create(folder: &Path, files: &[File]) -> anyhow::Result<()> {
    let shown = folder.display();
    let is_taken = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(usage_error(format!("{shown}: {error}"))),
    };
    if is_taken {
        return Err(usage_error(format!(
            "{shown} is there and not empty; name another folder with --into"
        )));
    }
    let work = || -> anyhow::Result<()> {
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent)?;
        let beside = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(parent)?;
        for (path, bytes) in files {
            let path = beside.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(beside.path()))?;
            super::write(&path, bytes)?;
        }
        // Others may read it: a temporary folder is its owner's alone.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(beside.path(), std::fs::Permissions::from_mode(0o755))?;
        }
        let _ = std::fs::remove_dir(folder);
        std::fs::rename(beside.keep(), folder)?;
        Ok(())
    };
    work().with_context(|| format!("cannot make {shown}"))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::{Kind, Language, create, project};

    fn text(files: &[super::File], path: &str) -> String {
        let (_, bytes) = files
            .iter()
            .find(|(name, _)| name == path)
            .unwrap_or_else(|| panic!("no {path}"));
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[test]
    fn every_language_makes_every_kind_with_the_contract_and_the_same_examples() {
        let languages = Language::value_variants().iter();
        let kinds = |language: &Language| {
            Kind::value_variants().iter().map({
                let language = *language;
                move |kind| (language, *kind)
            })
        };
        let all = languages.flat_map(kinds);
        for (language, kind) in all {
            let files = project("my-plugin", language, kind).unwrap();
            let code = match language {
                Language::Rust => "src/lib.rs",
                Language::Python => "plugin.py",
                Language::Typescript => "plugin.ts",
                Language::C => "plugin.c",
            };
            assert!(!text(&files, code).is_empty());
            let manifest: domain::PluginManifest =
                toml::from_str(&text(&files, "plugin.toml")).unwrap();
            assert_eq!(manifest.name, "my-plugin");
            assert_eq!(manifest.component, "my-plugin.wasm");
            let has_contract = |(path, bytes): &super::File| {
                let text = String::from_utf8_lossy(bytes);
                path.ends_with("/worlds.wit") && text.contains("codetune:plugin@0.1.1")
            };
            assert!(files.iter().any(has_contract));
            let examples = format!("fixtures/{kind}.json");
            assert_eq!(
                text(&files, "fixtures.json").into_bytes(),
                super::embedded::<super::Templates>(&examples).unwrap()
            );
            super::super::build::recipe(&text(&files, "build.toml")).unwrap();
            assert!(text(&files, "README.md").contains("# my-plugin"));
            for (path, bytes) in &files {
                let text = String::from_utf8_lossy(bytes);
                assert!(!text.contains("{{ "), "{path} is not filled in");
            }
        }
    }

    #[test]
    fn a_rust_project_names_its_macro_and_carries_the_crate_with_it() {
        for kind in Kind::value_variants() {
            let files = project("a", Language::Rust, *kind).unwrap();
            assert!(text(&files, "src/lib.rs").contains(&format!("codetune_plugin::{kind}!")));
            let manifest: toml::Table = toml::from_str(&text(&files, "Cargo.toml")).unwrap();
            assert_eq!(manifest["package"]["name"].as_str(), Some("a"));
            let vendored: toml::Table =
                toml::from_str(&text(&files, "codetune-plugin/Cargo.toml")).unwrap();
            assert!(
                vendored["dependencies"]["wit-bindgen"]
                    .get("version")
                    .is_some()
            );
        }
    }

    #[test]
    fn the_guide_shows_what_is_made() {
        let guide = include_str!("../../../../web/docs/writing-plugins.md");
        let mut shown = 0;
        for part in guide.split("<!-- `").skip(1) {
            let (mark, rest) = part.split_once("` -->\n```").unwrap();
            let (path, command) = mark.split_once("` of `").unwrap();
            let (_, rest) = rest.split_once('\n').unwrap();
            let (code, _) = rest.split_once("\n```\n").unwrap();
            let words: Vec<&str> = command.split(' ').collect();
            let [
                "codetune",
                "plugin",
                "new",
                name,
                "--lang",
                lang,
                "--kind",
                kind,
            ] = words[..]
            else {
                panic!("{command}");
            };
            let language = Language::from_str(lang, false).unwrap();
            let files = project(name, language, Kind::from_str(kind, false).unwrap()).unwrap();
            assert_eq!(code, text(&files, path).trim_end(), "{mark}");
            shown += 1;
        }
        assert!(shown >= 4, "{shown}");
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("deep/project");
        let files = project("a", Language::Python, Kind::Analyzer).unwrap();
        create(&place, &files).unwrap();
        assert!(place.join("wit/analyzer.wit").is_file());
        let refusal = create(&place, &files).unwrap_err();
        assert!(refusal.to_string().contains("not empty"), "{refusal}");
        assert!(project("A b", Language::Rust, Kind::Tool).is_err());
    }
}
