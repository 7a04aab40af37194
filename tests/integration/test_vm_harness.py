# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test harness itself, with virtual machines: nothing is left, whoever was killed."""

import json
import os
import signal
import subprocess
import sys

import pytest
from harness import private_daemon, vm as vms
from harness.guest import wait_for
from harness.private_daemon import PrivateDaemon

TAP = "<interface type='ethernet'><target dev='vztap9'/><model type='virtio'/></interface>"
PROGRAM = """
import json, os, sys
from harness import vm
from harness.private_daemon import PrivateDaemon
daemon = PrivateDaemon(**vm.DAEMON)
daemon.start()
machine = vm.Vm(daemon, os.path.join(daemon.folder, "vms"), "left").define().start("--paused")
print(json.dumps([daemon.folder, machine.pid()]), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["close", "kill9"])
def test_nothing_is_left(how):
    """Of a daemon in the network of the host, so that its interfaces would stay."""
    daemon = PrivateDaemon(own_net=False, **vms.DAEMON)
    try:
        daemon.start()
        vm = vms.Vm(daemon, os.path.join(daemon.folder, "vms"), "vm", devices=TAP).define().start("--paused")
        pid = vm.pid()
        assert os.path.exists("/sys/class/net/vztap9") and pid in daemon.processes()
        if how == "kill9":
            daemon.kill9()
            assert pid in daemon.processes()
    finally:
        daemon.close()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of QEMU")
    assert not os.path.exists("/sys/class/net/vztap9")
    assert not os.path.exists(daemon.folder) and not daemon.processes() and not daemon.cgroups()


def test_machine_of_a_killed_test_run_is_removed():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          cwd=os.path.dirname(os.path.abspath(__file__))) as program:
        folder, pid = json.loads(program.stdout.readline())
        assert os.path.exists(f"/proc/{pid}")
        program.send_signal(signal.SIGKILL)
    private_daemon.remove_abandoned()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of QEMU")
    assert not os.path.exists(folder)


def test_capabilities_are_probed_once():
    """A daemon knows QEMU from an earlier one, although our driver, freshly copied, is newer than what is known."""
    def known(daemon):
        folder = os.path.join(daemon.folder, "cache/qemu/capabilities")
        return {name: (os.stat(os.path.join(folder, name)).st_ino, os.stat(os.path.join(folder, name)).st_mtime_ns)
                for name in os.listdir(folder)}

    for first in (True, False):
        daemon = PrivateDaemon(**vms.DAEMON)
        try:
            lent = known(daemon)
            daemon.start()
            vms.Vm(daemon, os.path.join(daemon.folder, "vms"), "vm").define()
            assert first or (lent and known(daemon) == lent)
        finally:
            daemon.close()
