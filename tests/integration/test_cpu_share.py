# SPDX-License-Identifier: LGPL-2.1-or-later
"""How CPU time is divided among containers that want all of it."""

import re
import time

import pytest
from harness.groups import group_file


def busy(make_guest, name, inner, **settings):
    """A container that uses all the CPU time that it gets."""
    top = f"<vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'><vz:cpu>{inner}</vz:cpu></vz:container>"
    guest = make_guest(name, top=top, init="/bin/sh", args=("-c", "echo >/done; while :; do :; done"), **settings)
    guest.define().start().wait_file("/done")
    return guest


def cpu_time(daemon, *guests):
    """Nanoseconds of each so far, asked for in one call."""
    text = daemon.virsh("domstats", "--cpu-total", *(guest.name for guest in guests)).stdout
    return [int(value) for value in re.findall(r"cpu\.time=(\d+)", text)]


def throttling(guest):
    """How many periods there were, and in how many of them the limit was reached."""
    text = dict(line.split() for line in group_file(guest, "cpu", "cpu.stat").splitlines())
    return int(text["nr_periods"]), int(text["nr_throttled"])


@pytest.mark.host
def test_cpuunits_divide_a_cpu(daemon, make_guest, full):
    cpu = "<vz:units>{}</vz:units>"
    # On one CPU, so that they are in each other's way.
    guests = [busy(make_guest, name, cpu.format(units)) for name, units in (("one", 1000), ("three", 3000))]
    for guest in guests:
        daemon.virsh("vcpupin", guest.name, "0", "0", "--live")

    def ratio(seconds):
        before = cpu_time(daemon, *guests)
        time.sleep(seconds)  # What is measured is a rate.
        one, three = (after - start for after, start in zip(cpu_time(daemon, *guests), before, strict=True))
        return three / one

    assert ratio(10 if full else 3) == pytest.approx(3, rel=0.1)
    # Live, and the other way round.
    daemon.virsh("schedinfo", "one", "--live", "cpuunits=3000")
    daemon.virsh("schedinfo", "three", "--live", "cpuunits=1000")
    assert ratio(10 if full else 3) == pytest.approx(1 / 3, rel=0.1)


@pytest.mark.host
def test_hard_limits_hold(daemon, make_guest, full):
    quota = 0.1  # of a CPU
    guests = [busy(make_guest, f"limited{i}", "<vz:limit>10</vz:limit>") for i in range(4)]
    begin, before = time.monotonic(), cpu_time(daemon, *guests)
    periods = [throttling(guest) for guest in guests]
    time.sleep(10 if full else 3)  # What is measured is a rate.
    later = [throttling(guest) for guest in guests]
    after, seconds = cpu_time(daemon, *guests), time.monotonic() - begin
    for guest, (count, reached), (now_count, now_reached), start, end in zip(guests, periods, later, before, after,
                                                                             strict=True):
        used = (end - start) / 1e9
        assert used <= quota * seconds * 1.05 + 0.01, guest.name
        # A machine with other work may not have had as much to give in all periods.
        assert now_count > count and used >= (now_reached - reached - 1) * 0.1 * quota * 0.95, guest.name
