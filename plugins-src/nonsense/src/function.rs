//! A function that computes nothing that anybody wants, in no language yet: numbers come in, are mixed, and one goes out.
//! It ends, divides by nothing, and touches nothing outside.

use draws::Random;

/// Words that no language keeps for itself; more than one function takes.
const WORDS: [&str; 24] = [
    "blorp", "brillig", "chortle", "dindle", "fimble", "frumious", "galumph", "gimble", "gizzle",
    "mimsy", "mizzle", "mome", "plumbus", "quonk", "rath", "slithy", "snark", "squee", "tove",
    "tulgey", "uffish", "vorpal", "wabe", "wibble",
];
/// Bounds that keep numbers small.
const PRIMES: [u64; 6] = [97, 101, 211, 509, 1009, 9973];

/// How a language writes a name of two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// `two_words`.
    Snake,
    /// `twoWords`.
    Camel,
}

/// What one step does to the number that goes out in the end. Expressions are arithmetic that every language writes alike.
pub(crate) enum Step {
    /// It becomes this.
    Assign(String),
    /// It becomes this so many times over.
    Repeat {
        counter: &'static str,
        times: u64,
        value: String,
    },
    /// It becomes one or the other.
    Branch {
        condition: String,
        value: String,
        otherwise: String,
    },
}

/// See the module.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) parameters: Vec<&'static str>,
    /// The number that goes out, and what it begins as.
    pub(crate) number: &'static str,
    pub(crate) begins: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) result: String,
}

impl Function {
    /// Draws one whose name is not taken.
    pub(crate) fn draw(random: &mut Random, names: Names, is_taken: impl Fn(&str) -> bool) -> Self {
        let mut words = WORDS.to_vec();
        let (first, second) = (random.take(&mut words), random.take(&mut words));
        let number = random.take(&mut words);
        let counter = random.take(&mut words);
        let parameters: Vec<&str> = (0..1 + random.below(3))
            .map(|_| random.take(&mut words))
            .collect();
        let begins = expression(random, &parameters, 2);
        let steps = (0..2 + random.below(3))
            .map(|_| step(random, &parameters, number, counter))
            .collect();
        let result = format!("{number} + {}", expression(random, &parameters, 1));
        Self {
            name: free(&name(names, first, second), is_taken),
            parameters,
            number,
            begins,
            steps,
            result,
        }
    }
}

fn name(names: Names, first: &str, second: &str) -> String {
    match names {
        Names::Snake => format!("{first}_{second}"),
        Names::Camel => format!("{first}{}", capital(second)),
    }
}

/// With its first letter large.
pub(crate) fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_ascii_uppercase() + rest
}

/// The name, or the first with a number behind it that is not taken. Types bear it with a capital.
fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !is_taken(name) && !is_taken(&capital(name)))
        .unwrap_or_else(|| name.to_owned())
}

fn step(
    random: &mut Random,
    parameters: &[&str],
    number: &'static str,
    counter: &'static str,
) -> Step {
    let mut names = parameters.to_vec();
    names.push(number);
    let prime = random.pick(&PRIMES);
    match random.below(3) {
        0 => Step::Assign(format!(
            "({number} + {}) % {prime}",
            expression(random, &names, 2)
        )),
        1 => Step::Repeat {
            counter,
            times: 2 + random.below(9),
            value: format!(
                "({number} + {counter} * {}) % {prime}",
                random.pick(parameters)
            ),
        },
        _ => Step::Branch {
            condition: format!("{number} > {}", random.pick(parameters)),
            value: format!("{number} - {}", 1 + random.below(99)),
            otherwise: format!("{number} + {}", expression(random, parameters, 1)),
        },
    }
}

/// Sums, differences and products of names and small numbers; it begins with a name.
fn expression(random: &mut Random, names: &[&str], depth: u32) -> String {
    let left = random.pick(names);
    let sign = random.pick(&["+", "-", "*"]);
    match random.below(3) {
        0 => format!("{left} {sign} {}", 2 + random.below(97)),
        2 if depth > 1 => format!("{left} {sign} ({})", expression(random, names, depth - 1)),
        _ => format!("{left} {sign} {}", random.pick(names)),
    }
}
