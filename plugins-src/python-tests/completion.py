"""What a completion scores."""

from sources import first_fence, tests_of
from trial import Broken, Endless, Failed, prepare, run

# After so many tests that do not end the rest counts as failed: a call has its time.
ENDLESS = 3


def score(prompt, text, reference, tests, max_steps):
    """Name, value and reason of each score; raises `ValueError` where there is no test, or the code needs what is not there."""
    prepare()
    code = first_fence(text)
    tests = tests + tests_of(reference, prompt, code)
    if not tests:
        raise ValueError("there are no tests: the reference has no assert that runs, and config.tests is empty")
    passed, reason, is_broken = _run_all(code, tests, max_steps)
    if passed < len(tests) and prompt.strip():
        behind = _run_all(prompt + code, tests, max_steps)
        # Of two ways that fail, the one that runs says more; what begins indented is meant to stand behind the prompt.
        if behind[0] > passed or is_broken and (not behind[2] or code.startswith((" ", "\t"))):
            passed, reason, _ = behind
    return [
        ("pass", float(passed == len(tests)), reason),
        ("tests_passed", passed / len(tests), f"{passed} of {len(tests)}"),
    ]


def _run_all(code, tests, max_steps):
    """How many tests pass, what the first that does not says, and whether it is the code that fails."""
    passed, endless, reason = 0, 0, ""
    for test in tests:
        try:
            run(code, test, max_steps)
            passed += 1
        except Broken as why:
            return 0, str(why), True
        except Failed as why:
            reason = reason or f"{_shown(test)}: {why}"
            endless += isinstance(why, Endless)
            if endless == ENDLESS:
                break
    return passed, reason, False


def _shown(test):
    """The line that says most: of an assert its first, of more the call at the end."""
    lines = test.strip().splitlines() or [""]
    return lines[0 if lines[0].startswith("assert") else -1][:100]
