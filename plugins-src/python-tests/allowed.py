"""What completions may import: modules that compute, and what stands in for those of the machine.

All are imported when the component is made, since there are no files to import from later. Code gets copies of their public
names, made anew for each trial: it reaches no other module through them (`random._os`), and what it sets in one is gone with
it. What trials share all the same, `shared` puts back.
"""

import sys
import types

import machine

# The datetime in C asks the machine's clock, which is not there, and the whole call would end; the one in Python can be given
# another.
sys.modules["_datetime"] = None
import _pydatetime

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
import csv
import dataclasses
import datetime
import decimal
import difflib
import enum
import fnmatch
import fractions
import functools
import graphlib
import hashlib
import heapq
import html
import io
import ipaddress
import itertools
import json
import keyword
import linecache
import logging
import math
import numbers
import operator
import pprint
import random
import re
import reprlib
import shlex
import statistics
import string
import struct
import textwrap
import typing
import unicodedata
import unittest
import warnings
import weakref
import zlib

import threads
import queue
import threading

import tracebacks

# It, too, imports something at its first use, which is named otherwise in other versions.
ast.unparse(ast.parse("a"))

# Those of which there is a copy, and those that `machine` and `tracebacks` make.
COPIED = frozenset(
    "__future__ abc array ast base64 binascii bisect calendar cmath collections collections.abc contextlib copy csv dataclasses "
    "datetime decimal difflib enum fnmatch fractions functools graphlib hashlib heapq html io ipaddress itertools json keyword "
    "logging math numbers operator pprint queue random re reprlib shlex statistics string struct textwrap threading types typing "
    "unicodedata unittest warnings weakref zlib".split()
)
NAMES = COPIED | {"os", "os.path", "sys", "time", "traceback"}
# What completions ask for elsewhere with good reason: not having it says nothing about the code.
ELSEWHERE = sys.stdlib_module_names | set(
    "PIL bs4 cv2 gmpy2 keras matplotlib more_itertools networkx nltk numba numpy pandas psutil pydantic pytest pytz regex "
    "requests scipy seaborn sklearn sortedcontainers sympy tensorflow torch tqdm typing_extensions yaml".split()
)
# Names that open files, ask the machine for chance, look at frames or need another machine's module.
HIDDEN = {
    "io": {"open", "open_code", "FileIO"},
    "random": {"SystemRandom"},
    "hashlib": {"file_digest"},
    "logging": {"FileHandler", "currentframe"},
    "queue": {"time"},
    "threading": {"Timer", "settrace", "setprofile", "settrace_all_threads", "setprofile_all_threads"},
    "unittest": {"IsolatedAsyncioTestCase", "installHandler", "registerResult", "removeHandler", "removeResult"},
}


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


# Modules of the library ask the trial's clock, and read no file to show the line of a mistake.
_pydatetime._time = logging.time = unittest.case.time = unittest.runner.time = machine.library_time()
threading._time = queue.time = machine.library_time().monotonic
linecache.getlines, linecache.getline = lambda *_, **__: [], lambda *_, **__: ""
linecache.updatecache, linecache.checkcache = linecache.getlines, lambda *_: None
# A record would look at frames for the place that it comes from, and ask the machine for a process.
logging._srcfile = None
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = logging.logAsyncioTasks = False
logging.traceback = tracebacks

PUBLIC = {name: _public(name) for name in COPIED}
PUBLIC["random"]["Random"] = Random
PUBLIC["threading"]["Thread"] = threads.Thread
_DICE = [name for name in random.__all__ if hasattr(Random, name)]


class Modules:
    """The modules of one trial, each made once; `import_` is its `__import__`."""

    def __init__(self):
        self._made = {}
        self.sys = self.module("sys")
        # By this it changes where `print` goes to.
        contextlib.sys = self.sys

    def module(self, name):
        if name in self._made:
            return self._made[name]
        # The name is not that of the real one, among whose submodules `from … import` would look.
        made = self._made[name] = types.ModuleType(f"solution.{name}")
        match name:
            case "sys":
                machine.sys_module(made)
            case "time":
                machine.time_module(made)
            case "os.path":
                machine.path_module(made)
            case "os":
                machine.os_module(made, self.module("os.path"))
            case "traceback":
                tracebacks.fill(made, self.sys)
            case _:
                self._copy(name, made)
        return made

    def _copy(self, name, made):
        # Lists and dictionaries, such as `calendar.mdays`, are the trial's own.
        fresh = {key: value.copy() if type(value) in (list, dict, set) else value for key, value in PUBLIC[name].items()}
        made.__dict__.update(fresh)
        if name == "random":
            dice = Random()
            made.__dict__.update((method, getattr(dice, method)) for method in _DICE)
        if name == "collections":
            made.abc = self.module("collections.abc")

    def reset(self):
        """Puts back what code has set in the copies; what is the machine's, as where `print` goes to, stays."""
        for name in COPIED.intersection(self._made) - {"random"}:
            made = vars(self._made[name])
            made.update((key, value) for key, value in PUBLIC[name].items() if type(value) not in (list, dict, set))

    def import_(self, name, globals=None, locals=None, fromlist=(), level=0):
        if level:
            raise ImportError("there is no package around the code")
        if name in NAMES:
            return self.module(name if fromlist else name.partition(".")[0])
        if name.partition(".")[0] in ELSEWHERE:
            raise machine.MissingModule(f"{name} is not there", name=name)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
