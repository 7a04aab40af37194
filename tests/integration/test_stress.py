# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loops: kills at random moments, and many clients at once. Short here, at full length with --full."""

import os
import random
import signal
import threading
import time

import libvirt
import pytest
from harness import leaks
from harness.guest import wait_for


@pytest.fixture
def rounds(full):
    return 50 if full else 6


def supervisors(daemon):
    found = []
    for pid in daemon.processes():
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                if comm.read().strip() == "vz-supervisor":
                    found.append(pid)
        except OSError:
            pass
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def settle(daemon, guest):
    """Brings the container to an end, from whatever state a kill left it in, and checks that nothing is left."""
    if not daemon.running():
        daemon.start()
    state = daemon.virsh("domstate", guest.name).stdout.strip()
    assert state in ("running", "paused", "shut off", "crashed"), state
    if state != "shut off":
        daemon.virsh("destroy", guest.name, check=False)
    wait_for(lambda: daemon.virsh("domstate", guest.name).stdout.strip() == "shut off", what="shut off")
    wait_for(lambda: not daemon.processes(), what="the end of every process")


@pytest.mark.parametrize("victim", ["daemon", "supervisor", "both"])
def test_kill_at_random_moments(daemon, guest, rounds, victim):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    before = leaks.snapshot(daemon)
    for number in range(rounds):
        client = threading.Thread(target=lambda: daemon.virsh("start", "ct", check=False))
        client.start()
        time.sleep(chance.uniform(0, 0.15))
        if victim in ("supervisor", "both"):
            for pid in supervisors(daemon):
                kill(pid)
        if victim in ("daemon", "both"):
            daemon.kill9()
        client.join(60)
        assert not client.is_alive(), f"round {number}: virsh hangs"
        settle(daemon, guest)
    guest.start().ready()
    daemon.virsh("destroy", "ct")
    leaks.check(daemon, before)


def test_kill_during_stop(daemon, guest, rounds):
    chance = random.Random()
    for _ in range(rounds):
        daemon.virsh("start", "ct")
        client = threading.Thread(target=lambda: daemon.virsh("destroy", "ct", check=False))
        client.start()
        time.sleep(chance.uniform(0, 0.06))
        daemon.kill9()
        client.join(60)
        settle(daemon, guest)


def test_parallel_starts_and_stops(daemon, make_guest, full):
    """50 starts and stops at once from 8 clients; and states and lists read all the while."""
    count = 50 if full else 16
    shared = make_guest("ct0")
    guests = [shared] + [make_guest(f"ct{number}", root=shared.root, init="/bin/sh",
                                    args=["-c", "while :; do sleep 1000; done"]) for number in range(1, count)]
    shared.init, shared.args = "/bin/sh", ["-c", "while :; do sleep 1000; done"]
    for guest in guests:
        guest.define()
    work = list(range(count)) * 2
    random.shuffle(work)
    lock, problems, stop = threading.Lock(), [], threading.Event()

    def client():
        connection = daemon.connect()
        try:
            while True:
                with lock:
                    if not work:
                        return
                    number = work.pop()
                domain = connection.lookupByName(f"ct{number}")
                for call in (domain.create, domain.destroy):
                    try:
                        call()
                    except libvirt.libvirtError as error:
                        # The other client that has the same number may be quicker.
                        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                            raise
        except Exception as error:  # pylint: disable=broad-except
            problems.append(error)
        finally:
            connection.close()

    def reader():
        connection = daemon.connect(ro=True)
        try:
            while not stop.is_set():
                begin = time.monotonic()
                assert len(connection.listAllDomains()) == count
                connection.getAllDomainStats()
                if time.monotonic() - begin > 5:
                    problems.append(f"a list took {time.monotonic() - begin:.1f} s")
        except Exception as error:  # pylint: disable=broad-except
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(8)]
    watcher = threading.Thread(target=reader)
    for thread in threads + [watcher]:
        thread.start()
    for thread in threads:
        thread.join(300)
    stop.set()
    watcher.join(60)
    assert problems == []
    wait_for(lambda: not daemon.processes(), what="the end of every process")


def test_define_and_undefine_in_a_loop(daemon, conn, make_guest, rounds):
    guest = make_guest()
    for _ in range(rounds * 4):
        domain = conn.defineXML(guest.xml())
        domain.create()
        domain.destroy()
        domain.undefine()
    assert conn.listAllDomains() == []


def test_events_come_in_order_under_load(events, make_guest, daemon, rounds):
    guest = make_guest(init="/sbin/init-quiet").define()
    domain = events.connection.lookupByName(guest.name)
    for _ in range(rounds * 2):
        domain.create()
        domain.destroy()
    wait_for(lambda: len(events.lifecycle("ct")) >= 1 + rounds * 4, what="all events")
    kinds = [event for event, _ in events.lifecycle("ct")][1:]
    assert kinds == [libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STOPPED] * (rounds * 2)
