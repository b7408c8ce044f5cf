//! One test after one piece of code, in a runtime of its own: nothing that one does is seen by another.
//!
//! The interpreter stops after `max_steps` looks at its counter and beyond 64 MiB. What `assert` is was settled before the
//! code ran, and is handed to the test as an argument: code that defines an `assert` of its own passes no test by it.

use std::cell::Cell;

use rquickjs::{CatchResultExt, Context, Ctx, Function, Runtime, Value};

const MEMORY: usize = 64 << 20;
/// Bytes of the stack in memory, beyond which JavaScript throws: some thousand calls. They take eight to sixteen times as much of
/// the machine's stack, of which the host gives 8 MiB; at a megabyte here, nested brackets end that first.
const STACK: usize = if cfg!(target_family = "wasm") {
    384 << 10
} else {
    1 << 20
};

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Neither the code nor the test threw.
    Passed,
    /// The test threw; the message.
    Failed(String),
    /// The code threw; the message.
    Broken(String),
}

/// `assert(value)`, and of Node's `assert` what pure functions need. It keeps to itself what the code could change.
const ASSERT: &str = r#"(() => {
    const { is, keys, getPrototypeOf } = Object, { isArray } = Array, { stringify } = JSON, text = String;
    const show = (value) => {
        try { return text(stringify(value)); } catch { return typeof value; }
    };
    const fail = (message) => { throw new Error(message); };
    const same = (a, b) => {
        if (is(a, b)) return true;
        if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
        if (isArray(a) !== isArray(b) || getPrototypeOf(a) !== getPrototypeOf(b)) return false;
        const names = keys(a);
        if (names.length !== keys(b).length) return false;
        for (let at = 0; at < names.length; at++) {
            if (!(names[at] in b) || !same(a[names[at]], b[names[at]])) return false;
        }
        return true;
    };
    const assert = (value, message) => { if (!value) fail(message ?? "it is not so"); };
    const equal = (a, b) => { if (!is(a, b)) fail(`${show(a)} is not ${show(b)}`); };
    const deepEqual = (a, b) => { if (!same(a, b)) fail(`${show(a)} is not ${show(b)}`); };
    const notEqual = (a, b) => { if (is(a, b)) fail(`both are ${show(a)}`); };
    const throws = (call) => {
        try { call(); } catch { return; }
        fail("it throws nothing");
    };
    assert.ok = assert;
    assert.equal = assert.strictEqual = equal;
    assert.notEqual = assert.notStrictEqual = notEqual;
    assert.deepEqual = assert.deepStrictEqual = deepEqual;
    assert.throws = throws;
    return assert;
})()"#;

/// What a script may expect to be there: a console that nobody reads, and a module to export from.
const SURROUNDINGS: &str = r#"
var console = { log() {}, error() {}, warn() {}, info() {}, debug() {} };
var module = { exports: {} }, exports = module.exports;
"#;

/// Runs `code`, then `test`.
pub fn run(code: &str, test: &str, max_steps: u32) -> Outcome {
    let prepared = prepare(max_steps);
    let (_runtime, context) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    context.with(|ctx| {
        let evaluated = |source: String| ctx.eval::<Value<'_>, _>(source).catch(&ctx);
        let assert = match evaluated(ASSERT.to_owned()) {
            Ok(assert) => assert,
            Err(error) => return Outcome::Broken(said(&error.to_string())),
        };
        if let Err(error) = evaluated(format!("{SURROUNDINGS}{}", without_exports(code))) {
            return Outcome::Broken(said(&error.to_string()));
        }
        match test_with(&ctx, test, assert) {
            Ok(()) => Outcome::Passed,
            Err(why) => Outcome::Failed(why),
        }
    })
}

fn prepare(max_steps: u32) -> rquickjs::Result<(Runtime, Context)> {
    let runtime = Runtime::new()?;
    runtime.set_memory_limit(MEMORY);
    runtime.set_max_stack_size(STACK);
    let steps = Cell::new(0);
    runtime.set_interrupt_handler(Some(Box::new(move || {
        steps.set(steps.get() + 1);
        steps.get() > max_steps
    })));
    let context = Context::full(&runtime)?;
    Ok((runtime, context))
}

/// The test as a function of `assert`, so that no other thing of that name stands before it.
fn test_with<'js>(ctx: &Ctx<'js>, test: &str, assert: Value<'js>) -> Result<(), String> {
    let source = format!("((assert) => {{ {test}\n}})");
    let function: Function<'js> = ctx
        .eval(source)
        .catch(ctx)
        .map_err(|error| said(&error.to_string()))?;
    function
        .call::<_, Value<'js>>((assert,))
        .catch(ctx)
        .map(drop)
        .map_err(|error| said(&error.to_string()))
}

/// A script cannot export; what it exports is there all the same.
fn without_exports(code: &str) -> String {
    let lines = code.lines().map(|line| {
        let rest = line
            .strip_prefix("export default ")
            .or_else(|| line.strip_prefix("export "));
        rest.filter(|rest| !rest.starts_with(['{', '*']))
            .unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The first line of a message.
fn said(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}
