"""A process made to keep to itself: no other host, no other program, no other's memory.

By a filter of system calls that a process sets for itself, as containers let it, and which nothing
takes away again (Linux, seccomp(2); numbers of calls: the kernel's ``asm/unistd.h``). Where there
is none, nothing is forbidden.
"""

import ctypes
import errno
import platform
import struct
import sys
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.EACCES
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _MACHINE = 0, 4
"""Where they stand in what a filter is given."""
_OTHER_NUMBERS: Final = 0x40000000
"""From which on the same calls have numbers of another kind, on x86."""

_FORBIDDEN: Final[dict[str, tuple[int, tuple[int, ...]]]] = {
    # socket, connect, execve, ptrace, process_vm_readv, process_vm_writev, execveat,
    # io_uring_setup, pidfd_getfd
    "x86_64": (0xC000003E, (41, 42, 59, 101, 310, 311, 322, 425, 438)),
    "aarch64": (0xC00000B7, (198, 203, 221, 117, 270, 271, 281, 425, 438)),
}
"""By the machine: what the kernel calls it, and its numbers of the calls."""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.c_char_p)]


def seclude() -> bool:
    """Forbid this process, from now on, what leads out of it; whether that could be done."""
    known = _FORBIDDEN.get(platform.machine()) if sys.platform == "linux" else None
    if known is None:
        return False
    rules = _filter(*known)
    program = _Program(len(rules) // 8, rules)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    done = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    return bool(done == 0)


def _filter(machine: int, calls: tuple[int, ...]) -> bytes:
    """Rules of four fields: what to do, how far to go on if so, and if not, and by what."""
    refuse = len(calls) + 4  # the last rule; all are counted from the one after the own
    rules = [
        (_LOAD, 0, 0, _MACHINE),
        (_JUMP_IF_EQUAL, 0, refuse - 1, machine),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_AT_LEAST, refuse - 3, 0, _OTHER_NUMBERS),
        *((_JUMP_IF_EQUAL, refuse - place, 0, call) for place, call in enumerate(calls, start=4)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *rule) for rule in rules)
