"""Where the code and the tests come from."""

import ast
import re


def first_fence(text):
    """The first fence of Markdown, or the whole text."""
    if "```" not in text:
        return text
    _, body = (text.split("```", 1)[1].split("\n", 1) + [""])[:2]
    return "" if body.startswith("```") else body.split("\n```", 1)[0]


def tests_of(reference, prompt, code):
    """The tests of a reference, each as Python that runs after the code.

    Usually its `assert` statements. Where asserts stand in functions, the whole reference is run, and then: `check(f)`, as
    HumanEval has it, where it has a `check` that it does not call itself, `f` being the last function of the prompt or else of
    the code; or each function `test…`, a test of its own; or nothing, where the reference has statements that call. Of a class of unittest each method `test…`
    is a test.
    """
    try:
        body = ast.parse(reference).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [line.strip() for line in reference.splitlines() if line.strip().startswith("assert")]
    methods = [f"{part.name}.setUpClass()\n{part.name}({name!r}).debug()" for part in body for name in _methods(part)]
    if methods:
        return [f"{reference}\n{method}" for method in methods]
    asserts = [ast.get_source_segment(reference, part) for part in body if isinstance(part, ast.Assert)]
    asserting = [
        part.name
        for part in body
        if isinstance(part, ast.FunctionDef) and any(isinstance(inner, ast.Assert) for inner in ast.walk(part))
    ]
    if not asserting:
        return asserts
    calls = [part for part in body if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call)]
    if "check" in asserting and not any(ast.unparse(part.value.func) == "check" for part in calls):
        named = _functions(prompt) or _functions(code) or ["the_function"]
        return [f"{reference}\ncheck({named[-1]})"]
    tests = [name for name in asserting if name.startswith("test")]
    if tests and not calls:
        return [f"{reference}\n{name}()" for name in tests]
    return [reference] if calls or asserts else []


def _methods(part):
    """The names of a class's tests, where it is one of unittest."""
    if not isinstance(part, ast.ClassDef) or not any(ast.unparse(base).endswith("TestCase") for base in part.bases):
        return []
    return [inner.name for inner in part.body if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test")]


def _functions(text):
    return re.findall(r"^(?:async\s+)?def\s+(\w+)", text, re.MULTILINE)
