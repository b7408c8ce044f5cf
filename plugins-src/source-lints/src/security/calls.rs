//! Calls that are dangerous, by language. A rule is a table row; what a row cannot say is a function of the arguments.

/// One call.
pub struct Call {
    /// Languages.
    pub languages: &'static [&'static str],
    /// The name as written, with the module before it; a name without one must have none in the text either.
    pub name: &'static str,
    /// A word to count by.
    pub code: &'static str,
    /// Whether it is probably a fault, or only worth knowing.
    pub is_warning: bool,
    /// Looks at the arguments: the code between the parentheses, strings blanked, then the text itself.
    pub when: fn(&str, &str) -> bool,
    /// One sentence that says what to do.
    pub message: &'static str,
    /// What to write in place of the name, and how sure that is.
    pub instead: Option<(&'static str, f64)>,
}

const PY: &[&str] = &["python"];
const JS: &[&str] = &["javascript", "jsx", "typescript", "tsx"];
const C: &[&str] = &["c", "c++"];
const PHP: &[&str] = &["php"];

const ALWAYS: fn(&str, &str) -> bool = |_, _| true;

/// No value is put into the arguments: they are one plain string.
fn varies(code: &str, text: &str) -> bool {
    let code = code.trim();
    let is_plain = code.len() > 1
        && code.starts_with(['"', '\''])
        && code.ends_with(['"', '\''])
        && code[1..code.len() - 1].trim().is_empty();
    !is_plain || text.trim().is_empty()
}

fn has_shell(code: &str, _: &str) -> bool {
    argument(code, "shell").is_some_and(|value| value.starts_with("True"))
}

fn is_unsafe_yaml(code: &str, _: &str) -> bool {
    !["SafeLoader", "CSafeLoader", "BaseLoader", "CBaseLoader"]
        .iter()
        .any(|loader| code.contains(loader))
}

fn has_more_than_weights(code: &str, _: &str) -> bool {
    argument(code, "weights_only").is_none_or(|value| !value.starts_with("True"))
}

fn is_for_security(code: &str, _: &str) -> bool {
    argument(code, "usedforsecurity").is_none_or(|value| !value.starts_with("False"))
}

fn is_not_verified(code: &str, _: &str) -> bool {
    argument(code, "verify").is_some_and(|value| value.starts_with("False"))
}

fn is_a_text(code: &str, _: &str) -> bool {
    code.trim_start().starts_with(['"', '\'', '`'])
}

fn has_no_filter(code: &str, _: &str) -> bool {
    argument(code, "filter").is_none()
}

/// What is given to an argument by its name.
fn argument<'a>(code: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = code;
    while let Some(at) = rest.find(name) {
        let before = rest[..at].trim_end();
        let after = rest[at + name.len()..].trim_start();
        if let Some(value) = after.strip_prefix('=')
            && (before.is_empty() || before.ends_with(','))
            && !value.starts_with('=')
        {
            return Some(value.trim_start());
        }
        rest = &rest[at + name.len()..];
    }
    None
}

macro_rules! call {
    ($languages:expr, $name:literal, $code:literal, $level:ident, $when:expr, $message:literal) => {
        call!($languages, $name, $code, $level, $when, $message, None)
    };
    ($languages:expr, $name:literal, $code:literal, $level:ident, $when:expr, $message:literal, $instead:expr) => {
        Call {
            languages: $languages,
            name: $name,
            code: $code,
            is_warning: call!($level),
            when: $when,
            message: $message,
            instead: $instead,
        }
    };
    (warning) => {
        true
    };
    (info) => {
        false
    };
}

/// Every rule; the first whose name fits a call has it.
#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    call!(PY, "eval", "eval", warning, varies, "`eval` runs whatever text it gets; `ast.literal_eval` reads values only", Some(("ast.literal_eval", 0.4))),
    call!(PY, "exec", "eval", warning, varies, "`exec` runs whatever text it gets"),
    call!(PY, "os.system", "shell", warning, varies, "`os.system` gives a text to the shell; use `subprocess.run` with a list of arguments"),
    call!(PY, "os.popen", "shell", warning, varies, "`os.popen` gives a text to the shell; use `subprocess.run` with a list of arguments"),
    call!(PY, "subprocess.getoutput", "shell", warning, varies, "`getoutput` gives a text to the shell"),
    call!(PY, "subprocess.run", "shell", warning, has_shell, "`shell=True` gives a text to the shell; pass a list of arguments"),
    call!(PY, "subprocess.call", "shell", warning, has_shell, "`shell=True` gives a text to the shell; pass a list of arguments"),
    call!(PY, "subprocess.Popen", "shell", warning, has_shell, "`shell=True` gives a text to the shell; pass a list of arguments"),
    call!(PY, "subprocess.check_call", "shell", warning, has_shell, "`shell=True` gives a text to the shell; pass a list of arguments"),
    call!(PY, "subprocess.check_output", "shell", warning, has_shell, "`shell=True` gives a text to the shell; pass a list of arguments"),
    call!(PY, "pickle.load", "deserialisation", warning, ALWAYS, "reading a pickle runs code of its author"),
    call!(PY, "pickle.loads", "deserialisation", warning, ALWAYS, "reading a pickle runs code of its author"),
    call!(PY, "dill.load", "deserialisation", warning, ALWAYS, "reading a pickle runs code of its author"),
    call!(PY, "dill.loads", "deserialisation", warning, ALWAYS, "reading a pickle runs code of its author"),
    call!(PY, "joblib.load", "deserialisation", warning, ALWAYS, "reading a pickle runs code of its author"),
    call!(PY, "marshal.loads", "deserialisation", warning, ALWAYS, "`marshal` is not made for data of others"),
    call!(PY, "shelve.open", "deserialisation", info, ALWAYS, "a shelf holds pickles, and reading one runs code of its author"),
    call!(PY, "torch.load", "deserialisation", info, has_more_than_weights, "without `weights_only=True` older releases run code of the file's author"),
    call!(PY, "yaml.load", "deserialisation", warning, is_unsafe_yaml, "`yaml.load` without a safe loader makes any object; use `yaml.safe_load`", Some(("yaml.safe_load", 0.7))),
    call!(PY, "tempfile.mktemp", "temporary-file", warning, ALWAYS, "another process can take the name before the file is there; use `tempfile.mkstemp`"),
    call!(PY, "hashlib.md5", "weak-hash", info, is_for_security, "MD5 is broken; for anything that must hold, use SHA-256", Some(("hashlib.sha256", 0.3))),
    call!(PY, "hashlib.sha1", "weak-hash", info, is_for_security, "SHA-1 is broken; for anything that must hold, use SHA-256", Some(("hashlib.sha256", 0.3))),
    call!(PY, "ssl._create_unverified_context", "no-verification", warning, ALWAYS, "nobody looks at the other side's certificate"),
    call!(PY, "requests.get", "no-verification", warning, is_not_verified, "nobody looks at the other side's certificate"),
    call!(PY, "requests.post", "no-verification", warning, is_not_verified, "nobody looks at the other side's certificate"),
    call!(PY, "requests.put", "no-verification", warning, is_not_verified, "nobody looks at the other side's certificate"),
    call!(PY, "requests.request", "no-verification", warning, is_not_verified, "nobody looks at the other side's certificate"),
    call!(PY, "tarfile.extractall", "path-traversal", info, has_no_filter, "members can lie outside of the folder; pass `filter=\"data\"`"),
    call!(JS, "eval", "eval", warning, varies, "`eval` runs whatever text it gets"),
    call!(JS, "Function", "eval", warning, ALWAYS, "a function made from a text runs whatever the text says"),
    call!(JS, "setTimeout", "eval", warning, is_a_text, "a text is run as code; pass a function"),
    call!(JS, "setInterval", "eval", warning, is_a_text, "a text is run as code; pass a function"),
    call!(JS, "child_process.exec", "shell", warning, varies, "`exec` gives a text to the shell; use `execFile` with a list of arguments"),
    call!(JS, "child_process.execSync", "shell", warning, varies, "`execSync` gives a text to the shell; use `execFileSync`"),
    call!(JS, "execSync", "shell", warning, varies, "`execSync` gives a text to the shell; use `execFileSync`"),
    call!(JS, "document.write", "markup", info, varies, "what is written is read as HTML"),
    call!(C, "gets", "overflow", warning, ALWAYS, "`gets` writes beyond its buffer; use `fgets`"),
    call!(C, "strcpy", "overflow", info, ALWAYS, "`strcpy` does not know the size of its buffer"),
    call!(C, "strcat", "overflow", info, ALWAYS, "`strcat` does not know the size of its buffer"),
    call!(C, "sprintf", "overflow", info, ALWAYS, "`sprintf` does not know the size of its buffer; use `snprintf`"),
    call!(C, "system", "shell", warning, varies, "`system` gives a text to the shell"),
    call!(PHP, "eval", "eval", warning, varies, "`eval` runs whatever text it gets"),
    call!(PHP, "shell_exec", "shell", warning, varies, "a text is given to the shell"),
    call!(PHP, "system", "shell", warning, varies, "a text is given to the shell"),
    call!(PHP, "passthru", "shell", warning, varies, "a text is given to the shell"),
    call!(PHP, "unserialize", "deserialisation", warning, ALWAYS, "objects of the data's author are made; use `json_decode`"),
];
