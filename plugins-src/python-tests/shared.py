"""What trials share, and how it is put back after each: classes and state of the library's modules."""

import calendar
import csv
import decimal
import logging
import sys
import types
import warnings
from operator import is_

import allowed
import machine

_MODULES = [(vars(sys.modules[name]), dict(vars(sys.modules[name]))) for name in sorted(allowed.COPIED)]
_IMMUTABLE = 1 << 8
_CLASSES = {
    value: dict(vars(value))
    for values in [kept for _, kept in _MODULES] + list(allowed.PUBLIC.values()) + [vars(allowed), vars(machine)]
    for value in values.values()
    if isinstance(value, type) and not value.__flags__ & _IMMUTABLE
}
_CONTEXT = decimal.getcontext().copy()
_CONTEXTS = [
    (context, context.copy()) for context in (decimal.DefaultContext, decimal.BasicContext, decimal.ExtendedContext)
]
_DIALECTS = set(csv.list_dialects())
_FIELD = csv.field_size_limit()


def is_shared(function):
    """Whether a function is one of a real module, so that every trial has the same."""
    around = function.__globals__
    module = sys.modules.get(around.get("__name__"))
    return isinstance(module, types.ModuleType) and vars(module) is around and module.__name__ != "solution"


def is_shared_class(cls):
    return any(cls is known for known in _CLASSES)


def restore():
    """Puts everything back. Returns the name of what decides about equality or tests and was changed, if anything was."""
    machine.restore()
    changed = _classes()
    for now, kept in _MODULES:
        now.update(kept)
    _decimals()
    calendar.setfirstweekday(calendar.MONDAY)
    for name in set(csv.list_dialects()) - _DIALECTS:
        csv.unregister_dialect(name)
    csv.field_size_limit(_FIELD)
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    _logging()
    return changed


def _classes():
    changed = ""
    for cls, kept in _CLASSES.items():
        now = vars(cls)
        if len(now) == len(kept) and all(map(is_, now.values(), kept.values())):
            continue
        for key in now.keys() - kept.keys():
            # What the interpreter itself notes down.
            if key not in ("__annotations_cache__", "__annotate_func__", "__annotations__"):
                changed = changed or _telling(cls, key)
            type.__delattr__(cls, key)
        for key, value in kept.items():
            if now.get(key) is not value:
                changed = changed or _telling(cls, key)
                type.__setattr__(cls, key, value)
    return changed


def _telling(cls, key):
    if key.startswith("__") or cls.__module__.startswith("unittest"):
        return f"{cls.__name__}.{key}"
    return ""


def _decimals():
    decimal.setcontext(_CONTEXT.copy())
    for context, kept in _CONTEXTS:
        for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
            setattr(context, name, getattr(kept, name))
        context.flags.update(kept.flags)
        context.traps.update(kept.traps)


def _logging():
    root, manager = logging.root, logging.root.manager
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.filters.clear()
    root.disabled = False
    manager.loggerDict.clear()
    manager.loggerClass, manager.disable = None, logging.NOTSET
    logging._handlers.clear()
    logging._handlerList.clear()
    root.setLevel(logging.WARNING)
