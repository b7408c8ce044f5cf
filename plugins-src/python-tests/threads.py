"""Threads where there is one: `start` runs a thread to its end, and what would wait for ever says so."""

import sys

# The queue in C waits in C, for ever.
sys.modules["_queue"] = None

import threading


class Lock:
    """A lock of the one thread: nobody else could open it."""

    def __init__(self):
        self._locked = False

    def acquire(self, blocking=True, timeout=-1):
        if not self._locked:
            self._locked = True
            return True
        if blocking and timeout < 0:
            raise RuntimeError("would wait for ever: there is one thread")
        return False

    def release(self):
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False

    def locked(self):
        return self._locked

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()


# All of the library's own waiting is made of locks.
threading.Lock = threading._allocate_lock = Lock


class Thread(threading.Thread):
    """A thread that runs when it is started."""

    _ran = False

    def start(self):
        if self._ran:
            raise RuntimeError("threads can only be started once")
        self._ran = True
        try:
            self.run()
        except Exception:
            # The real one prints it, and is gone.
            pass

    def join(self, timeout=None):
        if not self._ran:
            raise RuntimeError("cannot join thread before it is started")

    def is_alive(self):
        return False
