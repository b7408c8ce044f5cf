//! Cognitive complexity by SonarSource's paper (Campbell, Cognitive Complexity, 2018, appendix B), over a tree of tree-sitter.
//!
//! One for each break in the flow (loops, conditions, `switch`, `catch`, jumps to a label, a method that calls itself), one more
//! for each level at which those that nest are nested, one for each `else`, and one for each sequence of the same logical operator.
//! What the paper does not name counts nothing: comprehensions, `??`, `?.`. Of recursion the direct one is found; of what the paper
//! forgives languages, Python's decorators.

mod nodes;

use big_code_analysis::tree_sitter::Node;
use big_code_analysis::{FuncSpace, LANG};

use nodes::{Role, callee, decorated, has_own_calls, is_labelled, name_of, role};

/// One function, with its lines from 1.
#[derive(Debug)]
pub struct Function {
    /// Where it begins.
    pub line: usize,
    /// Where it ends.
    pub end_line: usize,
    /// Its own and those of functions in it.
    pub cognitive: u64,
    name: Option<String>,
    parent: Option<usize>,
    is_method: bool,
    calls_itself: bool,
    /// Whether a function of the crate has it.
    is_taken: bool,
}

/// The functions of a tree in the order of the text, and the number of all of it.
pub fn cognitive(language: LANG, root: Node<'_>, code: &str) -> (Vec<Function>, u64) {
    let mut walk = Walk {
        language,
        code,
        roles: Vec::new(),
        functions: Vec::new(),
        sum: 0,
        open: vec![Place {
            node: root,
            nesting: 0,
            function: None,
            is_operand: false,
            is_in_class: false,
            is_behind_else: false,
            is_in_expression: false,
            forgiven: None,
        }],
    };
    while let Some(place) = walk.open.pop() {
        walk.visit(place);
    }
    walk.recursion();
    (walk.functions, walk.sum)
}

/// The number of the function that the crate found: the first of its lines, of its name where two share them.
pub fn take(functions: &mut [Function], space: &FuncSpace) -> u64 {
    let from = functions.partition_point(|function| function.line < space.start_line);
    let is_one = |function: &Function| function.end_line == space.end_line && !function.is_taken;
    let here = functions[from..]
        .iter()
        .take_while(|function| function.line == space.start_line);
    let mut first = None;
    for (at, function) in here.enumerate() {
        if is_one(function) {
            if function.name == space.name {
                first = Some(at);
                break;
            }
            first = first.or(Some(at));
        }
    }
    first.map_or(0, |at| {
        let function = &mut functions[from + at];
        function.is_taken = true;
        function.cognitive
    })
}

/// A node and what holds where it stands.
#[derive(Clone, Copy)]
struct Place<'t> {
    node: Node<'t>,
    nesting: u64,
    function: Option<usize>,
    /// Whether it is a side of a logical operator, whose sequence was counted.
    is_operand: bool,
    /// Whether a class is nearer than a function.
    is_in_class: bool,
    /// Whether the word `else` stands before it.
    is_behind_else: bool,
    /// Whether an `else` here is no branch: `a if b else c`, `let … else`.
    is_in_expression: bool,
    /// The function that the decorator around it is made of.
    forgiven: Option<usize>,
}

struct Walk<'t, 'c> {
    language: LANG,
    code: &'c str,
    /// By the kind's id, as far as they were met.
    roles: Vec<Option<Role>>,
    functions: Vec<Function>,
    sum: u64,
    /// No recursion: how deep a text nests is not ours to say.
    open: Vec<Place<'t>>,
}

impl<'t> Walk<'t, '_> {
    fn visit(&mut self, place: Place<'t>) {
        let node = place.node;
        let mut inner = Place {
            is_operand: false,
            ..place
        };
        match self.role(node) {
            Role::None => {}
            Role::Skipped => return,
            Role::Structure => {
                self.add(place.function, 1 + place.nesting);
                inner.nesting += 1;
            }
            Role::If => {
                let is_plain_let = node.kind() == "let_declaration"
                    && node.child_by_field_name("alternative").is_none();
                // The word before an `else if` has paid.
                if !place.is_behind_else && !is_plain_let {
                    self.add(place.function, 1 + place.nesting);
                    inner.nesting += 1;
                }
            }
            Role::Else => {
                if !place.is_in_expression {
                    self.add(place.function, 1);
                }
            }
            // Around functions it keeps a header from being read twice.
            Role::Directive => {
                if place.function.is_some() {
                    self.add(place.function, 1 + place.nesting);
                    inner.nesting += 1;
                }
            }
            Role::OtherDirective => {
                if place.function.is_some() {
                    self.add(place.function, 1);
                }
            }
            Role::Jump => {
                if is_labelled(node) {
                    self.add(place.function, 1);
                }
            }
            Role::Class => inner.is_in_class = true,
            Role::Function => inner = self.enter(place, inner),
            Role::Logical => {
                if self.is_logical(node) {
                    if !place.is_operand {
                        let sequences = self.sequences(node);
                        self.add(place.function, sequences);
                    }
                    inner.is_operand = true;
                }
            }
            Role::Parentheses => inner.is_operand = place.is_operand,
            Role::Call => self.call(place),
        }
        inner.is_in_expression =
            matches!(node.kind(), "conditional_expression" | "let_declaration");
        let first = self.open.len();
        let mut cursor = node.walk();
        let mut is_behind_else = false;
        for child in node.children(&mut cursor) {
            self.open.push(Place {
                node: child,
                is_behind_else,
                ..inner
            });
            is_behind_else = child.kind() == "else";
        }
        self.open[first..].reverse();
    }

    fn role(&mut self, node: Node<'_>) -> Role {
        let id = usize::from(node.kind_id());
        if self.roles.len() <= id {
            self.roles.resize(id + 1, None);
        }
        let language = self.language;
        *self.roles[id].get_or_insert_with(|| role(node.kind(), language))
    }

    /// Adds to a function and to all around it.
    fn add(&mut self, function: Option<usize>, cost: u64) {
        self.sum += cost;
        let mut next = function;
        while let Some(at) = next {
            self.functions[at].cognitive += cost;
            next = self.functions[at].parent;
        }
    }

    fn enter(&mut self, place: Place<'t>, inner: Place<'t>) -> Place<'t> {
        let node = place.node;
        let name = name_of(node).map(|name| self.code[name.byte_range()].to_owned());
        self.functions.push(Function {
            line: node.start_position().row + 1,
            end_line: node.end_position().row + 1,
            cognitive: 0,
            name,
            parent: place.function,
            is_method: place.is_in_class,
            calls_itself: false,
            is_taken: false,
        });
        Place {
            function: Some(self.functions.len() - 1),
            nesting: match place.function {
                // What stands around the outermost function is not read with it.
                None => 0,
                Some(_) if place.forgiven == Some(node.id()) => place.nesting,
                Some(_) => place.nesting + 1,
            },
            forgiven: decorated(node),
            is_in_class: false,
            ..inner
        }
    }

    /// Notes a call of the function by itself.
    fn call(&mut self, place: Place<'t>) {
        let Some(at) = place.function else { return };
        let Some((callee, is_member)) = callee(place.node, self.code) else {
            return;
        };
        let function = &mut self.functions[at];
        // Where a method has another way to be called, the same name alone is another function's.
        let is_own = !has_own_calls(self.language) || function.is_method == is_member;
        if is_own && Some(&self.code[callee.byte_range()]) == function.name.as_deref() {
            function.calls_itself = true;
        }
    }

    /// A method that calls itself costs one, however often it does; one of several of its name may call another.
    fn recursion(&mut self) {
        for at in 0..self.functions.len() {
            let function = &self.functions[at];
            let of_name = self.functions.iter();
            let of_name = of_name.filter(|other| other.name == function.name);
            if function.calls_itself && of_name.count() == 1 {
                self.add(Some(at), 1);
            }
        }
    }

    fn is_logical(&self, node: Node<'_>) -> bool {
        let mut cursor = node.walk();
        node.children(&mut cursor)
            .any(|child| self.operator(child).is_some())
    }

    /// The logical operator that a token is, one word for both spellings.
    fn operator(&self, token: Node<'_>) -> Option<&'static str> {
        if token.is_named() {
            return None;
        }
        match token.kind() {
            "&&" | "and" => Some("and"),
            "||" | "or" => Some("or"),
            _ => None,
        }
    }

    /// How often the operator is another one than that before it, in the order of the text and through parentheses.
    fn sequences(&mut self, root: Node<'t>) -> u64 {
        let (mut count, mut before) = (0, None);
        let mut open = vec![root];
        while let Some(node) = open.pop() {
            if let Some(operator) = self.operator(node) {
                count += u64::from(before != Some(operator));
                before = Some(operator);
                continue;
            }
            let is_part = match self.role(node) {
                Role::Parentheses => true,
                Role::Logical => self.is_logical(node),
                _ => false,
            };
            if is_part {
                let first = open.len();
                let mut cursor = node.walk();
                open.extend(node.children(&mut cursor));
                open[first..].reverse();
            }
        }
        count
    }
}
