# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the threads of a process are, for the message of a test that found it stuck."""

import os
import shutil
import subprocess


def of(pid):
    """Text about every thread: by gdb if there is one, else what the kernel tells."""
    try:
        threads = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
    except OSError:
        return f"there is no process {pid}"
    return "".join(_thread(pid, thread) for thread in threads) + _by_gdb(pid)


def _thread(pid, thread):
    return (f"thread {thread} {_file(pid, thread, 'comm')} waits in {_file(pid, thread, 'wchan')}, "
            f"system call {_file(pid, thread, 'syscall')}\n{_file(pid, thread, 'stack')}\n")


def _file(pid, thread, name):
    try:
        with open(f"/proc/{pid}/task/{thread}/{name}", encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        return f"({error.strerror})"


def _by_gdb(pid):
    gdb = shutil.which("gdb")
    if not gdb:
        return ""
    argv = [gdb, "-batch", "-nx", "-ex", "set pagination off", "-ex", "thread apply all backtrace 25", "-p", str(pid)]
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=60, check=False).stdout[-30000:]
    except subprocess.TimeoutExpired:
        return "gdb did not end"
