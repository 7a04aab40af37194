# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's driver in a daemon of its own, as modular daemons have it: it goes away and comes back."""

import contextlib

import libvirt
import pytest
from harness import vm as vms
from harness.events import Recorder
from harness.guest import wait_for
from harness.private_daemon import VM_MODULES, PrivateDaemon
from harness.vm import Vm

STOPPED, STARTED = libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STARTED
# Nothing boots here: a machine with an empty disk list waits in its firmware.
SMALL = {"memory": 32}


@contextlib.contextmanager
def running(**settings):
    daemon = PrivateDaemon(**settings)
    try:
        daemon.start()
        daemon.virsh("list")
        yield daemon
        daemon.check()
    finally:
        daemon.close()


@pytest.fixture(scope="module")
def machines():
    """The other daemon."""
    with running(modules=VM_MODULES, uri="qemu:///system", shim="") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def module_daemon(machines):
    """Ours, which has no such driver."""
    with running(vz_settings={"qemu_uri": f"qemu+unix:///system?socket={machines.socket_path}"}) as daemon:
        yield daemon


@pytest.fixture
def vm(daemon, machines):
    machine = Vm(daemon, machines.folder, "far", **SMALL)
    machine.define()
    yield machine
    if not machines.running():
        machines.start()
        machines.virsh("list")
    wait_for(lambda: machine.virsh("domstate", check=False).returncode == 0, what="the way to the machine")
    machine.close()


def code(call, *arguments):
    with pytest.raises(libvirt.libvirtError) as error:
        call(*arguments)
    return error.value.get_error_code()


def test_machines_of_another_daemon(vm, daemon, machines):
    recorder = Recorder(daemon)
    try:
        vm.start()
        recorder.wait("lifecycle", "far", STARTED)
        assert f"{vm.id()} " in daemon.virsh("list").stdout
        assert f"<domain type='{vms.TYPE}' id='{vm.id()}'" in vm.live_xml()
        # Another client of that daemon ends it.
        machines.virsh("destroy", "far")
        recorder.wait("lifecycle", "far", STOPPED)
        assert vm.state().startswith("shut off")
    finally:
        recorder.close()


def test_streams_are_refused_with_a_reason(vm, daemon):
    vm.start()
    connection = daemon.connect()
    try:
        domain, stream = connection.lookupByName("far"), connection.newStream()
        with pytest.raises(libvirt.libvirtError, match="use a connection to qemu\\+unix:") as error:
            domain.openConsole(None, stream, 0)
        assert error.value.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED
    finally:
        connection.close()


def test_containers_do_not_need_it_and_it_is_found_again(vm, daemon, machines, make_guest):
    guest = make_guest("ct", init="/bin/sh", args=["-c", "while :; do sleep 1000; done"]).define()
    connection, recorder = daemon.connect(), Recorder(daemon)
    try:
        domain = connection.lookupByName("far")
        machines.stop()
        assert [found.name() for found in connection.listAllDomains()] == ["ct"]
        guest.start()
        assert connection.lookupByName("ct").isActive()
        assert len(connection.getAllDomainStats()) == 1
        with pytest.raises(libvirt.libvirtError, match="far.*virtual machines are out of reach"):
            domain.state()
        assert code(connection.lookupByName, "nobody") != libvirt.VIR_ERR_NO_DOMAIN, "nobody can tell now"
        daemon.virsh("destroy", "ct")

        machines.start()
        wait_for(lambda: len(connection.listAllDomains()) == 2, what="the machines on an old connection")
        assert domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF
        assert code(connection.lookupByName, "nobody") == libvirt.VIR_ERR_NO_DOMAIN
        domain.create()
        recorder.wait("lifecycle", "far", STARTED)
    finally:
        domain = None
        recorder.close()
        connection.close()
