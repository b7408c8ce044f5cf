//! Which numbers of `big-code-analysis` are taken, and of what.
//!
//! A function's cyclomatic number leaves out functions inside it, as McCabe's graph of one component does, and a file's is the
//! sum over its functions. Cognitive complexity takes functions inside it in, as the paper has it for lambdas and nested methods;
//! `cognitive` counts it, since the crate takes a group that is negated and the arguments of a call for the sequence around them.

mod cognitive;

use big_code_analysis::{Ast, FuncSpace, LANG, Metric, MetricsOptions, Source, SpaceKind};
use serde::Serialize;

/// What works, for messages.
pub const LANGUAGES: [&str; 11] = [
    "python",
    "javascript",
    "jsx",
    "typescript",
    "tsx",
    "rust",
    "go",
    "java",
    "c",
    "c++",
    "shell",
];

/// The grammar of one of [`LANGUAGES`].
pub fn grammar(language: &str) -> Option<LANG> {
    Some(match language {
        "python" => LANG::Python,
        "javascript" | "jsx" => LANG::Javascript,
        "typescript" => LANG::Typescript,
        "tsx" => LANG::Tsx,
        "rust" => LANG::Rust,
        "go" => LANG::Go,
        "java" => LANG::Java,
        "c" => LANG::C,
        "c++" => LANG::Cpp,
        "shell" => LANG::Bash,
        _ => return None,
    })
}

/// Halstead's counts and what follows from them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Halstead {
    /// Different operators, η₁.
    pub unique_operators: u64,
    /// All operators, N₁.
    pub total_operators: u64,
    /// Different operands, η₂.
    pub unique_operands: u64,
    /// All operands, N₂.
    pub total_operands: u64,
    /// (N₁ + N₂) log₂ (η₁ + η₂), in bits.
    pub volume: f64,
    /// η₁ / 2 · N₂ / η₂.
    pub difficulty: f64,
    /// Volume times difficulty.
    pub effort: f64,
}

/// Of one function or one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    /// McCabe's number; of a file, the sum over its functions.
    pub cyclomatic: u64,
    /// SonarSource's number, functions inside it counted.
    pub cognitive: u64,
    /// Halstead's.
    pub halstead: Halstead,
    /// From 0 to 100; none where there is no code.
    pub maintainability: Option<f64>,
    /// Lines with code on them.
    pub code_lines: u64,
}

/// One function, method, closure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Function {
    /// `<anonymous>` where the source gives none.
    pub name: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub end_line: usize,
    /// Its numbers.
    pub numbers: Numbers,
}

/// Of one text.
#[derive(Debug)]
pub struct Measured {
    /// Of all of it.
    pub file: Numbers,
    /// In the order of the text, outer before inner.
    pub functions: Vec<Function>,
    /// Bytes of the first part that the grammar has no place for.
    pub error: Option<(usize, usize)>,
}

/// Measures one text.
///
/// # Errors
/// One sentence.
pub fn measure(grammar: LANG, code: &str) -> Result<Measured, String> {
    let said = |error: big_code_analysis::MetricsError| error.to_string();
    let ast = Ast::parse(Source::new(grammar, code.as_bytes())).map_err(said)?;
    let wanted = [Metric::Cyclomatic, Metric::Halstead, Metric::Mi];
    let unit = ast
        .metrics(MetricsOptions::default().with_only(&wanted))
        .map_err(said)?;
    let root = ast.as_tree_sitter().root_node();
    let (mut measured, all) = cognitive::cognitive(grammar, root, code);
    let mut functions = Vec::new();
    // No recursion: how deep functions are nested is the text's to say.
    let mut open = vec![&unit];
    while let Some(space) = open.pop() {
        if space.kind == SpaceKind::Function {
            functions.push(Function {
                name: name(space),
                line: space.start_line,
                end_line: space.end_line,
                numbers: numbers(
                    space,
                    space.metrics.cyclomatic.cyclomatic(),
                    cognitive::take(&mut measured, space),
                ),
            });
        }
        open.extend(space.spaces.iter().rev());
    }
    let cyclomatic = functions
        .iter()
        .map(|function| function.numbers.cyclomatic)
        .sum();
    Ok(Measured {
        file: numbers(&unit, cyclomatic, all),
        functions,
        error: first_error(&ast),
    })
}

fn name(space: &FuncSpace) -> String {
    let name = space.name.as_deref().filter(|name| !name.is_empty());
    name.unwrap_or("<anonymous>").to_owned()
}

fn numbers(space: &FuncSpace, cyclomatic: u64, cognitive: u64) -> Numbers {
    let metrics = &space.metrics;
    let halstead = &metrics.halstead;
    Numbers {
        cyclomatic,
        cognitive,
        halstead: Halstead {
            unique_operators: halstead.unique_operators(),
            total_operators: halstead.total_operators(),
            unique_operands: halstead.unique_operands(),
            total_operands: halstead.total_operands(),
            volume: halstead.volume(),
            difficulty: halstead.difficulty(),
            effort: halstead.effort(),
        },
        maintainability: (!metrics.mi.is_empty()).then(|| metrics.mi.visual_studio().min(100.0)),
        code_lines: metrics.loc.ploc(),
    }
}

/// Bytes of the first error or missing token, in the order of the text.
fn first_error(ast: &Ast) -> Option<(usize, usize)> {
    let root = ast.as_tree_sitter().root_node();
    if !root.has_error() {
        return None;
    }
    let mut cursor = root.walk();
    loop {
        let node = cursor.node();
        if node.is_error() || node.is_missing() {
            return Some((node.start_byte(), node.end_byte()));
        }
        if node.has_error() && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Some((root.start_byte(), root.end_byte()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
