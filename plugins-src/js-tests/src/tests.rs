use super::*;

fn scored(prompt: &str, text: &str, reference: &str) -> Vec<Score> {
    let plugin = JsTests {
        tests: Vec::new(),
        max_steps: 50,
    };
    let completion = Completion {
        prompt: prompt.to_owned(),
        text: text.to_owned(),
        reference: Some(reference.to_owned()),
        language: Some("javascript".to_owned()),
    };
    plugin.score(&completion).unwrap()
}

fn values(text: &str, reference: &str) -> (f64, f64) {
    let scores = scored("", text, reference);
    (scores[0].value, scores[1].value)
}

const TESTS: &str = "assert(add(1, 2) === 3);\nassert.deepEqual(add([1], [2]), '12');\n";

#[test]
fn all_tests_must_pass_and_each_counts() {
    assert_eq!(
        values("function add(a, b) { return a + b; }", TESTS),
        (1.0, 1.0)
    );
    assert_eq!(values("const add = (a, b) => a - -b;", TESTS), (0.0, 0.5));
    assert_eq!(values("const add = () => 0;", TESTS), (0.0, 0.0));
    assert_eq!(
        values("export const add = (a, b) => a + b;", TESTS),
        (1.0, 1.0)
    );
}

#[test]
fn code_stands_in_a_fence_or_behind_its_prompt() {
    let fenced = "Here:\n```js\nfunction add(a, b) { return a + b; }\n```\nDone.";
    assert_eq!(values(fenced, TESTS).0, 1.0);
    let scores = scored("function add(a, b) {\n", "  return a + b;\n}\n", TESTS);
    assert_eq!(scores[0].value, 1.0);
}

#[test]
fn the_reason_names_the_first_test_that_fails_or_what_the_code_throws() {
    let scores = scored("", "const add = () => 0;", TESTS);
    assert!(
        scores[0].reason.starts_with("assert(add(1, 2) === 3);: "),
        "{}",
        scores[0].reason
    );
    assert_eq!(scores[1].reason, "0 of 2");
    for (code, part) in [("let = = 2;", "Error"), ("missing();", "missing")] {
        let reason = &scored("", code, TESTS)[0].reason;
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn of_two_ways_that_fail_the_reason_is_of_the_one_that_runs() {
    let scores = scored("function add(a, b) {\n", "  return a - b;\n}\n", TESTS);
    assert_eq!(scores[0].value, 0.0);
    assert!(
        scores[0].reason.starts_with("assert(add(1, 2) === 3);: "),
        "{}",
        scores[0].reason
    );
    let scores = scored("function add(a, b) {\n", "  return a +;\n}\n", TESTS);
    assert_eq!(scores[1].reason, "0 of 2");
    assert!(
        scores[0].reason.contains("unexpected token"),
        "{}",
        scores[0].reason
    );
}

#[test]
fn recursion_without_an_end_throws_and_can_be_caught() {
    let endless = "function add(a, b) { return add(b, a) + 1; }";
    let reason = &scored("", endless, TESTS)[0].reason;
    assert!(
        reason.contains("Maximum call stack size exceeded"),
        "{reason}"
    );
    let caught = "function add(a, b) { try { return add(b, a) } catch { return a + b; } }";
    assert_eq!(values(caught, "assert(add(1, 2) === 3);\n"), (1.0, 1.0));
}

#[test]
fn what_does_not_end_or_takes_too_much_fails() {
    for code in [
        "for (;;) {}",
        "function add() { for (;;) {} }",
        "function add(a, b) { return add(b, a) + 1; }",
        "const add = () => { let all = []; for (;;) all.push('x'.repeat(100000) + all.length); };",
        "function add() { try { for (;;) {} } finally { return 3; } }",
    ] {
        assert_eq!(values(code, TESTS), (0.0, 0.0), "{code}");
    }
}

#[test]
fn code_cannot_pass_by_changing_what_judges_it() {
    for cheat in [
        "const assert = () => {}; assert.deepEqual = () => {}; const add = () => 0;",
        "globalThis.assert = () => {}; const add = () => 0;",
        "Object.is = () => true; Array.isArray = () => { throw 1; }; const add = () => 0;",
        "Object.keys = () => []; JSON.stringify = () => { throw 1; }; const add = () => ({});",
        "globalThis.Error = function () { return undefined; }; const add = () => 0;",
    ] {
        assert_eq!(
            values(cheat, "assert.deepEqual(add(1), { a: 1 });\n").0,
            0.0,
            "{cheat}"
        );
        assert_eq!(values(cheat, "assert(add(1) === 3);\n").0, 0.0, "{cheat}");
    }
}

#[test]
fn one_test_does_not_see_what_another_did() {
    let code = "let count = 0; function next() { return ++count; }";
    assert_eq!(
        values(code, "assert(next() === 1);\nassert(next() === 1);\n"),
        (1.0, 1.0)
    );
}

#[test]
fn there_is_nothing_to_reach() {
    for code in [
        "require('fs');",
        "fetch('x');",
        "import('fs');\nmissing;",
        "process.exit();",
        "std.open('x');",
    ] {
        assert_eq!(values(code, "assert(true);\n").0, 0.0, "{code}");
    }
}

#[test]
fn without_a_test_there_is_no_score() {
    let plugin = JsTests {
        tests: Vec::new(),
        max_steps: 10,
    };
    let completion = Completion {
        text: "x".to_owned(),
        ..Completion::default()
    };
    assert!(plugin.score(&completion).unwrap_err().contains("no tests"));
    let plugin = JsTests {
        tests: vec!["assert.equal(f(), 1)".to_owned()],
        ..plugin
    };
    let completion = Completion {
        text: "const f = () => 1;".to_owned(),
        ..completion
    };
    assert_eq!(plugin.score(&completion).unwrap()[0].value, 1.0);
}
