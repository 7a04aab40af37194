# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A parent for a daemon and for what the daemon leaves to init: QEMU makes itself a child of init, and libvirt waits until
it is gone from the process table. The init of a container may look after its children only every other second.
"""

import os
import select
import signal
import subprocess
import sys
import time


class Kept:
    """A process with the interface of Popen, as far as it is used here, and its keeper, which outlives it."""

    def __init__(self, argv, lasting, **options):
        report, other_end = os.pipe()
        # Should this program be killed, the keeper is, and tells its child to end.
        keeper = [] if lasting else ["setpriv", "--pdeathsig", "KILL"]
        keeper += [sys.executable, "-ISs", os.path.abspath(__file__), str(other_end)]
        argv = argv if lasting else ["setpriv", "--pdeathsig", "TERM"] + argv
        self._keeper = subprocess.Popen(keeper + argv, pass_fds=[other_end], start_new_session=True, **options)
        os.close(other_end)
        self._report = os.fdopen(report, "rb", buffering=0)
        self.args, self.returncode = argv, None
        self.pid = int(self._report.readline() or self._failed())

    def _failed(self):
        raise OSError(f"cannot start {' '.join(self.args)}")

    def poll(self):
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.returncode = int(self._report.readline() or -9)
            self._report.close()
        # It ends with the last of the processes that it keeps; nobody has to wait for that.
        self._keeper.poll()
        return self.returncode

    def wait(self, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if end is None else max(0, end - time.monotonic())
            if not select.select([self._report], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode


def keep(report, argv):
    import ctypes  # pylint: disable=import-outside-toplevel

    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    # Python ignores these, and what is ignored stays so.
    pid = os.posix_spawnp(argv[0], argv, os.environ, setsid=True, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
    os.write(report, b"%d\n" % pid)
    try:
        while True:
            ended, status = os.wait()
            if ended == pid:
                os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
                os.close(report)
    except ChildProcessError:
        pass


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    keep(int(sys.argv[1]), sys.argv[2:])
