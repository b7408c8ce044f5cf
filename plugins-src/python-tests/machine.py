"""What stands in for the machine that is not there: `sys`, `time`, `os` and `os.path` of one trial.

The real ones reach the interpreter, or ask WASI, which ends the whole call. Here is what programs that compute take from them.
"""

import errno
import io
import posixpath
import sys
import time
import types

# Frames of Python lie in memory. An exception that went through twice as many still comes to its end within the stack;
# a call through C has its own, narrower bound.
DEEPEST = 20_000
DEEP = sys.getrecursionlimit()
OF_SYS = (
    "byteorder copyright exc_info exception float_info float_repr_style get_int_max_str_digits getdefaultencoding "
    "getrefcount getsizeof hash_info hexversion implementation int_info intern maxsize maxunicode platform "
    "set_int_max_str_digits version version_info"
).split()
OF_TIME = "CLOCK_MONOTONIC CLOCK_REALTIME strptime struct_time".split()
OF_PATHS = (
    "altsep basename commonpath commonprefix curdir defpath dirname extsep isabs join normcase normpath pardir pathsep sep "
    "split splitdrive splitext"
).split()
DIGITS = sys.get_int_max_str_digits()


class Missing(Exception):
    """Something is not there that elsewhere is: nothing is said by it of the code that asks."""


class MissingModule(ModuleNotFoundError, Missing):
    """A module."""


class MissingName(AttributeError, Missing):
    """What `os` has for files and processes."""


class MissingFile(OSError, Missing):
    """A file to write."""


class Quiet(io.TextIOBase):
    """Where what is printed goes, unless the code puts something else in its place."""

    def writable(self):
        return True

    def write(self, text):
        return len(text)


class Clock:
    """Seconds since 1970, a millisecond more at each look, and what was slept."""

    now = 0.0

    def look(self):
        self.now += 0.001
        return self.now

    def sleep(self, seconds):
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.now += seconds


# The trial's; modules of the library that ask for the time look here.
clock = Clock()


def library_time():
    """A `time` for modules of the library: they keep it, so that it asks the clock of now."""
    asks = types.SimpleNamespace(**vars(time))
    for name in ("time", "monotonic", "perf_counter"):
        setattr(asks, name, lambda: clock.look())
    asks.time_ns = lambda: int(clock.look() * 1e9)
    asks.localtime = lambda seconds=None: time.gmtime(clock.look() if seconds is None else seconds)
    asks.sleep = lambda seconds: clock.sleep(seconds)
    return asks


def begin():
    """Sets the clock back."""
    clock.now = 0.0


def restore():
    """Takes back what code has set in the interpreter."""
    sys.setrecursionlimit(DEEP)
    sys.set_int_max_str_digits(DIGITS)
    sys.stdout = sys.stderr = Quiet()


def _refused(name, known=()):
    def missing(attribute):
        # What would end the judge, or look into it, is asked for by no honest code.
        is_honest = attribute in known and not attribute.startswith("_") and attribute != "abort"
        raise (MissingName if is_honest else AttributeError)(f"{name}.{attribute} is not there")

    return missing


def open_(file, mode="r", *_, **__):
    """The `open` of a machine that has no files."""
    if set(mode) & set("wax+"):
        raise MissingFile(f"a file to write, {file!r}, is not there")
    raise FileNotFoundError(errno.ENOENT, "there are no files", file)


def sys_module(module):
    """Fills the `sys` of a trial."""
    asked = DEEP

    def setrecursionlimit(limit):
        nonlocal asked
        sys.setrecursionlimit(min(limit, DEEPEST))
        asked = limit

    def exit(status=None):
        raise SystemExit(status)

    module.__dict__.update({name: getattr(sys, name) for name in OF_SYS})
    module.setrecursionlimit, module.getrecursionlimit = setrecursionlimit, lambda: asked
    module.exit = exit
    module.stdin = module.__stdin__ = io.TextIOWrapper(io.BytesIO())
    module.stdout = module.__stdout__ = Quiet()
    module.stderr = module.__stderr__ = Quiet()
    module.argv, module.path, module.executable = [""], [], ""
    module.__getattr__ = _refused("sys")


def time_module(module):
    """Fills the `time` of a trial: a clock that grows with each look, and a sleep that takes no time."""
    module.__dict__.update({name: getattr(time, name) for name in OF_TIME if hasattr(time, name)})
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        setattr(module, name, clock.look)
        setattr(module, f"{name}_ns", lambda: int(clock.look() * 1e9))

    def gmtime(seconds=None):
        return time.gmtime(clock.look() if seconds is None else seconds)

    def mktime(parts):
        from calendar import timegm

        return float(timegm(parts))

    module.sleep, module.mktime = clock.sleep, mktime
    module.gmtime = module.localtime = gmtime
    module.strftime = lambda form, parts=None: time.strftime(form, gmtime() if parts is None else parts)
    module.asctime = lambda parts=None: time.asctime(gmtime() if parts is None else parts)
    module.ctime = lambda seconds=None: time.asctime(gmtime(seconds))
    module.timezone = module.altzone = module.daylight = 0
    module.tzname = ("UTC", "UTC")


def path_module(module):
    """Fills the `os.path` of a trial: paths as text, in a tree that holds nothing."""
    module.__dict__.update({name: getattr(posixpath, name) for name in OF_PATHS})
    module.abspath = module.realpath = lambda path: posixpath.normpath(posixpath.join("/", path))
    module.exists = module.isfile = module.isdir = module.islink = lambda path: False
    module.__getattr__ = _refused("os.path")


def os_module(module, path):
    """Fills the `os` of a trial: its names for paths, and an environment of nothing."""
    module.path, module.name, module.linesep = path, "posix", "\n"
    for name in ("sep", "altsep", "extsep", "curdir", "pardir", "pathsep"):
        setattr(module, name, getattr(posixpath, name))
    module.environ = {}
    module.getenv = lambda key, default=None: module.environ.get(key, default)
    module.getcwd, module.cpu_count, module.error = lambda: "/", lambda: 1, OSError
    module.fspath, module.PathLike = posixpath.os.fspath, posixpath.os.PathLike
    module.__getattr__ = _refused("os", dir(posixpath.os))
