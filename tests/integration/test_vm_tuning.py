# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits of a virtual machine that are control groups, and threads that are bound to processors."""

import os
import re

import pytest
from harness import vm as vms

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = {**vms.DAEMON, "on_disk": True, "qemu_settings": {
    "cgroup_controllers": ["cpu", "cpuacct", "cpuset", "memory", "blkio", "devices"]}}


def hierarchies():
    """The roots of all hierarchies that are mounted: one in version 2, several in version 1 or both."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return [line.split()[4] for line in table if re.search(r" - cgroup2? ", line)]


def copied(folder, name):
    """In version 1 a group has no processors until it is given some; a mount option may drop the prefix."""
    path = os.path.join(folder, name)
    if os.path.exists(path):
        with open(os.path.join(os.path.dirname(folder), name), encoding="utf-8") as above:
            value = above.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(value)


@pytest.fixture(scope="module")
def partition(module_daemon):
    """The groups in which this daemon's machines live. libvirt makes none but /machine, which is the host's."""
    for root in hierarchies():
        folder = os.path.join(root, module_daemon.partition + ".partition")
        os.makedirs(folder, exist_ok=True)
        if os.path.exists(os.path.join(folder, "cgroup.controllers")):
            with open(os.path.join(folder, "cgroup.controllers"), encoding="utf-8") as file:
                wanted = set(file.read().split()) & {"cpu", "cpuset", "memory", "io"}
            with open(os.path.join(folder, "cgroup.subtree_control"), "w", encoding="utf-8") as file:
                file.write(" ".join(f"+{name}" for name in sorted(wanted)))
        else:
            copied(folder, "cpuset.cpus")
            copied(folder, "cpuset.mems")
    return "/" + module_daemon.partition


@pytest.fixture(scope="module")
def module_tuned(module_daemon, partition):
    """A machine that does not have to run: its limits are there as soon as its process is."""
    vm = vms.Vm(module_daemon, os.path.join(module_daemon.folder, "vms"), "tuned", max_vcpus=2, vcpus=2,
                top=f"<resource><partition>{partition}</partition></resource>")
    vm.define().start("--paused")
    yield vm
    vm.close()
    assert not [path for path in module_daemon.cgroups() if "tuned" in path]


@pytest.fixture
def tuned(module_tuned, daemon):
    return module_tuned


def groups_of(vm):
    return {path for path in vm.daemon.cgroups() if vm.name in path}


def values(vm, command, *arguments):
    return dict(re.findall(r"^(\S+) *: (.*)$", vm.virsh(command, *arguments).stdout, re.M))


def test_lives_in_the_partition_it_was_told(tuned):
    with open(f"/proc/{tuned.pid()}/cgroup", encoding="utf-8") as file:
        assert f"{tuned.daemon.partition}.partition/" in file.read()
    assert groups_of(tuned)


def test_share_and_quota_of_processor_time(tuned):
    tuned.virsh("schedinfo", "--live", "--set", "cpu_shares=512")
    tuned.virsh("schedinfo", "--live", "--set", "vcpu_quota=50000")
    read = values(tuned, "schedinfo")
    assert (read["cpu_shares"], read["vcpu_quota"]) == ("512", "50000")
    found = []
    for group in groups_of(tuned):
        for name in ("cpu.cfs_quota_us", "cpu.max"):
            if os.path.basename(group) == "vcpu1" and os.path.exists(os.path.join(group, name)):
                with open(os.path.join(group, name), encoding="utf-8") as file:
                    found.append(file.read().split()[0])
    assert found == ["50000"]


def test_limit_of_memory(tuned):
    tuned.virsh("memtune", "--live", "--hard-limit", 1 << 20)
    assert values(tuned, "memtune")["hard_limit"] == str(1 << 20)
    assert values(tuned, "memtune", "--config")["hard_limit"] == "unlimited"
    tuned.virsh("memtune", "--live", "--hard-limit", -1)
    assert values(tuned, "memtune")["hard_limit"] == "unlimited"


def test_limit_of_a_disk_of_the_host(tuned):
    number = os.stat(tuned.daemon.folder).st_dev
    device = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if os.path.exists(os.path.join(device, "partition")):
        device = os.path.dirname(device)
    path = "/dev/" + os.path.basename(device)
    if not os.path.exists(path):
        pytest.skip(f"{tuned.daemon.folder} is on no disk of this machine")
    tuned.virsh("blkiotune", "--live", "--device-read-bytes-sec", f"{path},1048576")
    assert values(tuned, "blkiotune")["device_read_bytes_sec"] == f"{path},1048576"


def test_threads_are_bound_to_processors(tuned):
    tuned.virsh("vcpupin", 1, "0", "--live")
    tuned.virsh("emulatorpin", "0", "--live")
    assert re.search(r"^ 1 +0$", tuned.virsh("vcpupin").stdout, re.M)
    bound = []
    for thread in os.listdir(f"/proc/{tuned.pid()}/task"):
        with open(f"/proc/{tuned.pid()}/task/{thread}/status", encoding="utf-8") as file:
            status = dict(line.rstrip().split(":\t", 1) for line in file if ":\t" in line)
        bound.append((status["Name"], status["Cpus_allowed_list"]))
    assert ("CPU 1/TCG", "0") in bound or ("CPU 1/KVM", "0") in bound, bound


def test_guaranteed_memory(tuned, make_vm):
    """The promise is metadata to QEMU's driver; it counts with those of all other guests."""
    uri = "urn:libvirt-vz:machine:1.0"

    def guarantee(amount, check=True):
        return tuned.virsh("metadata", uri, "--key", "vz", "--live", "--set",
                           f"<machine><memory><guarantee type='bytes'>{amount}</guarantee></memory></machine>",
                           check=check)

    def kept():
        told = set()
        for group in groups_of(tuned):
            for name in ("memory.low", "memory.soft_limit_in_bytes"):
                path = os.path.join(group, name)
                if os.path.exists(path) and not re.search(r"/(vcpu\d+|emulator)$", group):
                    with open(path, encoding="utf-8") as file:
                        told.add(int(file.read()))
        return told

    assert guarantee(24 << 20).returncode == 0
    assert 24 << 20 in kept()
    refusal = guarantee(1 << 50, check=False)
    assert refusal.returncode and "more than" in refusal.stderr
    assert 24 << 20 in kept()
    assert "guarantee" in guarantee("many", check=False).stderr
    # Another machine wants all that the host has.
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >> 20
    other = make_vm("greedy", memory=host + 64, top=f"<metadata><vz:machine xmlns:vz='{uri}'><vz:memory><vz:guarantee "
                    f"type='bytes'>{host << 20}</vz:guarantee></vz:memory></vz:machine></metadata>").define()
    refusal = other.virsh("start", check=False)
    assert refusal.returncode and "'tuned'" in refusal.stderr and f"{host} MiB" in refusal.stderr, refusal.stderr
    assert f"{host << 20}</vz:guarantee>" in other.virsh("dumpxml").stdout
    assert guarantee(0).returncode == 0
