/// How a language writes comments and strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comments {
    /// What starts a comment that ends with its line.
    pub line: &'static [&'static str],
    /// What starts and ends a comment of several lines.
    pub block: &'static [(&'static str, &'static str)],
    /// Characters that start and end a string on one line; comment marks in it do not count.
    pub quotes: &'static str,
    /// Block comments may stand in block comments.
    pub nested: bool,
    /// Triple quotes where a statement starts are documentation, so a comment.
    pub docstrings: bool,
}

/// One language that is told apart.
#[derive(Debug)]
pub struct Language {
    /// Lower-case, as in GitHub's Linguist: `python`, `c++`, `c#`.
    pub name: &'static str,
    /// Other names that people write.
    pub aliases: &'static [&'static str],
    /// File extensions in lower case, without the dot.
    pub extensions: &'static [&'static str],
    /// Whole file names in lower case.
    pub file_names: &'static [&'static str],
    /// Programs in a `#!` line, without version digits.
    pub interpreters: &'static [&'static str],
    /// How comments look.
    pub comments: Comments,
}

const NONE: Comments = Comments {
    line: &[],
    block: &[],
    quotes: "",
    nested: false,
    docstrings: false,
};
const HASH: Comments = Comments {
    line: &["#"],
    quotes: "\"'",
    ..NONE
};
const PYTHON: Comments = Comments {
    docstrings: true,
    ..HASH
};
const C: Comments = Comments {
    line: &["//"],
    block: &[("/*", "*/")],
    quotes: "\"'",
    ..NONE
};
const JS: Comments = Comments {
    quotes: "\"'`",
    ..C
};
// No single quote: in Rust it starts a lifetime as often as a character.
const RUST: Comments = Comments {
    quotes: "\"",
    nested: true,
    ..C
};
const NESTED: Comments = Comments { nested: true, ..C };
const CSS: Comments = Comments { line: &[], ..C };
const SQL: Comments = Comments { line: &["--"], ..C };
const LUA: Comments = Comments {
    line: &["--"],
    block: &[("--[[", "]]")],
    quotes: "\"'",
    ..NONE
};
const HASKELL: Comments = Comments {
    line: &["--"],
    block: &[("{-", "-}")],
    quotes: "\"",
    nested: true,
    ..NONE
};
const ML: Comments = Comments {
    block: &[("(*", "*)")],
    quotes: "\"",
    nested: true,
    ..NONE
};
const XML: Comments = Comments {
    block: &[("<!--", "-->")],
    ..NONE
};
const LISP: Comments = Comments {
    line: &[";"],
    quotes: "\"",
    ..NONE
};
const TEX: Comments = Comments {
    line: &["%"],
    ..NONE
};
const PHP: Comments = Comments {
    line: &["//", "#"],
    ..C
};
const RUBY: Comments = Comments {
    block: &[("=begin", "=end")],
    ..HASH
};
const JULIA: Comments = Comments {
    block: &[("#=", "=#")],
    nested: true,
    ..HASH
};
const POWERSHELL: Comments = Comments {
    block: &[("<#", "#>")],
    ..HASH
};
const VB: Comments = Comments {
    line: &["'"],
    quotes: "\"",
    ..NONE
};
const FORTRAN: Comments = Comments {
    line: &["!"],
    quotes: "\"'",
    ..NONE
};
const ERLANG: Comments = Comments {
    line: &["%"],
    quotes: "\"",
    ..NONE
};

macro_rules! language {
    ($name:literal, [$($alias:literal)*], [$($extension:literal)*], [$($file:literal)*], [$($interpreter:literal)*], $comments:expr) => {
        Language {
            name: $name,
            aliases: &[$($alias),*],
            extensions: &[$($extension),*],
            file_names: &[$($file),*],
            interpreters: &[$($interpreter),*],
            comments: $comments,
        }
    };
}

/// Every language that is told apart. The first that lists an extension has it.
#[rustfmt::skip]
pub static LANGUAGES: &[Language] = &[
    language!("python", ["py" "python3"], ["py" "pyi" "pyw"], [], ["python" "pypy"], PYTHON),
    language!("javascript", ["js" "node" "mjs" "cjs"], ["js" "mjs" "cjs"], [], ["node" "nodejs" "bun"], JS),
    language!("jsx", [], ["jsx"], [], [], JS),
    language!("typescript", ["ts"], ["ts" "mts" "cts"], [], ["deno" "ts-node" "tsx"], JS),
    language!("tsx", [], ["tsx"], [], [], JS),
    language!("rust", ["rs"], ["rs"], [], ["rust-script"], RUST),
    language!("go", ["golang"], ["go"], [], [], JS),
    language!("java", [], ["java"], [], [], C),
    language!("kotlin", ["kt"], ["kt" "kts"], [], ["kotlin"], NESTED),
    language!("scala", [], ["scala" "sc"], [], ["scala"], NESTED),
    language!("c", [], ["c" "h"], [], ["tcc"], C),
    language!("c++", ["cpp" "cxx"], ["cc" "cpp" "cxx" "hpp" "hh" "hxx" "ino"], [], [], C),
    language!("c#", ["csharp" "cs"], ["cs" "csx"], [], ["dotnet-script"], C),
    language!("objective-c", ["objc"], ["m" "mm"], [], [], C),
    language!("swift", [], ["swift"], [], ["swift"], NESTED),
    language!("dart", [], ["dart"], [], ["dart"], C),
    language!("zig", [], ["zig"], [], [], C),
    language!("php", [], ["php" "phtml"], [], ["php"], PHP),
    language!("ruby", ["rb"], ["rb" "rake" "gemspec"], ["rakefile" "gemfile"], ["ruby"], RUBY),
    language!("perl", ["pl"], ["pl" "pm"], [], ["perl"], HASH),
    language!("lua", [], ["lua"], [], ["lua" "luajit"], LUA),
    language!("r", [], ["r"], [], ["rscript"], HASH),
    language!("julia", ["jl"], ["jl"], [], ["julia"], JULIA),
    language!("elixir", [], ["ex" "exs"], [], ["elixir"], HASH),
    language!("erlang", [], ["erl" "hrl"], [], ["escript"], ERLANG),
    language!("haskell", ["hs"], ["hs"], [], ["runhaskell"], HASKELL),
    language!("ocaml", ["ml"], ["ml" "mli"], [], ["ocaml"], ML),
    language!("f#", ["fsharp"], ["fs" "fsx" "fsi"], [], [], ML),
    language!("clojure", [], ["clj" "cljs" "cljc" "edn"], [], ["clojure" "bb"], LISP),
    language!("lisp", ["common-lisp"], ["lisp" "lsp" "cl"], [], ["sbcl"], LISP),
    language!("scheme", [], ["scm" "ss" "rkt"], [], ["guile" "racket"], LISP),
    language!("fortran", [], ["f90" "f95" "f03" "f08" "for" "f"], [], [], FORTRAN),
    language!("visual-basic", ["vb"], ["vb" "bas"], [], [], VB),
    language!("shell", ["sh" "bash" "zsh"], ["sh" "bash" "zsh" "ksh"], [".bashrc" ".profile" ".zshrc"], ["sh" "bash" "dash" "zsh" "ksh" "ash"], HASH),
    language!("fish", [], ["fish"], [], ["fish"], HASH),
    language!("powershell", ["ps1"], ["ps1" "psm1"], [], ["pwsh"], POWERSHELL),
    language!("awk", [], ["awk"], [], ["awk" "gawk" "mawk"], HASH),
    language!("tcl", [], ["tcl"], [], ["tclsh" "wish"], HASH),
    language!("sql", [], ["sql"], [], [], SQL),
    language!("html", [], ["html" "htm" "xhtml"], [], [], XML),
    language!("xml", [], ["xml" "xsd" "xsl" "svg"], [], [], XML),
    language!("vue", [], ["vue"], [], [], XML),
    language!("svelte", [], ["svelte"], [], [], XML),
    language!("css", [], ["css"], [], [], CSS),
    language!("scss", ["sass"], ["scss" "sass" "less"], [], [], C),
    language!("json", [], ["json" "jsonl" "geojson" "ipynb"], [], [], NONE),
    language!("yaml", ["yml"], ["yaml" "yml"], [], [], HASH),
    language!("toml", [], ["toml"], ["cargo.lock"], [], HASH),
    language!("ini", [], ["ini" "cfg" "conf"], [".gitconfig" ".editorconfig"], [], HASH),
    language!("markdown", ["md"], ["md" "markdown"], [], [], XML),
    language!("restructuredtext", ["rst"], ["rst"], [], [], NONE),
    language!("tex", ["latex"], ["tex" "sty" "cls" "bib"], [], [], TEX),
    language!("text", ["txt"], ["txt"], ["license" "readme" "authors"], [], NONE),
    language!("dockerfile", ["docker"], ["dockerfile"], ["dockerfile" "containerfile"], [], HASH),
    language!("makefile", ["make"], ["mk" "mak"], ["makefile" "gnumakefile"], ["make"], HASH),
    language!("cmake", [], ["cmake"], ["cmakelists.txt"], [], HASH),
    language!("nix", [], ["nix"], [], [], HASH),
    language!("protobuf", ["proto"], ["proto"], [], [], C),
    language!("webassembly", ["wat" "wast"], ["wat" "wast"], [], [], LISP),
    language!("wit", [], ["wit"], [], [], C),
];

/// The language that a person means by `name`, in any case.
pub fn by_name(name: &str) -> Option<&'static Language> {
    let name = name.trim().to_ascii_lowercase();
    LANGUAGES
        .iter()
        .find(|language| language.name == name || language.aliases.contains(&name.as_str()))
}

/// The language of a path, by its whole file name or its extension.
pub fn by_extension(path: &str) -> Option<&'static Language> {
    let file = path
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(path)
        .to_ascii_lowercase();
    let named = LANGUAGES
        .iter()
        .find(|language| language.file_names.contains(&file.as_str()));
    named.or_else(|| {
        let (_, extension) = file.rsplit_once('.')?;
        LANGUAGES
            .iter()
            .find(|language| language.extensions.contains(&extension))
    })
}
