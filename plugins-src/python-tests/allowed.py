"""What completions may import: modules that compute.

All are imported when the component is made, since there are no files to import from later. Code gets copies of their public
names, made anew for each test: it reaches no other module through them (`random._os`), and what it sets in one is gone with
it. Classes written in Python are shared all the same; `restore` puts back what was changed in them.
"""

import sys
import time
import types

# The datetime in C asks the machine's clock, which is not there, and the whole call would end; the one in Python can be given
# a clock that stands still.
sys.modules["_datetime"] = None
import _pydatetime

_pydatetime._time = types.SimpleNamespace(**vars(time))
_pydatetime._time.time = lambda: 0.0
_pydatetime._time.localtime = lambda seconds=0: time.gmtime(seconds)

# Modules that those below import at their first use.
import _pylong
import _strptime

import __future__
import abc
import array
import ast
import base64
import binascii
import bisect
import calendar
import cmath
import collections
import collections.abc
import contextlib
import copy
import dataclasses
import datetime
import decimal
import difflib
import enum
import fractions
import functools
import graphlib
import hashlib
import heapq
import io
import itertools
import json
import math
import numbers
import operator
import pprint
import random
import re
import statistics
import string
import struct
import textwrap
import typing
import unicodedata

NAMES = frozenset(
    "__future__ abc array ast base64 binascii bisect calendar cmath collections collections.abc contextlib copy dataclasses "
    "datetime decimal difflib enum fractions functools graphlib hashlib heapq io itertools json math numbers operator pprint "
    "random re statistics string struct textwrap types typing unicodedata".split()
)
# Names that open files or ask the machine for chance.
HIDDEN = {"io": {"open", "open_code", "FileIO"}, "random": {"SystemRandom"}, "hashlib": {"file_digest"}}


class Random(random.Random):
    """Random numbers whose seed is 0 where none is given."""

    def seed(self, a=None, version=2):
        super().seed(0 if a is None else a, version)


def _public(name):
    module = sys.modules[name]
    # Some of `__all__` is made when it is first asked for.
    keys = {key for key in vars(module) if not key.startswith("_")}.union(getattr(module, "__all__", ()))
    public = {key: getattr(module, key) for key in sorted(keys - HIDDEN.get(name, set()))}
    public = {key: value for key, value in public.items() if not isinstance(value, types.ModuleType)}
    public["__all__"] = [key for key in getattr(module, "__all__", public) if key in public]
    return public


_PUBLIC = {name: _public(name) for name in NAMES}
_PUBLIC["random"]["Random"] = Random
_DICE = [name for name in random.__all__ if hasattr(Random, name)]
_CONTEXT = decimal.getcontext().copy()
_IMMUTABLE = 1 << 8
_CLASSES = {
    value: dict(vars(value))
    for name in NAMES
    for value in vars(sys.modules[name]).values()
    if isinstance(value, type) and not value.__flags__ & _IMMUTABLE
}


def importer():
    """An `__import__` that knows these modules only, and makes each once."""
    made = {}

    def module(name):
        if name not in made:
            copied = made[name] = types.ModuleType(name)
            copied.__dict__.update(_PUBLIC[name])
            if name == "random":
                dice = Random()
                copied.__dict__.update((method, getattr(dice, method)) for method in _DICE)
            if name == "collections":
                copied.abc = module("collections.abc")
        return made[name]

    def import_(name, globals=None, locals=None, fromlist=(), level=0):
        if level or name not in NAMES:
            raise ImportError(f"{name} is not among the modules that completions may import")
        return module(name if fromlist else name.partition(".")[0])

    return import_


def restore():
    """Puts back what code may have changed outside of its own namespace."""
    decimal.setcontext(_CONTEXT.copy())
    for cls, kept in _CLASSES.items():
        if vars(cls) == kept:
            continue
        for key in vars(cls).keys() - kept.keys():
            type.__delattr__(cls, key)
        for key, value in kept.items():
            if vars(cls).get(key) is not value:
                type.__setattr__(cls, key, value)
