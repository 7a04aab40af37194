# SPDX-License-Identifier: LGPL-2.1-or-later
"""Storage pools of a test: fixtures, and a recorder of their events."""

import os
import shutil
import threading
import time
import xml.etree.ElementTree as ET

import libvirt
import pytest

from .events import start_loop

MIB = 1 << 20
DEFINED, UNDEFINED, STARTED, STOPPED, CREATED, DELETED = range(6)


class PoolEvents:
    """Events of all pools, in order: (pool, type) of the lifecycle, (pool, "refresh")."""

    def __init__(self, daemon):
        start_loop()
        self._changed = threading.Condition()
        self._events = []
        self.connection = daemon.connect()
        add = self.connection.storagePoolEventRegisterAny
        self._ids = [
            add(None, libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
                lambda c, pool, event, detail, o: self._add(pool, event), None),
            add(None, libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH, lambda c, pool, o: self._add(pool, "refresh"), None)]

    def _add(self, pool, event):
        with self._changed:
            self._events.append((pool.name(), event))
            self._changed.notify_all()

    def of(self, name):
        with self._changed:
            return [event for pool, event in self._events if pool == name]

    def wait(self, name, *events, seconds=20):
        """Waits until these, in this order, are all events of the pool."""
        end = time.monotonic() + seconds
        with self._changed:
            while [event for pool, event in self._events if pool == name] != list(events):
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"{name}: {events} expected, seen: {self._events}")

    def close(self):
        for number in self._ids:
            self.connection.storagePoolEventDeregisterAny(number)
        self.connection.close()


class Pool:
    """A pool of the daemon, removed with its folder after the test."""

    def __init__(self, daemon, name, kind="ploop"):
        self.daemon, self.name, self.kind = daemon, name, kind
        self.folder = os.path.join(daemon.folder, "pools", name)

    def virsh(self, command, *arguments, check=True, **options):
        return self.daemon.virsh(command, *arguments, check=check, **options)

    def make(self):
        self.virsh("pool-define-as", "--type", self.kind, "--target", self.folder, self.name)
        self.virsh("pool-build", self.name)
        self.virsh("pool-start", self.name)
        return self

    def volume(self, name, capacity="16M", *options):
        self.virsh("vol-create-as", self.name, name, capacity, *options)
        return self.path(name)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def xml(self, *options):
        return self.virsh("pool-dumpxml", self.name, *options).stdout

    def volumes(self):
        return [line.split()[0] for line in self.virsh("vol-list", self.name).stdout.splitlines() if line.strip()]

    def info(self, name):
        """type, capacity, allocation"""
        found = ET.fromstring(self.virsh("vol-dumpxml", name, self.name).stdout)
        return found.get("type"), int(found.findtext("capacity")), int(found.findtext("allocation"))

    def entries(self):
        """What lies in the folder, drafts and all."""
        return sorted(os.listdir(self.folder))

    def fails(self, *words, containing):
        """A virsh command that must be refused, with this text."""
        done = self.virsh(*words, check=False)
        assert done.returncode != 0, done.stdout
        assert containing in done.stderr, done.stderr

    def close(self):
        # Twice, as a transient pool that ends is gone.
        self.virsh("pool-destroy", self.name, check=False)
        self.virsh("pool-undefine", self.name, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def code_of(call, *arguments):
    """The code of the error that a call of the binding must fail with."""
    with pytest.raises(libvirt.libvirtError) as error:
        call(*arguments)
    return error.value.get_error_code()
