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
    for ends in [
        "import sys\nsys.exit(0)",
        "import sys\ndef add(a, b): sys.exit(0)",
        "raise SystemExit",
        "def add(a, b): raise GeneratorExit",
        "class E(BaseException): pass\ndef add(a, b): raise E",
        "import os\ndef add(a, b): os._exit(0)",
        "import sys\ndef add(a, b): return getattr(sys, '_get' + 'frame')(1).f_locals",
        "import sys\ndef add(a, b):\n    sys.setrecursionlimit(20)\n    return 0",
        "__builtins__['isinstance'] = lambda *_: True\ndef add(a, b): return 0",
    ] {
        assert_eq!(judge(ends, TESTS), (0.0, 0.0), "{ends}");
    }
    let honest = "class P:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return self.x == other.x\n";
    assert_eq!(judge(honest, "assert P(1) == P(1) != P(2)").0, 1.0);
}

#[test]
fn code_cannot_pass_by_changing_or_reading_what_judges_it() {
    let check = "import math\nfrom fractions import Fraction\ndef check(candidate):\n    \
        assert math.isclose(candidate(1, 2), 3)\n    assert Fraction(candidate(1, 2)) == Fraction(3)\n    \
        assert abs(candidate(1, 2) - 3) < 1\n";
    let class = "import unittest\nclass TestAdd(unittest.TestCase):\n    def test_add(self):\n        \
        found = add(1, 2)\n        self.assertEqual(found, 3)\n";
    assert_eq!(judge("def add(a, b): return a + b", check), (1.0, 1.0));
    assert_eq!(judge("def add(a, b): return a + b", class), (1.0, 1.0));
    for cheat in [
        "import math\nmath.isclose = lambda *_: True\nimport fractions\nfractions.Fraction.__eq__ = lambda *_: True\n\
         __builtins__['abs'] = lambda _: 0\ndef add(a, b): return 7",
        "def add(a, b):\n    __builtins__['abs'] = lambda _: 0\n    return 3",
        "import fractions\ndef add(a, b):\n    fractions.Fraction.__eq__ = lambda *_: True\n    return 3",
        "def add(a, b): return globals()['check'].__code__.co_consts[1]",
        "def add(a, b):\n    globals()['check'].__code__ = (lambda candidate: None).__code__\n    return 7",
        "import unittest\nunittest.TestCase.assertEqual = lambda *_: None\ndef add(a, b): return 7",
        "import unittest\ndef add(a, b):\n    unittest.TestCase.assertEqual = lambda *_: None\n    return 7",
        "import unittest\ndef add(a, b):\n    unittest.TestCase.assertEqual.__code__ = (lambda *_: None).__code__\n    return 7",
        "import unittest\nclass Yes(unittest.TestCase):\n    def assertEqual(self, *_): pass\n\
         unittest.TestCase = Yes\ndef add(a, b): return 7",
    ] {
        let of_tests = judge(cheat, check).0 + judge(cheat, class).0;
        let is_right = cheat.ends_with("return 3");
        // One that is right but for what it changes may pass where it is not looked at.
        assert!(of_tests <= f64::from(u8::from(is_right)), "{cheat}");
        assert!(!is_right || judge(cheat, check).0 == 0.0, "{cheat}");
    }
}

#[test]
fn there_is_nothing_to_reach() {
    for code in [
        "import os\nos._exit(0)",
        "import os\nos.abort()",
        "import sys\nsys.modules",
        "from sys import meta_path",
        "import nothing_of_this_name",
        "from json import decoder",
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
fn what_is_missing_here_and_there_elsewhere_says_nothing_of_the_code() {
    for (code, what) in [
        ("import numpy as np", "numpy"),
        (
            "def add(a, b):\n    from scipy.special import comb\n    return a + b",
            "scipy.special",
        ),
        ("import socket", "socket"),
        ("import os\nos.listdir('.')", "os.listdir"),
        ("open('x', 'w').write('y')", "'x'"),
    ] {
        let message = judged(json!({}), code, TESTS).unwrap_err();
        assert!(message.contains("it cannot be judged here: "), "{message}");
        assert!(
            message.contains(what) && message.ends_with(" is not there"),
            "{message}"
        );
    }
    let careful = "try:\n    import numpy\nexcept ImportError:\n    numpy = None\ndef add(a, b): return a + b";
    assert_eq!(judge(careful, TESTS), (1.0, 1.0));
    let reads = "def add(a, b):\n    try: open('x')\n    except FileNotFoundError: return a + b";
    assert_eq!(judge(reads, TESTS), (1.0, 1.0));
}

#[test]
fn sys_and_time_are_there_as_far_as_programs_that_compute_need_them() {
    for body in [
        "assert sys.maxsize > 10 ** 9 and sys.version_info >= (3, 14) and sys.getsizeof([]) > 0",
        "sys.setrecursionlimit(10 ** 6)\n    assert depth(15_000) == 15_000 and sys.getrecursionlimit() == 10 ** 6",
        "assert cached(400) == 400",
        "sys.setrecursionlimit(10 ** 6)\n    assert cached(400) == 400",
        "start = time.perf_counter()\n    assert time.perf_counter() > start and time.time_ns() > 0",
        "start = time.time()\n    time.sleep(5)\n    assert 5 <= time.time() - start < 6",
        "start = time.monotonic()\n    while time.monotonic() - start < 1: pass",
        "assert time.strftime('%Y') == '1970' and time.mktime(time.gmtime(5)) == 5 and time.localtime().tm_year == 1970",
        "old, sys.stdout = sys.stdout, io.StringIO()\n    print('x')\n    text = sys.stdout.getvalue()\n    sys.stdout = old\n    assert text == 'x\\n'",
        "with contextlib.redirect_stdout(io.StringIO()) as out: print('x')\n    assert out.getvalue() == 'x\\n'",
        "sys.stdin = io.StringIO('5\\n6\\n')\n    assert input('?') == '5' and sys.stdin.readline() == '6\\n'",
        "assert os.path.splitext(os.path.join('a', 'b.c')) == ('a/b', '.c') and not os.path.exists('x')",
        "try: 1 / 0\n    except Exception: assert sys.exc_info()[0] is ZeroDivisionError and 'by zero' in traceback.format_exc()",
    ] {
        let code = format!(
            "import contextlib, functools, io, os, sys, time, traceback\n\
             def depth(n): return 0 if n == 0 else 1 + depth(n - 1)\n\
             @functools.lru_cache(maxsize=None)\n\
             def cached(n): return 0 if n == 0 else 1 + cached(n - 1)\n\
             def add(a, b):\n    {body}\n    return a + b\n"
        );
        let scores = score_with("python-tests", json!({}), &code, Some(TESTS)).unwrap();
        assert_eq!(scores[0].value, 1.0, "{body}: {}", scores[0].reason);
    }
}

#[test]
fn modules_with_state_or_threads_work_in_the_one_thread() {
    for body in [
        "logging.basicConfig(level=logging.DEBUG)\n    logging.getLogger('x').info('%s', a)\n    logging.warning('y')",
        "out = io.StringIO()\n    log = logging.getLogger('x')\n    log.addHandler(logging.StreamHandler(out))\n    try: 1 / 0\n    except Exception: log.exception('bad')\n    assert out.getvalue().startswith('bad\\nTraceback')",
        "with warnings.catch_warnings(record=True) as found:\n        warnings.simplefilter('always')\n        warnings.warn('x')\n    assert len(found) == 1",
        "warnings.simplefilter('always')\n    warnings.warn('x')",
        "q = queue.Queue()\n    q.put(a)\n    assert q.get() == a and q.empty()\n    try: q.get(timeout=1)\n    except queue.Empty: pass",
        "with lock: pass\n    done = []\n    t = threading.Thread(target=done.append, args=(a,))\n    t.start()\n    t.join()\n    assert done == [a]",
        "assert zlib.decompress(zlib.compress(b'x')) == b'x'",
        "assert list(csv.reader(io.StringIO('a,b'))) == [['a', 'b']] and ipaddress.ip_address('::1')",
    ] {
        let code = format!(
            "import csv, io, ipaddress, logging, queue, threading, unittest, warnings, weakref, zlib\n\
             lock = threading.Lock()\n\
             class Test(unittest.TestCase):\n    def test(self): self.assertEqual(add(1, 2), 3)\n\
             if __name__ == '__main__': unittest.main()\n\
             def add(a, b):\n    {body}\n    return a + b\n"
        );
        let scores = score_with("python-tests", json!({}), &code, Some(TESTS)).unwrap();
        assert_eq!(scores[0].value, 1.0, "{body}: {}", scores[0].reason);
    }
    let waits = "import queue\ndef add(a, b): return queue.Queue().get()";
    let expected = "assert add(1, 2) == 3: RuntimeError: would wait for ever: there is one thread";
    assert_eq!(reason(waits), expected);
}

#[test]
fn modules_that_compute_are_there_and_the_clock_begins_in_1970() {
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
        half = fractions.Fraction(1, 3).limit_denominator(2)\nfractions.Fraction.limit_denominator = None\n\
        import calendar, logging, sys, textwrap, time\n\
        state = calendar.firstweekday(), calendar.mdays[2], logging.root.level, len(logging.root.handlers), \\\n    \
            sys.getrecursionlimit(), decimal.DefaultContext.prec, time.time()\n\
        calendar.setfirstweekday(6)\ncalendar.mdays[2] = 5\nlogging.basicConfig(level=1)\n\
        sys.setrecursionlimit(500)\ndecimal.DefaultContext.prec = 3\nsys.stdout = None\n";
    let tests = "assert next_() == (1, 0.8444218515250481)\n".repeat(2)
        + "assert before > 3.1\nassert decimal.getcontext().prec == 29\nassert half * 2 == 1\n"
        + &"assert state == (0, 28, 30, 0, 1000, 28, 0.001), state\n".repeat(2);
    let scores = score_with("python-tests", json!({}), code, Some(&tests)).unwrap();
    assert_eq!(scores[0].value, 1.0, "{scores:?}");
    let changes = "import textwrap\ntextwrap.dedent.__code__ = (lambda text: text).__code__";
    assert_eq!(judge(changes, "assert True").0, 0.0);
    let uses = "import textwrap\nassert textwrap.dedent(' x') == 'x'";
    assert_eq!(judge(uses, "assert True").0, 1.0);
}
