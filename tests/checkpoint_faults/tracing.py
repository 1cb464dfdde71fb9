"""Kills a process at one of its system calls, whichever of its threads makes it.

strace can kill too, but counts the calls of each thread apart; this counts them together.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# <linux/ptrace.h>
SYSCALL, SEIZE, INTERRUPT, GET_SYSCALL_INFO = 24, 0x4206, 0x4207, 0x420E
TRACESYSGOOD, TRACECLONE, EXITKILL = 1, 8, 0x100000
INFO = struct.Struct("=B3xIQQQ")  # op, architecture, instruction, stack, number of the call
ENTRY = 1
WALL = 0x40000000  # of waitpid: threads too

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


@dataclass(frozen=True)
class Traced:
    """What a process did from its mark on.

    Attributes:
        calls: for each system call, in their order, whether the main thread made it.
        killed: whether it was killed at the last of them, which then had no effect.
        status: of its end, as `os.waitpid` gives it.
    """

    calls: tuple[bool, ...]
    killed: bool
    status: int


def traced(action: Callable[[Callable[[], None]], object], last: int | None = None) -> Traced:
    """Run an action in a forked process, and kill that at its `last` system call, if one is given.

    Calls are counted from where the action calls `mark`, which it is given.
    PermissionError where processes may not be traced.
    """
    ready, is_ready = os.pipe()
    go, goes = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(goes)

            def mark() -> None:
                os.write(is_ready, b".")
                os.read(go, 1)

            action(mark)
            code = 0
        finally:
            os._exit(code)
    os.close(is_ready)
    os.close(go)
    try:
        os.read(ready, 1)
        threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
        for thread in threads:
            _ptrace(SEIZE, thread, TRACESYSGOOD | TRACECLONE | EXITKILL)
            _ptrace(INTERRUPT, thread)
        os.write(goes, b".")
        return _followed(pid, last)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, WALL)
        raise
    finally:
        os.close(ready)
        os.close(goes)


def _followed(pid: int, last: int | None) -> Traced:
    calls: list[bool] = []
    while True:
        thread, status = os.waitpid(-1, WALL)
        if not os.WIFSTOPPED(status):
            if thread == pid:
                killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                return Traced(tuple(calls), killed, status)
            continue
        stop, passed_on = os.WSTOPSIG(status), 0
        try:
            if stop == signal.SIGTRAP | 0x80:
                if len(calls) != last and _is_entry(thread):
                    calls.append(thread == pid)
                    if len(calls) == last:
                        os.kill(pid, signal.SIGKILL)
            elif not status >> 16:  # else something that only a tracer sees
                passed_on = stop
            _ptrace(SYSCALL, thread, passed_on)
        except ProcessLookupError:  # it is dead, and waited for soon
            pass


def _is_entry(thread: int) -> bool:
    buffer = ctypes.create_string_buffer(INFO.size)
    _ptrace(GET_SYSCALL_INFO, thread, ctypes.addressof(buffer), INFO.size)
    return INFO.unpack(buffer.raw)[0] == ENTRY


def _ptrace(request: int, thread: int, data: int = 0, address: int = 0) -> None:
    if _libc.ptrace(request, thread, address, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
