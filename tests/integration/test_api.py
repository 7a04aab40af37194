# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Every call that src/driver/api_support.tsv refuses for containers is refused, by the one rule; on a virtual machine
QEMU's driver has the word. docs/api.md is made from the same table.
"""

import re

import libvirt
import pytest
from harness.api_calls import CALLS, Subject, apis, support
from harness.private_daemon import VM_MODULES

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = {"modules": VM_MODULES}

NO_SUPPORT = libvirt.VIR_ERR_NO_SUPPORT
REFUSED = "this function is not supported by the connection driver: "
SUPPORT = support()
# What no test should call, or what cannot be seen from a call; each with the reason.
NOT_CALLED = {
    "nodeSuspendForDuration": "a host might fall asleep",
    "connectDomainQemuMonitorEventRegister": "its answers are events",
    "connectDomainQemuMonitorEventDeregister": "its answers are events",
}


@pytest.fixture(scope="module")
def names():
    """slot -> the function behind it, for the libvirt that is tested."""
    version = libvirt.getVersion()
    return apis(f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}")


@pytest.fixture
def on(daemon):
    """on(name, uri=None) -> the Subject of a domain, on a connection of its own."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    made = []

    def look_up(name, uri=None):
        conn = daemon.connect(uri)
        made.append((conn, Subject(conn, conn.lookupByName(name))))
        return made[-1][1]

    yield look_up
    for conn, subject in made:
        subject.close()
        conn.close()
    made.clear()


def answers(subject, names, slots):
    """slot -> code and words of its error."""
    return {slot: subject.call(names[slot], *CALLS[slot]) for slot in slots}


def slots_of(*statuses):
    return [slot for slot, (status, _, _) in SUPPORT.items() if status in statuses and slot not in NOT_CALLED]


def test_all_are_called():
    absent = [slot for slot, (_, _, machines) in SUPPORT.items() if machines == "absent"]
    missing = {*slots_of("later", "never", "machines"), *absent} - set(CALLS)
    assert not missing, "add a call of them to harness/api_calls.py"
    assert set(NOT_CALLED) <= set(SUPPORT) - set(CALLS)


def test_containers_refuse(guest, on, names):
    slots = slots_of("later", "never")
    assert len(slots) > 50
    wrong = {}
    for slot, (code, words) in answers(on(guest.name), names, slots).items():
        reason = SUPPORT[slot][1].replace("`", "")
        if (code, words) != (NO_SUPPORT, f"{REFUSED}{names[slot]} for containers: {reason}"):
            wrong[slot] = code, words
    assert not wrong


def test_machines_do_not(make_vm, on, names):
    vm = make_vm(type="vz").define()
    slots = [slot for slot in CALLS if slot in slots_of("later", "never", "machines") or SUPPORT[slot][2] == "absent"]
    given = answers(on(vm.name), names, slots)
    wrong = {}
    for slot, (code, words) in given.items():
        absent = SUPPORT[slot][2] == "absent"
        if (code == NO_SUPPORT) != absent or absent and words != f"{REFUSED}{slot} of QEMU's driver":
            wrong[slot] = code, words
    assert not wrong
    # All got to a driver: what libvirt itself finds wrong with an argument is worded like this.
    assert not {slot: error for slot, error in given.items() if re.search(r" in vir\w+ must | RPC|socket", error[1])}
    # What is only forwarded is answered as QEMU's driver answers, to the word.
    failed = {slot: error for slot, error in given.items() if error[0] and not SUPPORT[slot][2]}
    assert len(failed) > 50
    assert failed == answers(on(vm.name, "qemu:///system"), names, failed)
