//! What `python-tests` makes of completions: Python on Python inside the sandbox.

use serde_json::{Value, json};

use crate::packs::{score_with, values};

const TESTS: &str = "assert add(1, 2) == 3\nassert add([1], [2]) == [1, 2]\n";

/// Both scores, or why there are none.
fn judged(config: Value, text: &str, tests: &str) -> Result<(f64, f64), String> {
    let scores = values(Ok(score_with("python-tests", config, text, Some(tests))?));
    assert_eq!(
        (scores[0].0.as_str(), scores[1].0.as_str()),
        ("pass", "tests_passed")
    );
    Ok((scores[0].1, scores[1].1))
}

fn judge(text: &str, tests: &str) -> (f64, f64) {
    judged(json!({}), text, tests).unwrap()
}

fn reason(text: &str) -> String {
    let scores = score_with("python-tests", json!({}), text, Some(TESTS)).unwrap();
    scores[0].reason.clone()
}

#[test]
fn all_tests_must_pass_and_each_counts() {
    for (text, pass, share) in [
        ("def add(a, b):\n    return a + b\n", 1.0, 1.0),
        ("add = lambda a, b: a - -b\n", 0.0, 0.5),
        ("def add(a, b):\n    return 0\n", 0.0, 0.0),
        (
            "So:\n```python\ndef add(a, b):\n    return a + b\n```\n",
            1.0,
            1.0,
        ),
    ] {
        assert_eq!(judge(text, TESTS), (pass, share), "{text}");
    }
    let config = json!({ "tests": ["assert add('a', 'b') == 'ab'"] });
    let text = "def add(a, b):\n    return a + b\n";
    assert_eq!(judged(config.clone(), text, "").unwrap(), (1.0, 1.0));
    assert_eq!(judged(config, "add = 1", TESTS).unwrap(), (0.0, 0.0));
    let message = judged(json!({}), text, "").unwrap_err();
    assert!(message.contains("config.tests"), "{message}");
}

#[test]
fn the_reason_names_the_first_test_that_fails_or_what_the_code_raises() {
    for (text, expected) in [
        (
            "add = max",
            "assert add([1], [2]) == [1, 2]: AssertionError",
        ),
        (
            "def add(a, b): return 1 / 0",
            "assert add(1, 2) == 3: ZeroDivisionError: division by zero",
        ),
        ("missing()", "NameError: name 'missing' is not defined"),
        (
            "return 1",
            "SyntaxError: 'return' outside function (<code>, line 1)",
        ),
    ] {
        let text = text.replace("max", "lambda a, b: 3");
        assert_eq!(reason(&text), expected);
    }
}

#[test]
fn references_may_hold_functions_of_tests() {
    let check = "def check(candidate):\n    assert candidate(1, 2) == 3\n";
    assert_eq!(judge("def plus(a, b): return a + b", check), (1.0, 1.0));
    assert_eq!(judge("def plus(a, b): return a - b", check), (0.0, 0.0));
    let two =
        "def test_a():\n    assert add(1, 2) == 3\n\ndef test_b():\n    assert add(0, 0) == 1\n";
    assert_eq!(judge("def add(a, b): return a + b", two), (0.0, 0.5));
}

#[test]
fn code_that_does_not_end_is_stopped_however_it_catches_that() {
    for body in [
        "while True: pass",
        "return add(b, a) + 1",
        "return [x for x in itertools.count() if x < 0]",
        "return sum(map(lambda x: x, itertools.count()))",
        "def g():\n        while True: yield 1\n    return sum(g())",
        "try:\n        while True: pass\n    except BaseException: return a + b",
        "try:\n        while True: pass\n    finally: return a + b",
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "try:\n        while True: pass\n    except BaseException: return add(a, b)",
        "raise SystemExit(0)",
        "raise KeyboardInterrupt",
        "exit()",
    ] {
        let text = format!("import itertools\ndef add(a, b):\n    {body}\n");
        let config = json!({ "max_steps": 20_000 });
        assert_eq!(judged(config, &text, TESTS).unwrap(), (0.0, 0.0), "{body}");
    }
    assert_eq!(reason("while True: pass"), "takes more than 1000000 steps");
}

#[test]
fn what_only_the_machine_can_stop_is_that_completions_error() {
    let message = judged(json!({}), "x = 10 ** 10 ** 8", "assert x").unwrap_err();
    assert!(
        message.starts_with("fuel:") || message.starts_with("deadline:"),
        "{message}"
    );
    // Python itself sees that memory ends.
    assert_eq!(
        judge("x = [0] * 10 ** 9", "assert x").0,
        0.0,
        "more memory than there is"
    );
}

#[test]
fn code_cannot_pass_by_what_is_near() {
    for cheat in [
        "class A:\n    def __eq__(self, other): return True\ndef add(a, b): return A()",
        "class A(list):\n    def __eq__(self, other): return True\ndef add(a, b): return A()",
        "class A(int):\n    def __eq__(self, other): return True\ndef add(a, b): return [A()]",
        "AssertionError = ValueError\ndef add(a, b): return 0",
        "class E(Exception):\n    def __bool__(self): return False\ndef add(a, b): raise E",
        "class E(Exception):\n    def __str__(self): raise self\ndef add(a, b): raise E",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef add(a, b): raise E",
        "def g(): yield\ndef add(a, b): return g().gi_frame.f_back",
        "def add(a, b):\n    try: 1 / 0\n    except Exception as e: return e.__traceback__.tb_frame.f_back",
        "def add(a, b): return add.__globals__",
    ] {
        assert_eq!(judge(cheat, TESTS), (0.0, 0.0), "{cheat}");
    }
    let honest = "class P:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other.x\n";
    assert_eq!(judge(honest, "assert P(1) == P(1) != P(2)").0, 1.0);
}

#[test]
fn there_is_nothing_to_reach() {
    for code in [
        "import os",
        "import sys",
        "import socket",
        "import ctypes",
        "from os import path",
        "from . import x",
        "import random\nrandom._os",
        "open('x')",
        "from io import open",
        "from math import missing",
        "input()",
        "x = 1\0",
    ] {
        assert_eq!(judge(code, "assert True").0, 0.0, "{code}");
    }
}

#[test]
fn modules_that_compute_are_there_and_the_clock_stands_still() {
    let code = r"
from __future__ import annotations
import bisect, cmath, collections.abc, copy, decimal, fractions, functools, hashlib, heapq, itertools, json, math, operator
import re, statistics, string, textwrap, numbers, array, abc, enum, unicodedata, contextlib
from collections import *
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import *

@dataclass
class Point:
    x: int = 1
    names: List[str] = field(default_factory=list)

class Colour(enum.Enum):
    RED = enum.auto()

Pair = namedtuple('Pair', 'a b')
print(Point(), Colour.RED, Pair(1, 2), '\d')
x = str(2 ** 10000)
";
    let tests = "assert Point() == Point()\nassert datetime.now().year == 1970 and date.today().day == 1\n\
        assert datetime.strptime('2020-01-02', '%Y-%m-%d').strftime('%d %b') == '02 Jan'\n\
        assert get_type_hints(Point)['x'] is int\nassert re.sub('a', 'b', 'aa') == 'bb'\n\
        assert hashlib.sha256(b'').hexdigest().startswith('e3b0')\nassert len(x) == 3011\n";
    let scores = score_with("python-tests", json!({}), code, Some(tests)).unwrap();
    assert_eq!(scores[0].value, 1.0, "{scores:?}");
}

#[test]
fn one_test_does_not_see_what_another_did() {
    let code = "import random, math, fractions, decimal\ncount = 0\n\
        def next_():\n    global count\n    count += 1\n    return count, random.random()\n\
        math.pi, before = 3, math.pi\ndecimal.getcontext().prec += 1\n\
        half = fractions.Fraction(1, 2) == 3\nfractions.Fraction.__eq__ = lambda a, b: True\n";
    let tests = "assert next_() == (1, 0.8444218515250481)\n".repeat(2)
        + "assert before > 3.1\nassert decimal.getcontext().prec == 29\nassert not half\n";
    assert_eq!(judge(code, &tests), (1.0, 1.0));
}
