# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines that move from one host to another while they run."""

import re
import threading

import libvirt
from harness import vm as vms
from harness.events import Recorder
from harness.guest import wait_for

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON


# The definition moves with the machine.
LASTING = ("--persistent", "--undefinesource")


def move(hosts, vm, *flags, network=True, name=None):
    """Migrates to the other host, checks that it went on there, and is gone here."""
    source, target = vm.daemon, hosts.other(vm.daemon)
    before = int(vm.inside("cat /tmp/count"))
    mark = vm.inside("head -c 16 /dev/urandom | md5sum | cut -c1-32 | tee /tmp/mark | "
                     "dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null; cat /tmp/mark")
    identity = vm.uuid
    vm.disconnect()
    way = ["--migrateuri", f"tcp://{hosts.address(target)}"] if network else []
    # Unsafe, because libvirt cannot know that this folder is one and the same for both.
    vm.virsh("migrate", target.url(), "--unsafe", *flags, *way)
    vm.daemon, vm.name = target, name or vm.name
    assert vm.state().startswith("running") and vm.virsh("domuuid").stdout.strip() == identity
    assert int(vm.inside("cat /tmp/count")) >= before
    assert vm.inside("cat /tmp/mark; head -c 32 /dev/vda") == f"{mark}\n{mark}"
    assert vm.name not in source.virsh("list", "--state-running", "--name").stdout.split()


def test_two_hosts_are_two(hosts):
    first, second = (daemon.virsh("hostname").stdout.strip() for daemon in hosts.both)
    assert (first, second) == ("vzt-first", "vzt-second")
    found = [re.search("<uuid>(.*)</uuid>", daemon.virsh("capabilities").stdout).group(1) for daemon in hosts.both]
    assert found[0] != found[1]


def test_led_by_the_client(hosts, traveller):
    source, target = traveller.daemon, hosts.other(traveller.daemon)
    events = [Recorder(source), Recorder(target)]
    try:
        move(hosts, traveller, "--live", *LASTING)
        events[0].wait("lifecycle", traveller.name, libvirt.VIR_DOMAIN_EVENT_STOPPED,
                       libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED)
        events[1].wait("lifecycle", traveller.name, libvirt.VIR_DOMAIN_EVENT_RESUMED,
                       libvirt.VIR_DOMAIN_EVENT_RESUMED_MIGRATED)
    finally:
        for recorder in events:
            recorder.close()
    assert traveller.name not in source.virsh("list", "--all", "--name").stdout.split()
    assert traveller.name in target.virsh("list", "--persistent", "--name").stdout.split()


def test_host_to_host(hosts, traveller):
    move(hosts, traveller, "--live", "--p2p", *LASTING)


def test_tunnelled(hosts, traveller):
    move(hosts, traveller, "--live", "--p2p", "--tunnelled", *LASTING, network=False)


def test_paused_meanwhile_and_with_another_name(hosts, traveller):
    """Not live, and the definition stays: so there are two of them, and one name for each."""
    source = traveller.daemon
    move(hosts, traveller, "--p2p", "--persistent", "--dname", "renamed", name="renamed")
    assert source.virsh("list", "--inactive", "--name").stdout.split() == ["traveller"]
    source.virsh("undefine", "traveller")


def test_stopped_on_the_way(hosts, traveller):
    """An aborted migration leaves the machine running where it was, and nothing over there."""
    target, done = hosts.other(traveller.daemon), []
    count = int(traveller.inside("cat /tmp/count"))
    traveller.disconnect()

    def migrate():
        done.append(traveller.virsh("migrate", target.url(), "--live", "--p2p", "--unsafe", "--bandwidth", 1,
                                    "--migrateuri", f"tcp://{hosts.address(target)}", check=False))

    thread = threading.Thread(target=migrate)
    thread.start()
    wait_for(lambda: "Memory processed" in traveller.virsh("domjobinfo", check=False).stdout, what="progress")
    assert "Outgoing migration" in traveller.virsh("domjobinfo").stdout
    traveller.virsh("domjobabort")
    thread.join(30)
    assert done and done[0].returncode and "aborted" in done[0].stderr
    assert traveller.state().startswith("running")
    assert int(traveller.inside("cat /tmp/count")) > count
    wait_for(lambda: not target.virsh("list", "--all", "--name").stdout.strip(), what="the end over there")


def test_to_nowhere_is_refused(hosts, traveller):
    away = f"{vms.TYPE}+unix:///system?socket=/nowhere"
    refused = traveller.virsh("migrate", away, "--live", "--p2p", "--unsafe", check=False)
    assert refused.returncode and "/nowhere" in refused.stderr
    traveller.disconnect()
    back = traveller.virsh("migrate", traveller.daemon.url(), "--live", "--p2p", "--unsafe", check=False)
    assert back.returncode and "same host" in back.stderr
    assert traveller.inside("echo still here") == "still here"
