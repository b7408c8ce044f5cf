"""One test after one piece of code, in a namespace of its own.

The code is Python with less around it: no file, a clock that only grows, no module beside those of `allowed`. Steps are counted
(starts of functions, resumed generators and jumps, without which nothing goes on in Python), and beyond the most every further
step raises. What goes on inside one call of C (`10**10**9`, a regular expression that tries everything) is ended by the host.

Code could want to pass a test that it does not fulfil. The judge keeps nothing where code has a name for it, an object that
equals everything equals nothing, frames (where the test stands) cannot be had, and words by which one climbs from an object to
the interpreter are refused. What the code has set in modules and builtins is put back before the test, and a test during which
builtins, or how the library compares and asserts, were changed has failed. That is enough for a model that tries what is near.
It is not a wall: code can put its own `abs` or `len` before a test that calls them, answer `!=` or `<` as it likes, and who knows
Python's inside finds a way to this module. All that can be won by it is a wrong score.
"""

import builtins
import functools
import gc
import os
import sys
import types
from importlib.machinery import PathFinder

import allowed
import machine
import shared

MODULE = "solution"
TEST = "<test>"
TOOL = 4
# How often code may catch the refusal of a step, before the call is ended from outside.
REFUSALS = 100_000
# Steps for what is left to do after code and test.
FEW_STEPS = 10_000
_MONITORED = sys.monitoring.events
_EVENTS = _MONITORED.PY_START | _MONITORED.PY_RESUME | _MONITORED.JUMP
REFUSED_WORDS = ("__globals__", "__subclasses__", "_getframe", "addaudithook")
REFUSED_EVENTS = {
    "sys._getframe",
    "sys._current_frames",
    "sys.monitoring.register_callback",
    "sys.settrace",
    "sys.setprofile",
    "gc.get_objects",
    "gc.get_referrers",
    "gc.get_referents",
}
FRAMES = {"tb_frame", "gi_frame", "cr_frame", "ag_frame"}
# What a function does and what it is given; of those that all trials share it stays.
OF_FUNCTIONS = {"__code__", "__defaults__", "__kwdefaults__"}
REMOVED = ("breakpoint", "help", "exit", "quit", "copyright", "credits", "license")


class Broken(Exception):
    """The code itself fails, and would for every other test."""


class Failed(Exception):
    """The test fails."""


class Endless(Failed):
    """It took too many steps."""


class NotThere(ValueError):
    """Nothing can be said of the code: it needs what is not there, and elsewhere is."""


class OutOfSteps(BaseException):
    """What code gets in the place of a further step."""


class _Watch:
    """Whether code runs, and how many steps it has left."""

    on = False
    left = 0
    refused = 0


_watch = _Watch()


def _step(_code, _at, _to=None):
    _watch.left -= 1
    if _watch.left < 0 and _watch.on:
        _watch.refused += 1
        if _watch.refused > REFUSALS:
            os.abort()
        raise OutOfSteps


def _audit(event, args):
    # The parser, too, opens files: to show the line of a mistake.
    if event == "open" or _watch.on and (event in REFUSED_EVENTS or event.startswith("object.") and _is_refused(event, *args)):
        raise PermissionError(f"{event} is refused")


def _is_refused(event, owner, name, *_):
    if event == "object.__getattr__":
        return name in FRAMES or name == "__code__" and _is_of_test(owner)
    if isinstance(owner, types.FunctionType):
        return name in OF_FUNCTIONS and shared.is_shared(owner)
    return name == "__bases__" and shared.is_shared_class(owner)


def _is_of_test(function):
    """What a function of the test expects stands in its code."""
    if type(function) is not types.FunctionType:
        return False
    _watch.on = False
    try:
        return function.__code__.co_filename == TEST
    finally:
        _watch.on = True


@functools.cache
def prepare():
    """Once in an instance, before anything else.

    Not when the component is made: some of it would keep its maker from finding modules.
    """
    # A module that is not there must not be looked for in files: asking for them ends the call. So does writing.
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
    sys.unraisablehook = lambda _: None
    shared.restore()
    sys.addaudithook(_audit)
    sys.monitoring.use_tool_id(TOOL, MODULE)
    for event in (_MONITORED.PY_START, _MONITORED.PY_RESUME, _MONITORED.JUMP):
        sys.monitoring.register_callback(TOOL, event, _step)
    # What is there now stays, so that collecting looks at what code made alone.
    gc.freeze()


def _honest(equal):
    """An `__eq__` under which nothing equals everything."""

    @functools.wraps(equal)
    def honest(self, other):
        answer = equal(self, other)
        if answer is NotImplemented or not answer or isinstance(other, type(self)):
            return answer
        try:
            anything = equal(self, object())
        except Exception:
            return answer
        return False if anything is not NotImplemented and anything else answer

    return honest


def _build_class(*args, **words):
    made = builtins.__build_class__(*args, **words)
    if isinstance(made, type):
        equal = type.__getattribute__(made, "__dict__").get("__eq__")
        if isinstance(equal, types.FunctionType):
            type.__setattr__(made, "__eq__", _honest(equal))
    return made


def _surroundings(modules):
    """The builtins of a trial."""
    around = dict(vars(builtins))
    for name in REMOVED:
        around.pop(name, None)

    def print_(*values, file=None, **words):
        out = modules.sys.stdout if file is None else file
        # What nobody reads need not be written.
        if not isinstance(out, machine.Quiet):
            print(*values, file=out, **words)

    def input_(prompt=""):
        line = modules.sys.stdin.readline()
        if not line:
            raise EOFError("there is nobody to ask")
        return line.removesuffix("\n")

    around["print"], around["input"], around["open"] = print_, input_, machine.open_
    around["__import__"] = modules.import_
    around["__build_class__"] = _build_class
    return around


def _counted(steps, work):
    """What `work` raised, if anything. Its steps are counted, and so are those of this function until `finally`."""
    _watch.on, _watch.left = True, steps
    sys.monitoring.set_events(TOOL, _EVENTS)
    try:
        work()
    except BaseException as error:
        return error
    finally:
        _watch.on = False
        sys.monitoring.set_events(TOOL, 0)


def _said(error):
    """One line of an exception; what it says of itself is code, too."""
    said = []
    _counted(FEW_STEPS, lambda: said.append(f"{type(error).__name__}: {error}"))
    line = (said or ["an exception that cannot be shown"])[0].strip().removesuffix(":")
    return (line.splitlines() or [""])[0][:200]


def run(code, test, max_steps):
    """Runs `code`, then `test`; raises `Broken` or `Failed` with a reason, or `NotThere`."""
    for word in REFUSED_WORDS:
        if word in code:
            raise Broken(f"{word} is refused")
    # The namespace is a module, since `dataclasses` and `typing` look into that of a class.
    module, modules = types.ModuleType(MODULE), allowed.Modules()
    kept = _surroundings(modules)
    around = module.__dict__["__builtins__"] = kept.copy()
    sys.modules[MODULE] = module
    done = []

    def work():
        exec(compile(code, "<code>", "exec", dont_inherit=True), module.__dict__)
        done.append(code)
        modules.reset()
        around.update(kept)
        exec(compile(test, TEST, "exec", dont_inherit=True), module.__dict__)

    def clear():
        module.__dict__.clear()
        gc.collect()

    machine.begin()
    _watch.refused = 0
    error = _counted(max_steps, work)
    endless = _watch.left < 0
    machine.restore()
    # Not by its truth, which is the code's to say.
    why = None if error is None else _said(error)
    is_missing = error is not None and issubclass(type(error), machine.Missing)
    error = None
    is_other = len(around) < len(kept) or any(around.get(name) is not value for name, value in kept.items())
    sys.modules.pop(MODULE, None)
    # Here, and not during the next test: code may have said what is to happen then.
    _counted(FEW_STEPS, clear)
    changed = shared.restore() or ("a builtin" if is_other else "")
    if endless:
        why = f"takes more than {max_steps} steps"
    elif is_missing:
        raise NotThere(f"it cannot be judged here: {why.partition(': ')[2]}")
    if why is None and changed:
        why = f"changes {changed}"
    if why is not None and not done:
        raise Broken(why)
    if endless:
        raise Endless(why)
    if why is not None:
        raise Failed(why)
