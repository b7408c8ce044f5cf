//! `codetune plugin install`: a plugin into the studio's plugins folder, where a running studio takes it up.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domain::{Capability, PluginLimits, PluginManifest};

use super::registry::{self, Reference};
use super::trial::Trial;
use super::{signature, test, usage_error};
use crate::config::Config;

/// Arguments of `codetune plugin install`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  codetune plugin install my-plugin\n  \
    codetune plugin install my_plugin.wasm --signature my_plugin.wasm.minisig --public-key minisign.pub\n  \
    codetune plugin install oci://registry.example/me/my-plugin:1.0@sha256:…\n  \
    codetune plugin install oci://registry.example/me/asks-hosts:1.0 --manifest plugin.toml\n\n\
    A private registry is asked as whoever logged in there with `docker login`.\n\
    What a plugin asks for is granted by its user, on its page or with `codetune plugin grant`.")]
pub(crate) struct InstallArgs {
    /// A folder with plugin.toml and component, a component by itself, or oci://REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]
    #[arg(value_name = "FOLDER|FILE|oci://…")]
    plugin: String,
    /// The plugin's name, where there is no plugin.toml and neither file nor repository is called so
    #[arg(long)]
    name: Option<String>,
    /// The plugin.toml of a component by itself: one that asks for a model, hosts, folders or secrets says there which
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    manifest: Option<PathBuf>,
    /// A minisign signature of the component
    #[arg(long, value_name = "FILE", requires = "public_key")]
    signature: Option<PathBuf>,
    /// The key that signed it: as text, or the file that minisign wrote
    #[arg(long, value_name = "KEY", requires = "signature")]
    public_key: Option<String>,
}

/// Fetches, checks, copies and says where to.
///
/// # Errors
/// A plugin that cannot be had, is not what its digest or signature says, does not load or fails its own examples; a folder
/// that cannot be written.
pub(crate) fn run(args: &InstallArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let place = if let Some(reference) = args.plugin.strip_prefix("oci://") {
        let reference = Reference::parse(reference)?;
        let artifact = registry::fetch(&reference)?;
        println!("oci://{}", reference.pinned(&artifact.digest));
        from_component(&artifact.component, reference.name(), args, config)?
    } else {
        let path = Path::new(&args.plugin);
        if path.is_dir() {
            if args.name.is_some() || args.manifest.is_some() {
                return Err(usage_error(
                    "--name and --manifest: a folder's own plugin.toml says what it is",
                ));
            }
            let component = super::component(path)?;
            signed(&read(&component)?, args)?;
            from_folder(path, config)?
        } else {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            from_component(&read(path)?, &stem.replace('_', "-"), args, config)?
        }
    };
    println!("{}: installed", place.display());
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| usage_error(format!("{}: {error}", path.display())))
}

/// Whether the component is signed as the arguments want it.
fn signed(component: &[u8], args: &InstallArgs) -> anyhow::Result<()> {
    match (&args.signature, &args.public_key) {
        (Some(signature), Some(key)) => {
            let comment = signature::verify(component, signature, key)?;
            println!("signature fits: {comment}");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Installs a folder's manifest, component and examples under the plugin's name.
///
/// # Errors
/// As for `run`.
pub(super) fn from_folder(folder: &Path, config: &Config) -> anyhow::Result<PathBuf> {
    let trial = Trial::open(folder, config)?.loaded(folder)?;
    test::hold(folder, config)?;
    let place = config.paths.plugins.join(&trial.plugin.name);
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let manifest = super::manifest(folder)?;
    // The manifest last: until it is there, the folder is no plugin; over an older version each file is replaced whole,
    // and the studio waits for quiet before it looks.
    let fixtures = folder.join("fixtures.json");
    match std::fs::read(&fixtures) {
        Ok(bytes) => super::write(&place.join("fixtures.json"), &bytes)?,
        // Those of the version before would hold this one to its answers.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match std::fs::remove_file(place.join("fixtures.json")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Err(error) => return Err(error).with_context(|| fixtures.display().to_string()),
    }
    super::write(&place.join(&manifest.component), &trial.component)?;
    let text = std::fs::read(folder.join("plugin.toml"))?;
    super::write(&place.join("plugin.toml"), &text)?;
    Ok(place)
}

/// Installs a component by itself, with the manifest that the arguments name, or one that asks for what it imports.
fn from_component(
    component: &[u8],
    name: &str,
    args: &InstallArgs,
    config: &Config,
) -> anyhow::Result<PathBuf> {
    signed(component, args)?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    if let Some(path) = &args.manifest {
        std::fs::write(folder.path().join("plugin.toml"), read(path)?)?;
        // Says too what is wrong with the manifest.
        std::fs::write(super::component(folder.path())?, component)?;
        return from_folder(folder.path(), config);
    }
    let name = args.name.as_deref().unwrap_or(name);
    plugin_host::check_name(name)
        .map_err(|why| usage_error(format!("the plugin's name {name:?} {why}; give --name")))?;
    let anatomy =
        plugin_host::anatomy(component).map_err(|why| anyhow::anyhow!("{} {why}", args.plugin))?;
    let manifest = PluginManifest {
        name: name.to_owned(),
        component: format!("{name}.wasm"),
        capabilities: anatomy
            .imports
            .iter()
            .filter_map(|import| capability(import))
            .collect(),
        limits: PluginLimits::default(),
        config: Default::default(),
        asks: Default::default(),
    };
    let is_lent = anatomy.imports.iter().any(|import| {
        import.starts_with("wasi:http/")
            || capability(import).is_some_and(|capability| capability.is_lent())
    });
    if is_lent {
        return Err(usage_error(format!(
            "{}: it asks for more than its log and settings ({}); its plugin.toml says for which hosts, folders, secrets or \
             tokens: give it by --manifest",
            args.plugin,
            anatomy.imports.join(", ")
        )));
    }
    std::fs::write(folder.path().join(&manifest.component), component)?;
    std::fs::write(
        folder.path().join("plugin.toml"),
        toml::to_string(&manifest)?,
    )?;
    from_folder(folder.path(), config).map_err(|error| {
        match name == args.name.as_deref().unwrap_or("") {
            true => error,
            false => error.context(format!("{} as {name}, which --name changes", args.plugin)),
        }
    })
}

/// What an import of the contract has to be asked for as: `codetune:plugin/log@0.1.1` is `log`.
fn capability(import: &str) -> Option<Capability> {
    let (interface, _) = import.strip_prefix("codetune:plugin/")?.split_once('@')?;
    serde_json::from_value(interface.into()).ok()
}
