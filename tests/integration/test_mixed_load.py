# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many clients that do everything at once with containers and virtual machines, and a watchdog. Longer with --full."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid

import libvirt
import pytest
from harness import stacks
from harness import vm as vms

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
pytestmark = pytest.mark.skipif(vms.TYPE != "vz", reason="the stock driver has no containers")

CLIENTS = 8
SCALE = float(os.environ.get("VZ_TIME_SCALE", "1"))
SIMPLE_CALL = 5 * SCALE  # seconds that a simple call may take
# A client's step may wait for a guest that others use. libvirt itself gives up after 30 s, with an error.
STEP = 45 * SCALE
PROGRAM = os.path.join(os.path.dirname(__file__), "harness/mixed_client.py")


class Program:
    """A running client or watchdog, and what it printed last."""

    def __init__(self, name, **settings):
        self.name, self.lines, self.changed, self.now = name, 0, time.monotonic(), "start"
        self.calls, self.result = [], None
        self.process = subprocess.Popen([sys.executable, PROGRAM, json.dumps(settings)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self._errors = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self):
        for line in self.process.stdout:
            kind, _, rest = line.strip().partition(" ")
            if kind == "done":
                self.result = json.loads(rest)
            elif kind == "call":
                milliseconds, _, what = rest.partition(" ")
                self.calls.append((int(milliseconds), what))
            self.lines, self.changed, self.now = self.lines + 1, time.monotonic(), line.strip()

    def _read_errors(self):
        self._errors += self.process.stderr

    def age(self):
        """Seconds since it made progress."""
        return time.monotonic() - self.changed

    def running(self):
        return self.process.poll() is None

    def end(self):
        if self.running():
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        return "".join(self._errors)


def failure(clients, watchdog):
    """A client that failed; empty if none did."""
    for program in clients + [watchdog]:
        if not program.running() and program.process.returncode:
            return f"{program.name} ended with {program.process.returncode} in {program.now}:\n{program.end()}"
    return ""


def hang(clients, watchdog):
    """A call that takes too long; empty if none does."""
    slow = [call for call in watchdog.calls if call[0] > SIMPLE_CALL * 1000]
    if slow:
        return f"simple calls that took too long (milliseconds): {slow}"
    # It sleeps for 0.2 s between its calls.
    if watchdog.age() > SIMPLE_CALL + 0.2:
        return f"a simple call of the watchdog has not come back after {watchdog.age():.1f} s: {watchdog.now}"
    for client in clients:
        if client.running() and client.age() > STEP:
            return f"{client.name} has made no progress for {client.age():.1f} s: {client.now}"
    return ""


@pytest.fixture
def watched(make_guest):
    """A container that nobody touches, but the watchdog looks at it; its root is shared by all others."""
    guest = make_guest("watched", init="/bin/sh", args=["-c", "while :; do sleep 1000; done"])
    return guest.define().start()


@pytest.fixture
def shared(daemon):
    """Names and UUIDs of the guests that all clients use; removed in the end, whatever is left of them."""
    files = set(vms.leftovers(daemon))
    yield [("shared-container", str(uuid.uuid4())), ("shared-machine", str(uuid.uuid4()))]
    for name in daemon.virsh("list", "--all", "--name").stdout.split():
        daemon.virsh("destroy", name, check=False)
        daemon.virsh("undefine", name, check=False)
    assert daemon.virsh("list", "--all", "--name").stdout.split() == []
    assert set(vms.leftovers(daemon)) - files == set()


def test_many_clients_at_once(daemon, watched, shared, full):
    seconds, seed = 60 if full else 6, random.randrange(1 << 30)
    print("seed", seed)
    folder = os.path.join(daemon.folder, "load")
    os.makedirs(folder)
    watchdog = Program("watchdog", uri=daemon.url(), alternate=daemon.url(ro=True))
    clients = []
    try:
        for number in range(CLIENTS):
            disk = os.path.join(folder, f"disk{number}")
            with open(disk, "wb") as file:
                file.truncate(1 << 20)
            clients.append(Program(f"client {number}", uri=daemon.url(), number=number, seed=seed + number,
                                   seconds=seconds, root=watched.root, disk=disk, shared=shared))
        while any(client.running() for client in clients):
            failed, hung = failure(clients, watchdog), hang(clients, watchdog)
            assert not failed, failed
            assert not hung, f"{hung}\n{stacks.of(daemon.pid)}"
            time.sleep(0.1)
        failed = failure(clients, watchdog)
        assert not failed, failed
    finally:
        for program in clients + [watchdog]:
            program.end()
        shutil.rmtree(folder)
    totals = {}
    for client in clients:
        assert client.result, f"{client.name} did not come to its end: {client.now}"
        assert sum(client.result["counts"].values()) > 5, (client.name, client.result)
        for name, count in client.result["counts"].items():
            totals[name] = totals.get(name, 0) + count
    calls = sorted(milliseconds for milliseconds, _ in watchdog.calls)
    print("steps", sum(totals.values()), totals, "events", sum(client.result["events"] for client in clients))
    print("watchdog", len(calls), "calls, median", calls[len(calls) // 2], "ms, worst", max(watchdog.calls))
    assert len(calls) > seconds / SIMPLE_CALL
    assert daemon.running() and watched.state().startswith("running")


def test_a_start_that_waited_for_an_undefine(daemon, conn, watched, make_guest, full):
    """A client that finds a domain and then waits for it must not start what is no more."""
    guest = make_guest("brief", root=watched.root, init=watched.init, args=watched.args)
    clients = [daemon.connect() for _ in range(6)]
    for _ in range(40 if full else 8):
        conn.defineXML(guest.xml()).create()
        handles = [client.lookupByName("brief") for client in clients]
        calls = [handles[0].destroy, handles[1].undefine] + [handle.create for handle in handles[2:]]
        together = threading.Barrier(len(calls))
        threads = [threading.Thread(target=quietly, args=(together, call)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for call in ("destroy", "undefine"):
            daemon.virsh(call, "brief", check=False)
        assert "brief" not in daemon.virsh("list", "--all", "--name").stdout.split()
        # One that runs and that nobody can reach would be in the way of this start.
        conn.createXML(guest.xml()).destroy()
    for client in clients:
        client.close()


def quietly(together, call):
    together.wait(60)
    try:
        call()
    except libvirt.libvirtError as error:
        assert error.get_error_code() in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN), error
