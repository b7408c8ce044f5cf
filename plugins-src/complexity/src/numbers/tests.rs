use super::*;

fn measured(language: &str, code: &str) -> Measured {
    measure(grammar(language).unwrap(), code).unwrap()
}

fn numbers_of(language: &str, code: &str) -> Vec<(String, u64, u64)> {
    let functions = measured(language, code).functions;
    let functions = functions.into_iter();
    functions
        .map(|f| (f.name, f.numbers.cyclomatic, f.numbers.cognitive))
        .collect()
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-4
}

/// A loop, a condition in it, and one operator: 1 + 3 decisions; 1 for the loop, 2 for the nested condition, 1 for `and`.
const SAME: [(&str, &str); 11] = [
    (
        "python",
        "def f(a, b):\n    for x in a:\n        if x and b:\n            g(x)\n",
    ),
    (
        "javascript",
        "function f(a, b) { for (const x of a) { if (x && b) { g(x); } } }\n",
    ),
    (
        "jsx",
        "function f(a, b) { for (const x of a) { if (x && b) { g(<p/>); } } }\n",
    ),
    (
        "typescript",
        "function f(a: X[], b: X): void { for (const x of a) { if (x && b) { g(x); } } }\n",
    ),
    (
        "tsx",
        "function f(a: X[], b: X): void { for (const x of a) { if (x && b) { g(<p/>); } } }\n",
    ),
    (
        "rust",
        "fn f(a: &[bool], b: bool) { for x in a { if *x && b { g(x); } } }\n",
    ),
    (
        "go",
        "package p\n\nfunc f(a []bool, b bool) {\n\tfor _, x := range a {\n\t\tif x && b {\n\t\t\tg(x)\n\t\t}\n\t}\n}\n",
    ),
    (
        "java",
        "class A { void f(boolean[] a, boolean b) { for (boolean x : a) { if (x && b) { g(x); } } } }\n",
    ),
    (
        "c",
        "void f(int *a, int b) { for (int i = 0; a[i]; i++) { if (a[i] && b) { g(a[i]); } } }\n",
    ),
    (
        "c++",
        "void f(const V &a, bool b) { for (auto x : a) { if (x && b) { g(x); } } }\n",
    ),
    (
        "shell",
        "f() {\n  for x in \"$@\"; do\n    if [[ $x && $b ]]; then\n      g \"$x\"\n    fi\n  done\n}\n",
    ),
];

#[test]
fn the_same_function_has_the_same_complexities_in_every_language() {
    for (language, code) in SAME {
        let measured = measured(language, code);
        assert_eq!(measured.error, None, "{language}");
        assert_eq!(
            numbers_of(language, code),
            [("f".to_owned(), 4, 4)],
            "{language}"
        );
        assert_eq!((measured.file.cyclomatic, measured.file.cognitive), (4, 4));
    }
    assert_eq!(SAME.map(|(language, _)| language), LANGUAGES);
}

// The two shapes with which SonarSource's paper begins: alike to McCabe, told apart by the cognitive number.
#[test]
fn nested_loops_with_a_labelled_jump_cost_seven_and_a_flat_switch_one() {
    let loops = "class A { int f(int most) { int sum = 0; OUTER: for (int i = 2; i < most; i++) { for (int j = 2; j < i; j++) { \
                 if (i % j == 0) { continue OUTER; } } sum += i; } return sum; } }";
    assert_eq!(numbers_of("java", loops), [("f".to_owned(), 4, 7)]);
    let flat = "class A { String f(int n) { switch (n) { case 1: return \"a\"; case 2: return \"b\"; case 3: return \"c\"; \
                default: return \"d\"; } } }";
    assert_eq!(numbers_of("java", flat), [("f".to_owned(), 4, 1)]);
}

#[test]
fn a_run_of_one_operator_costs_one_and_each_change_of_operator_one_more() {
    for (condition, cognitive) in [
        ("a && b && c && d", 2),
        ("a && b || c", 3),
        ("a && b && c || d || e && f", 4),
    ] {
        let code = format!("function f() {{ if ({condition}) {{ g(); }} }}");
        assert_eq!(
            numbers_of("javascript", &code)[0].2,
            cognitive,
            "{condition}"
        );
    }
}

// What the paper says of sequences: one that is negated, or an argument, is one of its own.
#[test]
fn a_negated_group_and_an_argument_begin_a_sequence_of_their_own() {
    for (condition, cognitive) in [
        ("a && !(b && c)", 3),
        ("!(a || b) && !(c || d)", 4),
        ("a && (b && c)", 2),
        ("a || b && c || d", 4),
        ("f(a && b) && c", 3),
        ("!(a && b)", 2),
        ("(a ?? b) === c", 1),
    ] {
        let code = format!("function f() {{ if ({condition}) {{ g(); }} }}");
        // `f` would be recursion.
        let code = code.replace("f(a && b)", "h(a && b)");
        assert_eq!(
            numbers_of("javascript", &code)[0].2,
            cognitive,
            "{condition}"
        );
    }
    for (language, code) in [
        (
            "python",
            "def f(a, b, c):\n    if a and not (b and c):\n        g()\n",
        ),
        ("rust", "fn f(a: bool) { if a && !(b && c) { g(); } }"),
        (
            "go",
            "package p\nfunc f(a bool) { if a && !(b && c) { g() } }\n",
        ),
        (
            "java",
            "class A { void f(boolean a) { if (a && !(b && c)) { g(); } } }",
        ),
        ("c", "void f(int a) { if (a && !(b && c)) { g(); } }"),
        ("c++", "void f(bool a) { if (a and not (b && c)) { g(); } }"),
        (
            "typescript",
            "function f(a: X) { if (a && !(b && c)) { g(); } }",
        ),
    ] {
        assert_eq!(numbers_of(language, code)[0].2, 3, "{language}");
    }
}

#[test]
fn a_shells_lists_are_sequences_too() {
    for (code, cognitive) in [
        ("a && b && c", 1),
        ("a && b || c", 2),
        ("if ! { a && b; } && c; then d; fi", 3),
        ("case $x in a) b;; c) d;; esac", 1),
    ] {
        let code = format!("f() {{\n  {code}\n}}\n");
        assert_eq!(numbers_of("shell", &code)[0].2, cognitive, "{code}");
    }
}

#[test]
fn jumps_to_labels_and_calls_of_itself_cost_one() {
    for (language, code, cognitive) in [
        ("c", "void f(void) { goto end; end: return; }", 1),
        ("go", "package p\nfunc f() { a: for { break a } }\n", 2),
        ("rust", "fn f() { 'a: loop { loop { break 'a; } } }", 4),
        (
            "javascript",
            "function f() { a: for (;;) { continue a; } }",
            2,
        ),
        ("python", "def f(n):\n    return f(n - 1) + f(n - 2)\n", 1),
        (
            "python",
            "class A:\n    def f(self):\n        self.f()\n        other.f()\n",
            1,
        ),
        ("java", "class A { void f() { a.f(); } }", 0),
        ("java", "class A { void f() { f(); } }", 1),
        // Another one of the name.
        (
            "java",
            "class A { void f(int a) { f(String.valueOf(a)); } void f(String a) {} }",
            0,
        ),
        ("rust", "impl A { fn f(&self) { f(self); } }", 0),
        ("rust", "impl A { fn f(&self) { self.f(); } }", 1),
        ("javascript", "class A { f() { f(); } }", 0),
        ("c++", "struct A { void f() { this->f(); } };", 1),
        ("rust", "fn f(n: u8) { g(f); f(n); }", 1),
        ("shell", "f() {\n  f \"$1\"\n}\n", 1),
    ] {
        assert_eq!(numbers_of(language, code)[0].2, cognitive, "{code}");
    }
}

#[test]
fn every_structure_costs_one_and_its_nesting() {
    for (language, code, cognitive) in [
        (
            "python",
            "def f():\n    try:\n        a()\n    except E:\n        if b:\n            c()\n    finally:\n        d()\n",
            3,
        ),
        (
            "python",
            "def f(x):\n    match x:\n        case 1:\n            return 1 if a else 2\n",
            3,
        ),
        ("python", "def f(x):\n    return [y for y in x if y]\n", 0),
        (
            "java",
            "class A { void f() { try { a(); } catch (E e) { while (b) { c(); } } } }",
            3,
        ),
        (
            "java",
            "class A { int f(int x) { return switch (x) { case 1 -> a ? 1 : 2; default -> 3; }; } }",
            3,
        ),
        (
            "go",
            "package p\nfunc f() { select { case <-a: if b { c() } } }\n",
            3,
        ),
        ("rust", "fn f() { let Some(x) = a else { return }; }", 1),
        (
            "rust",
            "fn f() { if let Some(x) = a && b { c() } else if d { e() } else { g() } }",
            4,
        ),
        (
            "c",
            "void f(void) {\n#ifdef A\n  if (a) { b(); }\n#else\n  c();\n#endif\n}\n",
            4,
        ),
        (
            "c",
            "#ifndef A_H\n#define A_H\nvoid f(void) { if (a) { b(); } }\n#endif\n",
            1,
        ),
        (
            "c++",
            "void f() { for (auto x : y) { auto g = [&] { if (a) { b(); } }; } }",
            4,
        ),
        (
            "javascript",
            "function f() { a.map((x) => { if (x) { b(); } }); }",
            2,
        ),
    ] {
        assert_eq!(numbers_of(language, code)[0].2, cognitive, "{code}");
    }
}

#[test]
fn what_a_decorator_is_made_of_nests_no_deeper() {
    let code =
        "def f(a):\n    @wraps(a)\n    def g(x):\n        if x:\n            pass\n    return g\n";
    assert_eq!(numbers_of("python", code)[0].2, 1);
    let more = code.replace("    return g", "    h()\n    return g");
    assert_eq!(numbers_of("python", &more)[0].2, 2);
}

#[test]
fn functions_on_one_line_have_their_own_numbers() {
    let code = "const f = (x) => x ? 1 : 2; const g = (x) => x; function h(a) { return a && b; }\n";
    let found: Vec<u64> = numbers_of("javascript", code).iter().map(|f| f.2).collect();
    assert_eq!(found, [1, 0, 1]);
}

#[test]
fn else_and_elif_cost_one_and_never_for_their_nesting() {
    let code = "def f(x):\n    if x > 1:\n        pass\n    elif x > 2:\n        pass\n    else:\n        pass\n";
    assert_eq!(numbers_of("python", code), [("f".to_owned(), 3, 3)]);
}

#[test]
fn each_arm_of_a_match_but_the_last_resort_is_a_decision() {
    let code = "fn f(x: u8) -> u8 { match x { 0 => 1, 1 => 2, _ => 3 } }";
    assert_eq!(numbers_of("rust", code), [("f".to_owned(), 3, 1)]);
}

#[test]
fn a_function_in_a_function_counts_apart_for_mccabe_and_nested_for_cognition() {
    let code = "def f(x):\n    def g(y):\n        if y:\n            pass\n    g(x)\n";
    let found = numbers_of("python", code);
    assert_eq!(found[0].1, 1);
    assert_eq!(found[1], ("g".to_owned(), 2, 2));
    // 1 for the condition and 1 because it is nested in a function.
    assert_eq!(found[0].2, 2);
}

#[test]
fn halsteads_numbers_are_those_worked_out_by_hand() {
    // Operators `=`, `+`, `*`; operands x, a, b, a.
    let file = measured("python", "x = a + b * a\n").file;
    let halstead = &file.halstead;
    assert_eq!(
        (halstead.unique_operators, halstead.total_operators),
        (3, 3)
    );
    assert_eq!((halstead.unique_operands, halstead.total_operands), (3, 4));
    // 7 log2(6), 3/2 · 4/3, their product.
    assert!(close(halstead.volume, 18.094_738), "{halstead:?}");
    assert!(close(halstead.difficulty, 2.0), "{halstead:?}");
    assert!(close(halstead.effort, 36.189_475), "{halstead:?}");
    // 100 (171 - 5.2 ln 18.094738 - 0.23 · 1 - 16.2 ln 1) / 171
    let maintainability = file.maintainability.unwrap();
    assert!(
        (maintainability - 91.0602).abs() < 1e-3,
        "{maintainability}"
    );
}

#[test]
fn a_text_without_code_has_no_maintainability() {
    for code in ["", "# only words\n"] {
        assert_eq!(measured("python", code).file.maintainability, None);
    }
}

#[test]
fn what_does_not_parse_is_shown_where_it_begins() {
    let code = "int f(void) { return 1; }\nint g( { return }\n";
    let (start, _) = measured("c", code).error.unwrap();
    assert!(start >= code.find("int g").unwrap(), "{start}");
}

#[test]
fn deep_nesting_ends() {
    let code = format!("x = {}1{}\n", "(".repeat(5_000), ")".repeat(5_000));
    measured("python", &code);
}
