//! Python's.

use super::*;

const PICKLE: &str = "reading a pickle runs code of its author";
const SHELL_TRUE: &str = "`shell=True` gives a text to the shell; pass a list of arguments";
const SYSTEM: &str =
    "the text is given to the shell; use `subprocess.run` with a list of arguments";

fn has_shell(call: &Site<'_>) -> bool {
    let is_on = call
        .named("shell")
        .is_some_and(|value| value.starts_with("True"));
    is_on && first_varies(call)
}

fn is_unsafe_yaml(call: &Site<'_>) -> bool {
    !["SafeLoader", "CSafeLoader", "BaseLoader", "CBaseLoader"]
        .iter()
        .any(|loader| call.code().contains(loader))
}

fn has_more_than_weights(call: &Site<'_>) -> bool {
    call.named("weights_only")
        .is_none_or(|value| !value.starts_with("True"))
}

fn is_for_security(call: &Site<'_>) -> bool {
    call.named("usedforsecurity")
        .is_none_or(|value| !value.starts_with("False"))
}

fn hashes_a_password(call: &Site<'_>) -> bool {
    is_for_security(call) && is_for_passwords(call)
}

fn is_md5(call: &Site<'_>) -> bool {
    is_for_security(call) && begins(call, 0, &["md5", "md4", "sha1"])
}

fn is_not_verified(call: &Site<'_>) -> bool {
    call.named("verify")
        .is_some_and(|value| value.starts_with("False"))
}

fn has_no_filter(call: &Site<'_>) -> bool {
    // `zipfile` keeps members in the folder by itself.
    let archive = call.name.strip_suffix(".extractall").unwrap_or_default();
    !archive.starts_with('z') && !archive.contains("zip") && call.named("filter").is_none()
}

fn takes_any_host(call: &Site<'_>) -> bool {
    ["AutoAddPolicy", "WarningPolicy"]
        .iter()
        .any(|policy| call.code().contains(policy))
}

fn does_not_escape(call: &Site<'_>) -> bool {
    call.named("autoescape")
        .is_some_and(|value| value.starts_with("False"))
}

fn is_broken_mode(call: &Site<'_>) -> bool {
    call.code().contains("MODE_ECB")
}

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning("eval", "eval", varies, "`eval` runs whatever text it gets; `ast.literal_eval` reads values only").instead("ast.literal_eval", 0.4),
    warning("exec", "eval", varies, "`exec` runs whatever text it gets"),
    warning("os.system", "shell", varies, "`os.system` gives a text to the shell; use `subprocess.run` with a list of arguments"),
    warning("os.popen", "shell", varies, "`os.popen` gives a text to the shell; use `subprocess.run` with a list of arguments"),
    warning("commands.getoutput", "shell", varies, SYSTEM),
    warning("subprocess.getoutput", "shell", varies, "`getoutput` gives a text to the shell"),
    warning("subprocess.getstatusoutput", "shell", varies, "`getstatusoutput` gives a text to the shell"),
    warning("asyncio.create_subprocess_shell", "shell", first_varies, "a text is given to the shell; use `create_subprocess_exec` with arguments"),
    warning("subprocess.run", "shell", has_shell, SHELL_TRUE),
    warning("subprocess.call", "shell", has_shell, SHELL_TRUE),
    warning("subprocess.Popen", "shell", has_shell, SHELL_TRUE),
    warning("subprocess.check_call", "shell", has_shell, SHELL_TRUE),
    warning("subprocess.check_output", "shell", has_shell, SHELL_TRUE),
    warning("pickle.load", "deserialisation", always, PICKLE),
    warning("pickle.loads", "deserialisation", always, PICKLE),
    warning("pickle.Unpickler", "deserialisation", always, PICKLE),
    warning("cPickle.load", "deserialisation", always, PICKLE),
    warning("cPickle.loads", "deserialisation", always, PICKLE),
    warning("dill.load", "deserialisation", always, PICKLE),
    warning("dill.loads", "deserialisation", always, PICKLE),
    warning("joblib.load", "deserialisation", always, PICKLE),
    warning("pandas.read_pickle", "deserialisation", always, PICKLE),
    warning("jsonpickle.decode", "deserialisation", always, "objects of the data's author are made; use `json.loads`"),
    warning("marshal.loads", "deserialisation", always, "`marshal` is not made for data of others"),
    info("shelve.open", "deserialisation", always, "a shelf holds pickles, and reading one runs code of its author"),
    info("torch.load", "deserialisation", has_more_than_weights, "without `weights_only=True` older releases run code of the file's author"),
    warning("yaml.load", "deserialisation", is_unsafe_yaml, "`yaml.load` without a safe loader makes any object; use `yaml.safe_load`").instead("yaml.safe_load", 0.7),
    warning("yaml.unsafe_load", "deserialisation", always, "`yaml.unsafe_load` makes any object; use `yaml.safe_load`").instead("yaml.safe_load", 0.7),
    warning("tempfile.mktemp", "temporary-file", always, "another process can take the name before the file is there; use `tempfile.mkstemp`"),
    warning("hashlib.md5", "weak-hash", hashes_a_password, PASSWORD),
    warning("hashlib.sha1", "weak-hash", hashes_a_password, PASSWORD),
    warning("hashlib.sha256", "weak-hash", hashes_a_password, PASSWORD),
    info("hashlib.md5", "weak-hash", is_for_security, MD5).instead("hashlib.sha256", 0.3),
    info("hashlib.sha1", "weak-hash", is_for_security, SHA1).instead("hashlib.sha256", 0.3),
    info("hashlib.new", "weak-hash", is_md5, "MD5 and SHA-1 are broken; for anything that must hold, use SHA-256"),
    warning("Crypto.Cipher.DES.new", "weak-cipher", always, CIPHER),
    warning("Crypto.Cipher.DES3.new", "weak-cipher", always, CIPHER),
    warning("Crypto.Cipher.ARC4.new", "weak-cipher", always, CIPHER),
    warning("Crypto.Cipher.AES.new", "weak-cipher", is_broken_mode, CIPHER),
    warning("ssl._create_unverified_context", "no-verification", always, CERTIFICATE),
    warning(".get", "no-verification", is_not_verified, CERTIFICATE),
    warning(".post", "no-verification", is_not_verified, CERTIFICATE),
    warning(".put", "no-verification", is_not_verified, CERTIFICATE),
    warning(".patch", "no-verification", is_not_verified, CERTIFICATE),
    warning(".delete", "no-verification", is_not_verified, CERTIFICATE),
    warning(".head", "no-verification", is_not_verified, CERTIFICATE),
    warning(".request", "no-verification", is_not_verified, CERTIFICATE),
    warning("httpx.Client", "no-verification", is_not_verified, CERTIFICATE),
    warning("httpx.AsyncClient", "no-verification", is_not_verified, CERTIFICATE),
    warning(".set_missing_host_key_policy", "no-verification", takes_any_host, "any host is taken for the one that is meant; keep `RejectPolicy` and load known keys"),
    info(".extractall", "path-traversal", has_no_filter, "members can lie outside of the folder; pass `filter=\"data\"`"),
    warning("jinja2.Environment", "markup", does_not_escape, "values are read as HTML; pass `autoescape=True`"),
    info("django.utils.safestring.mark_safe", "markup", varies, "what varies is read as HTML; use `format_html`"),
];
