# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records domain events of the C API."""

import threading
import time

import libvirt

_loop_started = False


def start_loop():
    """One event loop thread for the whole program; before the first connection that wants events."""
    global _loop_started  # pylint: disable=global-statement
    if _loop_started:
        return
    libvirt.virEventRegisterDefaultImpl()

    def run():
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=run, daemon=True, name="libvirt events").start()
    _loop_started = True


class Recorder:
    """
    Events in order, as tuples: ("lifecycle", domain, event, detail), ("reboot", domain),
    ("device-added", domain, alias), ("device-removed", domain, alias), ("metadata", domain, type, uri).
    """

    def __init__(self, daemon):
        start_loop()
        self._changed = threading.Condition()
        self._events = []
        self.connection = daemon.connect()
        self._ids = []
        add = self._register
        add(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            lambda c, dom, event, detail, o: self._add("lifecycle", dom, event, detail))
        add(libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, lambda c, dom, o: self._add("reboot", dom))
        add(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, lambda c, dom, alias, o: self._add("device-added", dom, alias))
        add(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
            lambda c, dom, alias, o: self._add("device-removed", dom, alias))
        add(libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
            lambda c, dom, kind, uri, o: self._add("metadata", dom, kind, uri))

    def _register(self, kind, callback):
        self._ids.append(self.connection.domainEventRegisterAny(None, kind, callback, None))

    def _add(self, kind, domain, *rest):
        with self._changed:
            self._events.append((kind, domain.name(), *rest))
            self._changed.notify_all()

    def all(self, name=None):
        with self._changed:
            return [event for event in self._events if name in (None, event[1])]

    def lifecycle(self, name):
        """[(event, detail)] of one domain, in order."""
        return [event[2:] for event in self.all(name) if event[0] == "lifecycle"]

    def wait(self, *event, seconds=20):
        """Waits for an event that begins with these parts; gives it."""
        end = time.monotonic() + seconds
        with self._changed:
            while True:
                for seen in self._events:
                    if seen[: len(event)] == event:
                        return seen
                left = end - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"no event {event} within {seconds} s; seen: {self._events}")

    def clear(self):
        with self._changed:
            self._events.clear()

    def close(self):
        try:
            for number in self._ids:
                self.connection.domainEventDeregisterAny(number)
            self.connection.close()
        except libvirt.libvirtError:
            pass
