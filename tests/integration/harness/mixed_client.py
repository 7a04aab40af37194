# SPDX-License-Identifier: LGPL-2.1-or-later
"""
One client of the load test: does random things with containers and virtual machines on a connection of its own. A
program: mixed_client.py JSON. It prints a line per step ("step NAME"), and at the end what it did ("done JSON").
"""

import json
import os
import random
import sys
import time
import uuid as uuids

import libvirt
from events import start_loop

START_PAUSED, AUTODESTROY = libvirt.VIR_DOMAIN_START_PAUSED, libvirt.VIR_DOMAIN_START_AUTODESTROY
NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG
FIRST_MACHINE_ID = 4194304
# What a call may end with where other clients are at the same guest: it is gone, in another state, taken, or busy.
RACES = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_FAILED,
         libvirt.VIR_ERR_OPERATION_ABORTED}
# And where QEMU is told to end while it is asked: "Unable to read from monitor: Connection reset by peer".
QEMU_RACES = RACES | {libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR}


def machine_xml(name, uuid):
    """A machine without a disk: its firmware finds nothing to boot and halts."""
    return f"""<domain type='vz'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<devices><controller type='usb' model='none'/><serial type='pty'/><memballoon model='none'/></devices></domain>"""


def container_xml(name, uuid, root):
    return f"""<domain type='vz'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>while :; do sleep 1000; done</initarg></os>
<devices><filesystem type='mount'><source dir='{root}'/><target dir='/'/></filesystem><console type='pty'/></devices>
</domain>"""


class Vanisher:
    """Makes clients that start a guest bound to their connection and are gone without a word."""

    def __init__(self):
        """Before the first call of libvirt, whose locks a fork would copy as they are."""
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        if os.fork() == 0:
            os.close(self._requests)
            os.close(self._replies)
            self._serve(os.fdopen(requests), replies)
        os.close(requests)
        os.close(replies)

    @staticmethod
    def _serve(requests, replies):
        for line in requests:
            request = json.loads(line)
            child = os.fork()
            if child == 0:
                status = b"e"
                try:
                    libvirt.registerErrorHandler(lambda *_: None, None)
                    libvirt.open(request["uri"]).createXML(request["xml"], request["flags"])
                    status = b"k"
                finally:
                    os.write(replies, status)
                    os._exit(0)
            os.waitpid(child, 0)
        os._exit(0)

    def vanish(self, uri, xml, flags):
        os.write(self._requests, (json.dumps({"uri": uri, "xml": xml, "flags": flags}) + "\n").encode())
        return os.read(self._replies, 1) == b"k"


class OwnGuest:
    """A guest that nobody else touches: every call has to succeed, and every answer to be right."""

    def __init__(self, client, kind, name, xml, device):
        self.client, self.kind, self.name, self.xml, self.device = client, kind, name, xml, device
        self.state, self.attached = "absent", False
        self.domain = None

    def steps(self):
        always = [self.look_up, self.read] if self.state != "absent" else [self.define]
        return always + {
            "absent": [],
            "off": [self.start, self.start, self.undefine, self.define_again, self.toggle_device, self.snapshots],
            "running": [self.suspend, self.console, self.destroy, self.toggle_device, self.statistics, self.snapshots],
            "paused": [self.resume, self.destroy, self.statistics],
        }[self.state]

    def define(self):
        self.domain, self.state, self.attached = self.client.conn.defineXML(self.xml), "off", False

    def define_again(self):
        self.domain = self.client.conn.defineXML(self.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    def start(self):
        paused = self.client.chance.random() < 0.6
        self.domain.createWithFlags(START_PAUSED if paused else 0)
        self.state = "paused" if paused else "running"

    def suspend(self):
        self.domain.suspend()
        self.state = "paused"

    def resume(self):
        self.domain.resume()
        self.state = "running"

    def destroy(self):
        self.domain.destroy()
        self.state = "off"

    def undefine(self):
        self.domain.undefine()
        self.state = "absent"

    def toggle_device(self):
        call = self.domain.detachDeviceFlags if self.attached else self.domain.attachDeviceFlags
        call(self.device, CONFIG)
        self.attached = not self.attached
        assert ("load-device" in self.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) == self.attached

    def snapshots(self):
        assert self.domain.listAllSnapshots() == [] and self.domain.snapshotNum() == 0

    def console(self):
        for _ in range(2):
            stream = self.client.conn.newStream()
            self.domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
            stream.send(b"x")
            stream.abort()

    def statistics(self):
        (domain, record), = self.client.conn.domainListGetStats([self.domain], libvirt.VIR_DOMAIN_STATS_STATE)
        assert domain.UUID() == self.domain.UUID() and record["state.state"] == self.number()

    def number(self):
        return {"off": libvirt.VIR_DOMAIN_SHUTOFF, "running": libvirt.VIR_DOMAIN_RUNNING,
                "paused": libvirt.VIR_DOMAIN_PAUSED}[self.state]

    def look_up(self):
        found = self.client.conn.lookupByName(self.name)
        assert found.UUID() == self.domain.UUID()
        assert (found.ID() == -1) == (self.state == "off"), (found.ID(), self.state)
        if self.state != "off":
            assert (found.ID() >= FIRST_MACHINE_ID) == (self.kind == "machine"), found.ID()
            assert self.client.conn.lookupByID(found.ID()).UUID() == found.UUID()
        self.domain = found

    def read(self):
        assert self.domain.state()[0] == self.domain.info()[0] == self.number()
        assert f"<name>{self.name}</name>" in self.domain.XMLDesc(0)
        assert self.domain.isActive() == (self.state != "off") and self.domain.isPersistent() == 1

    def end(self):
        if self.state in ("running", "paused"):
            self.destroy()
        if self.state == "off":
            self.undefine()


class Client:
    def __init__(self, settings):
        self.settings = settings
        self.chance = random.Random(settings["seed"])
        self.vanisher = Vanisher()
        libvirt.registerErrorHandler(lambda *_: None, None)
        start_loop()
        self.conn = libvirt.open(settings["uri"])
        self.counts, self.callbacks, self.seen = {}, {}, 0
        number, root = settings["number"], settings["root"]
        mount = f"<filesystem type='mount'><source dir='{root}'/><target dir='/load-device'/></filesystem>"
        disk = (f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{settings['disk']}'/>"
                "<target dev='vda' bus='virtio'/><serial>load-device</serial></disk>")
        self.own = [
            OwnGuest(self, "container", f"c{number}", container_xml(f"c{number}", uuids.uuid4(), root), mount),
            OwnGuest(self, "machine", f"m{number}", machine_xml(f"m{number}", uuids.uuid4()), disk),
        ]

    def run(self):
        end = time.monotonic() + self.settings["seconds"]
        while time.monotonic() < end:
            self.do(self.chance.choice(self.steps()))
        for guest in self.own:
            self.do(guest.end)
        while self.callbacks:
            self.do(self.deregister)
        self.conn.close()
        print("done", json.dumps({"counts": self.counts, "events": self.seen}), flush=True)

    def steps(self):
        guest = self.chance.choice(self.own)
        common = [self.list_all, self.all_statistics, self.counts_of_domains, self.register]
        rare = [self.contest, self.contest, self.shared, self.shared, self.shared, self.vanish, self.reconnect]
        if self.callbacks:
            common.append(self.deregister)
        return guest.steps() * 2 + common + [self.chance.choice(rare)]

    def do(self, step):
        name = step.__name__
        print("step", name, flush=True)
        step()
        self.counts[name] = self.counts.get(name, 0) + 1

    # Of all guests

    def list_all(self):
        listed = {domain.name(): domain for domain in self.conn.listAllDomains()}
        for guest in self.own:
            assert (guest.name in listed) == (guest.state != "absent"), (guest.name, guest.state, sorted(listed))
        ids = [domain.ID() for domain in listed.values() if domain.ID() != -1]
        assert len(ids) == len(set(ids)), ids

    def all_statistics(self):
        try:
            # QEMU is asked for these, and where one of the machines ends meanwhile, QEMU's driver fails as a whole.
            self.conn.getAllDomainStats(0, NOWAIT)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in QEMU_RACES:
                raise
        found = {domain.name(): record for domain, record in
                 self.conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)}
        for guest in self.own:
            assert (guest.name in found) == (guest.state != "absent"), (guest.name, guest.state, sorted(found))
            if guest.state != "absent":
                assert found[guest.name]["state.state"] == guest.number()

    def counts_of_domains(self):
        running = sum(guest.state in ("running", "paused") for guest in self.own)
        assert self.conn.numOfDomains() >= running and len(self.conn.listDomainsID()) >= running
        assert self.conn.numOfDefinedDomains() >= sum(guest.state == "off" for guest in self.own)

    # Events

    def register(self):
        def heard(*_):
            self.seen += 1

        domain = self.own[1].domain if self.own[1].state != "absent" and self.chance.random() < 0.3 else None
        kind = self.chance.choice([libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
                                   libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED])
        # A client's library takes each kind once for all guests, or once for each.
        if (bool(domain), kind) not in self.callbacks and (False, kind) not in self.callbacks:
            number = self.conn.domainEventRegisterAny(domain, kind, heard, None)
            self.callbacks[bool(domain), kind] = number

    def deregister(self):
        which = self.chance.choice(list(self.callbacks))
        self.conn.domainEventDeregisterAny(self.callbacks.pop(which))

    def reconnect(self):
        """Another connection that is closed in the middle of what it has open."""
        extra = libvirt.open(self.settings["uri"])
        extra.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda *_: None, None)
        extra.listAllDomains()
        extra.close()

    # With others

    @staticmethod
    def racing(call, *arguments, races=RACES):
        try:
            return call(*arguments)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in races:
                raise
            return None

    def contest(self):
        """All clients want this name, for guests of both kinds; only one may have it."""
        kind, uuid = self.chance.choice(["container", "machine"]), str(uuids.uuid4())
        xml = (machine_xml("contested", uuid) if kind == "machine" else
               container_xml("contested", uuid, self.settings["root"]))
        made = self.racing(self.conn.defineXML, xml)
        if not made:
            return
        assert self.conn.lookupByName("contested").UUIDString() == uuid
        assert [domain.name() for domain in self.conn.listAllDomains()].count("contested") == 1
        made.undefine()

    def shared(self):
        """A guest of either kind that all clients use at once."""
        name, uuid = self.chance.choice(self.settings["shared"])
        if self.chance.random() < 0.3:
            xml = (machine_xml(name, uuid) if name.endswith("machine") else
                   container_xml(name, uuid, self.settings["root"]))
            self.racing(self.conn.defineXML, xml)
        domain = self.racing(self.conn.lookupByUUIDString, uuid)
        if not domain:
            return
        calls = [domain.create, domain.destroy, domain.suspend, domain.resume, domain.info, domain.undefine,
                 lambda: domain.XMLDesc(0), lambda: domain.createWithFlags(START_PAUSED)]
        for call in self.chance.choices(calls, k=3):
            self.racing(call, races=QEMU_RACES if name.endswith("machine") else RACES)

    def vanish(self):
        """A client that ends without a word takes its autodestroy guest with it."""
        kind, uuid = self.chance.choice(["container", "machine"]), str(uuids.uuid4())
        name = f"v{self.settings['number']}"
        xml = machine_xml(name, uuid) if kind == "machine" else container_xml(name, uuid, self.settings["root"])
        assert self.vanisher.vanish(self.settings["uri"], xml, AUTODESTROY | START_PAUSED)
        end = time.monotonic() + 40
        while name in [domain.name() for domain in self.conn.listAllDomains()]:
            assert time.monotonic() < end, f"{kind} {name} outlives its client"
            time.sleep(0.02)


def watch(uri, alternate):
    """Makes simple calls all the time, each on a line with the milliseconds it took."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    conn = libvirt.open(uri)
    readers = libvirt.openReadOnly(alternate)
    calls = [conn.getHostname, conn.numOfDomains, lambda: conn.lookupByName("watched").info(), conn.listAllDomains,
             readers.listDomainsID, lambda: libvirt.openReadOnly(alternate).close()]
    names = ["getHostname", "numOfDomains", "lookup and info", "listAllDomains", "listDomainsID", "open"]
    while True:
        for name, call in zip(names, calls):
            print("begin", name, flush=True)
            begin = time.monotonic()
            call()
            print("call", int((time.monotonic() - begin) * 1000), name, flush=True)
            time.sleep(0.2)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    if "alternate" in arguments:
        watch(arguments["uri"], arguments["alternate"])
    else:
        Client(arguments).run()
