# SPDX-License-Identifier: LGPL-2.1-or-later
"""Filters of the stock nwfilter driver, a container's own firewall, and router advertisements."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from harness.guest import wait_for
from harness.interfaces import pings, ports, silent
from harness.private_daemon import MODULES

pytest_plugins = ["harness.interface_fixtures"]

FILTER = """<filter name='{name}' chain='ipv4'>
  <rule action='return' direction='out' priority='100'><ip srcipaddr='$IP'/></rule>
  <rule action='drop' direction='out' priority='1000'/></filter>"""
INTERFACE = """<interface type='bridge'><mac address='52:54:00:6b:03:01'/><source bridge='vzbr0'/>
  <ip address='192.0.2.11' family='ipv4' prefix='24'/>{}</interface>"""
USE = "<filterref filter='{}'><parameter name='IP' value='192.0.2.11'/></filterref>"


@pytest.fixture(autouse=True)
def bridge(daemon):
    daemon.run("ip", "link", "add", "vzbr0", "type", "bridge")
    daemon.run("sh", "-ec", "ip addr add 192.0.2.1/24 dev vzbr0; ip -6 addr add fe80::1/64 dev vzbr0 nodad")
    daemon.run("ip", "link", "set", "vzbr0", "up")
    yield
    daemon.run("ip", "link", "del", "vzbr0")


@pytest.fixture
def filters(daemon, tmp_path):
    """Two filters that let one address through."""
    for name in ("one", "other"):
        path = tmp_path / name
        path.write_text(FILTER.format(name=name), encoding="utf-8")
        daemon.virsh("nwfilter-define", path)
    yield
    for name in ("one", "other"):
        daemon.virsh("nwfilter-undefine", name)


def bindings(daemon):
    return dict(re.findall(r"(\S+)\s+(\S+)", daemon.virsh("nwfilter-binding-list").stdout))


def spoofs(guest):
    return pings(guest, "192.0.2.1", "-I", "192.0.2.66", wait=1)


def start(make_guest, extra):
    guest = make_guest(devices=INTERFACE.format(extra)).define().start().ready()
    guest.inside("/bin/ip", "addr", "add", "192.0.2.66/24", "dev", "eth0")
    return guest


def update(daemon, guest, extra, check=True):
    path = guest.path("/device.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(INTERFACE.format(extra))
    return daemon.virsh("update-device", guest.name, path, "--live", check=check)


def test_a_filter_holds(daemon, filters, make_guest):
    guest = start(make_guest, USE.format("one"))
    name = re.search(r"<target dev='(vnet\d+)'/>", guest.live_xml()).group(1)
    assert bindings(daemon) == {name: "one"}
    assert pings(guest, "192.0.2.1") and not spoofs(guest)
    update(daemon, guest, USE.format("other"))
    assert bindings(daemon) == {name: "other"} and not spoofs(guest)
    # One that is not there changes nothing.
    done = update(daemon, guest, USE.format("nonsuch"), check=False)
    assert done.returncode and "nonsuch" in done.stderr and bindings(daemon) == {name: "other"}
    update(daemon, guest, "")
    assert not bindings(daemon) and spoofs(guest)
    update(daemon, guest, USE.format("one"))
    assert not spoofs(guest)
    daemon.virsh("destroy", "ct")
    assert not bindings(daemon)


@pytest.mark.host
def test_filters_after_a_crash(daemon, filters, make_guest):
    guest = start(make_guest, USE.format("one"))
    daemon.kill9()
    daemon.start()
    wait_for(lambda: bindings(daemon), what="the filter")
    assert pings(guest, "192.0.2.1") and not spoofs(guest)
    init = guest.id()
    daemon.kill9()
    os.kill(init, signal.SIGKILL)
    daemon.start()
    wait_for(lambda: not bindings(daemon), what="the end of the filter")


def test_what_is_left_waits_for_its_drivers(daemon, filters, make_network, make_guest):
    """A container ends with its daemon, and the next daemon ends before the other drivers have heard of it."""
    make_network("<bridge name='vziso0' stp='off'/>")
    guest = make_guest(devices=f"<interface type='network'><source network='lan'/>{USE.format('one')}</interface>")
    supervisor = guest.define().start().ready().supervisor()
    assert bindings(daemon) and ports(daemon)
    daemon.kill9()
    os.kill(supervisor, signal.SIGKILL)
    daemon.change_modules(())
    daemon.start()
    assert guest.state().startswith("shut off")
    assert not os.path.exists(os.path.join(daemon.folder, "run/vz", guest.uuid))
    daemon.kill9()
    daemon.change_modules(MODULES)
    daemon.start()
    wait_for(lambda: not bindings(daemon) and not ports(daemon), what="the end of the filter and the port")


@pytest.mark.host
def test_a_start_without_its_filter_fails(daemon, make_guest):
    make_guest(devices=INTERFACE.format(USE.format("nonsuch"))).define()
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode and "nonsuch" in done.stderr
    assert not bindings(daemon) and "vnet" not in daemon.run("ip", "link").stdout


def copy_program(guest, program, folders=()):
    """A program of the machine with its libraries, into the root."""
    program = os.path.realpath(program)
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in [program, *re.findall(r"(/\S+) \(0x", listed)]:
        os.makedirs(os.path.dirname(guest.path(path)), exist_ok=True)
        shutil.copy(path, guest.path(path))
    for folder in folders:
        shutil.copytree(folder, guest.path(folder), dirs_exist_ok=True)
    return program


@pytest.mark.host
def test_its_own_firewall(daemon, make_guest):
    """Root inside filters what comes in, in its own network namespace only."""
    guest = make_guest(devices=INTERFACE.format(""))
    program = copy_program(guest, shutil.which("iptables-nft"), ["/usr/lib/x86_64-linux-gnu/xtables"])
    os.symlink(program, guest.path("/bin/iptables-nft"))
    guest.define().start().ready()
    before = daemon.run("iptables-nft", "-S").stdout
    guest.inside("/bin/iptables-nft", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
    assert "192.0.2.1" in guest.inside("/bin/iptables-nft", "-S")
    assert silent(guest, "192.0.2.1")
    assert daemon.run("iptables-nft", "-S").stdout == before
    guest.inside("/bin/iptables-nft", "-F", "INPUT")
    assert pings(guest, "192.0.2.1")


ADVERTISE = """
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
index = socket.if_nametoindex("vzbr0")
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
s.bind(("fe80::1", 0, 0, index))
prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:77::")
s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix, ("ff02::1", 0, 0, index))
"""


@pytest.mark.host
def test_router_advertisement(daemon, make_guest):
    guest = make_guest(devices=INTERFACE.format("")).define().start().ready()

    def configured():
        daemon.run(sys.executable, "-c", ADVERTISE)
        return "2001:db8:77:0:5054:ff:fe6b:301/64" in guest.inside("/bin/ip", "-6", "addr", "show", "eth0")

    wait_for(configured, what="an address of the advertised prefix")
    assert "default via fe80::1" in guest.inside("/bin/ip", "-6", "route")
