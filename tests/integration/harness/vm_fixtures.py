# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures with virtual machines. A test file asks for them with pytest_plugins = ["harness.vm_fixtures"]."""

import os

import pytest

from . import leaks
from .hosts import TwoHosts
from .vm import Vm, leftovers
from .vm_events import VmRecorder


@pytest.fixture
def vm_events(daemon):
    """A recorder of domain events on a connection of its own, also of those that only virtual machines have."""
    recorder = VmRecorder(daemon)
    yield recorder
    recorder.close()


@pytest.fixture
def make_vm(daemon, request):
    """make_vm(name="vm", disks=..., ...) -> Vm, undefined; all are removed after the test, with nothing left."""
    machines, before = [], leftovers(daemon)

    def make(name="vm", **settings):
        folder = os.path.join(daemon.folder, "vms", request.node.name.replace("/", "-"))
        machines.append(Vm(daemon, folder, name, **settings))
        return machines[-1]

    yield make
    if not daemon.running():
        daemon.start()
    for machine in machines:
        machine.close()
    left = sorted(set(leftovers(daemon)) - set(before))
    assert not left, f"left behind: {left}"


@pytest.fixture
def vm(make_vm):
    """A machine of its own, with a shell on its console."""
    return make_vm().define().start().ready()


@pytest.fixture(scope="module")
def module_vm(module_daemon, request):
    """The machine that the tests of a file share. Use `booted`."""
    machine = Vm(module_daemon, os.path.join(module_daemon.folder, "vms"), "shared",
                 **getattr(request.module, "BOOTED", {}))
    machine.define().start().ready()
    yield machine
    machine.close()


@pytest.fixture
def booted(daemon, module_vm):
    """
    A machine that is booted once for the whole file, as the file's constant BOOTED describes it. A test leaves it as
    it found it; one that does not fails, and the next one gets it booted again.
    """
    pid = module_vm.pid()
    yield module_vm
    try:
        if not module_vm.state().startswith("running") or module_vm.pid() != pid:
            raise AssertionError(f"the shared machine is {module_vm.state()}")
        module_vm.inside("true")
    except AssertionError:
        module_vm.close()
        module_vm.define().start().ready()
        raise


@pytest.fixture(scope="module")
def module_hosts(request):
    """The two hosts of a file about migration, running. Use `hosts`."""
    both = TwoHosts(**getattr(request.module, "DAEMON", {}))
    try:
        both.start()
        yield both
        both.check()
    finally:
        both.close()


@pytest.fixture
def hosts(module_hosts):
    """Two hosts; the test fails if the daemon of one crashed."""
    yield module_hosts
    module_hosts.check()


@pytest.fixture(scope="module")
def module_traveller(module_hosts):
    """
    A machine with a disk that both hosts can reach, which tests move as they like. Use `traveller`. When it is gone,
    nothing may be left on the hosts.
    """
    before = [(leaks.snapshot(daemon), leftovers(daemon)) for daemon in module_hosts.both]
    vm = Vm(module_hosts.first, os.path.join(module_hosts.first.folder, "vms"), "traveller")
    vm.define(disks=[vm.disk()]).start().ready()
    # It counts, and would tell if it began anew.
    vm.inside("{ n=0; while :; do n=$((n+1)); echo $n >/tmp/count.new; mv /tmp/count.new /tmp/count; usleep 20000; done & }; "
              "while [ ! -e /tmp/count ]; do usleep 1000; done")
    yield vm
    vm.close()
    for daemon, (state, files) in zip(module_hosts.both, before):
        leaks.check(daemon, state)
        left = sorted(set(leftovers(daemon)) - set(files))
        assert not left, f"left behind: {left}"


@pytest.fixture
def traveller(hosts, module_traveller):
    """The machine that moves. `daemon` says on which of the hosts it is; a test leaves it running, on either."""
    yield module_traveller
    module_traveller.disconnect()
