//! How languages write a function.

use crate::function::{Function, Names, Step, capital};

/// Templates: `$n` is a name, `$p` parameters, `$e` an expression, `$c` a counter, `$t` how often.
pub(crate) struct Syntax {
    names: Names,
    indent: &'static str,
    /// Around the function, where it cannot stand by itself; `$n` with a capital.
    around: Option<(&'static str, &'static str)>,
    head: &'static str,
    parameter: &'static str,
    declare: &'static str,
    assign: &'static str,
    repeat: &'static str,
    branch: &'static str,
    otherwise: &'static str,
    give: &'static str,
    /// Closes a block; none where indentation does.
    end: Option<&'static str>,
    /// Lines before it.
    gap: &'static str,
}

const PYTHON: Syntax = Syntax {
    names: Names::Snake,
    indent: "    ",
    around: None,
    head: "def $n($p):",
    parameter: "$n",
    declare: "$n = $e",
    assign: "$n = $e",
    repeat: "for $c in range($t):",
    branch: "if $e:",
    otherwise: "else:",
    give: "return $e",
    end: None,
    gap: "\n\n",
};

const JAVASCRIPT: Syntax = Syntax {
    names: Names::Camel,
    indent: "  ",
    around: None,
    head: "function $n($p) {",
    parameter: "$n",
    declare: "let $n = $e;",
    assign: "$n = $e;",
    repeat: "for (let $c = 0; $c < $t; $c += 1) {",
    branch: "if ($e) {",
    otherwise: "} else {",
    give: "return $e;",
    end: Some("}"),
    gap: "\n",
};

const TYPESCRIPT: Syntax = Syntax {
    head: "function $n($p): number {",
    parameter: "$n: number",
    ..JAVASCRIPT
};

const RUST: Syntax = Syntax {
    names: Names::Snake,
    indent: "    ",
    head: "fn $n($p) -> i64 {",
    parameter: "$n: i64",
    declare: "let mut $n = $e;",
    repeat: "for $c in 0..$t {",
    branch: "if $e {",
    give: "$e",
    ..JAVASCRIPT
};

const GO: Syntax = Syntax {
    indent: "\t",
    head: "func $n($p) int {",
    parameter: "$n int",
    declare: "$n := $e",
    assign: "$n = $e",
    repeat: "for $c := 0; $c < $t; $c++ {",
    branch: "if $e {",
    give: "return $e",
    ..JAVASCRIPT
};

const C: Syntax = Syntax {
    names: Names::Snake,
    indent: "    ",
    head: "static long $n($p) {",
    parameter: "long $n",
    declare: "long $n = $e;",
    repeat: "for (long $c = 0; $c < $t; ++$c) {",
    ..JAVASCRIPT
};

const JAVA: Syntax = Syntax {
    names: Names::Camel,
    around: Some(("class $n {", "}")),
    ..C
};

impl Syntax {
    /// That of a language by its name; none where nothing can be written in it.
    pub(crate) fn of(language: &str) -> Option<Self> {
        Some(match language {
            "python" => PYTHON,
            "javascript" | "jsx" => JAVASCRIPT,
            "typescript" | "tsx" => TYPESCRIPT,
            "rust" => RUST,
            "go" => GO,
            "c" | "c++" => C,
            "java" => JAVA,
            _ => return None,
        })
    }

    pub(crate) fn names(&self) -> Names {
        self.names
    }

    pub(crate) fn gap(&self) -> &'static str {
        self.gap
    }

    /// The function's lines, each with its end.
    pub(crate) fn write(&self, function: &Function) -> String {
        let mut lines = Lines {
            syntax: self,
            text: String::new(),
            depth: 0,
        };
        let around = self.around.map(|(begin, end)| {
            lines.open(&begin.replace("$n", &capital(&function.name)));
            end
        });
        let parameters = function.parameters.iter();
        let parameters: Vec<String> = parameters
            .map(|name| self.parameter.replace("$n", name))
            .collect();
        let head = self.head.replace("$n", &function.name);
        lines.open(&head.replace("$p", &parameters.join(", ")));
        let number = function.number;
        lines.line(
            &self
                .declare
                .replace("$n", number)
                .replace("$e", &function.begins),
        );
        let assign = |value: &str| self.assign.replace("$n", number).replace("$e", value);
        for step in &function.steps {
            match step {
                Step::Assign(value) => lines.line(&assign(value)),
                Step::Repeat {
                    counter,
                    times,
                    value,
                } => {
                    let repeat = self.repeat.replace("$c", counter);
                    lines.open(&repeat.replace("$t", &times.to_string()));
                    lines.line(&assign(value));
                    lines.close();
                }
                Step::Branch {
                    condition,
                    value,
                    otherwise,
                } => {
                    lines.open(&self.branch.replace("$e", condition));
                    lines.line(&assign(value));
                    lines.depth -= 1;
                    lines.open(self.otherwise);
                    lines.line(&assign(otherwise));
                    lines.close();
                }
            }
        }
        lines.line(&self.give.replace("$e", &function.result));
        lines.close();
        if let Some(end) = around {
            lines.depth -= 1;
            lines.line(end);
        }
        lines.text
    }
}

struct Lines<'a> {
    syntax: &'a Syntax,
    text: String,
    depth: usize,
}

impl Lines<'_> {
    fn line(&mut self, line: &str) {
        self.text += &self.syntax.indent.repeat(self.depth);
        self.text += line;
        self.text.push('\n');
    }

    fn open(&mut self, line: &str) {
        self.line(line);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        if let Some(end) = self.syntax.end {
            self.line(end);
        }
    }
}
