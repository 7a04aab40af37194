# SPDX-License-Identifier: LGPL-2.1-or-later
"""OpenVZ's routed network: an <interface type='ethernet'> that is venet0 inside."""

import json
import os
import re
import signal

import pytest
from harness import traffic
from harness.guest import wait_for
from harness.interfaces import exchange, pings, silent

pytest_plugins = ["harness.interface_fixtures"]

VENET = "<interface type='ethernet'><guest dev='venet0'/>{}</interface>"
MAC = "52:54:00:6b:02:01"


def ips(*addresses):
    return "".join(f"<ip address='{address}' family='ipv{6 if ':' in address else 4}'/>" for address in addresses)


@pytest.fixture(autouse=True)
def outside(neighbour):
    """Everybody here has one."""
    return neighbour


@pytest.fixture
def make(make_guest):
    def make(name, *addresses, extra=""):
        return make_guest(name, devices=VENET.format(ips(*addresses) + extra)).define().start().ready()
    return make


def reaches(daemon, guest, address, far=False):
    """From the host, or its neighbour, by the ping of the guest's busybox."""
    where = daemon.far if far else []
    done = daemon.run(*where, guest.path("/bin/busybox"), "ping", "-c", "1", "-W", "5", address, check=False)
    return "1 packets received" in done.stdout


def host_routes(daemon):
    shown = daemon.run("ip", "route").stdout + daemon.run("ip", "-6", "route").stdout
    return {line.split()[0] for line in shown.splitlines() if re.search(r"dev vnet\d+ proto 118 ", line)}


def proxies(daemon):
    listed = daemon.run("ip", "neigh", "show", "proxy").stdout + daemon.run("ip", "-6", "neigh", "show", "proxy").stdout
    return {line.split()[0] for line in listed.splitlines()}


@pytest.mark.host
def test_everybody_reaches_everybody(daemon, make):
    first = make("ct1", "192.0.2.11", "10.9.0.1", "2001:db8::11")
    second = make("ct2", "192.0.2.12", "2001:db8::12")
    shown = first.inside("/bin/ip", "addr", "show", "venet0")
    assert "NOARP" in shown and all(f"{one}/" in shown for one in ("192.0.2.11", "10.9.0.1", "2001:db8::11"))
    assert first.inside("/bin/ip", "route").strip() == "default dev venet0 scope link  src 192.0.2.11"
    for address in ("192.0.2.11", "10.9.0.1", "2001:db8::11"):
        assert reaches(daemon, first, address)
        assert pings(second, address, *(["-6"] if ":" in address else []))
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.12"):
        assert pings(first, address)
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8::12"):
        assert pings(first, address, "-6")
    for enter in ((), traffic.in_guest(second), daemon.far):
        exchange(daemon, first, "192.0.2.11", enter)
    # The neighbour knows of no route: the host answers for the addresses of his network.
    assert reaches(daemon, first, "192.0.2.11", far=True) and reaches(daemon, first, "2001:db8::12", far=True)
    # A host that has a default route answers there for what is in no network of its links.
    assert proxies(daemon) - {"10.9.0.1"} == {"192.0.2.11", "2001:db8::11", "192.0.2.12", "2001:db8::12"}
    assert not [link for link in json.loads(daemon.run("ip", "-d", "-j", "link").stdout) if link.get("master")]
    daemon.virsh("destroy", "ct1")
    assert proxies(daemon) == {"192.0.2.12", "2001:db8::12"} == host_routes(daemon)


@pytest.mark.host
def test_only_its_own_addresses(daemon, make):
    guest = make("ct1", "192.0.2.11", "2001:db8::11")
    guest.inside("/bin/ip", "addr", "add", "192.0.2.66/32", "dev", "venet0")
    guest.inside("/bin/ip", "-6", "addr", "add", "2001:db8::66/128", "dev", "venet0", "nodad", check=False)
    # The host does not even see it: an answer could go another way.
    before = received(daemon)
    assert silent(guest, "192.0.2.1", "-I", "192.0.2.66")
    assert silent(guest, "2001:db8::1", "-6", "-I", "2001:db8::66")
    assert received(daemon) == before
    assert pings(guest, "192.0.2.1", "-I", "192.0.2.11")
    assert received(daemon) > before


def received(daemon):
    """IP packets that the host got, of both versions."""
    with open(f"/proc/{daemon.pid}/net/snmp", encoding="utf-8") as file:
        ip4 = [line.split() for line in file if line.startswith("Ip:")]
    with open(f"/proc/{daemon.pid}/net/snmp6", encoding="utf-8") as file:
        ip6 = dict(line.split() for line in file)
    return int(ip4[1][ip4[0].index("InReceives")]) + int(ip6["Icmp6InEchos"])


def test_addresses_change_while_it_runs(daemon, make):
    guest = make("ct1", "192.0.2.11", "2001:db8::11", extra=f"<mac address='{MAC}'/>")
    update(daemon, guest, ips("192.0.2.13", "192.0.2.14", "2001:db8::11"))
    assert host_routes(daemon) == {"192.0.2.13", "192.0.2.14", "2001:db8::11"} == proxies(daemon)
    shown = guest.inside("/bin/ip", "addr", "show", "venet0")
    assert "192.0.2.11/" not in shown and "192.0.2.14/" in shown
    assert pings(guest, "192.0.2.2", "-I", "192.0.2.14") and reaches(daemon, guest, "192.0.2.13", far=True)
    # A link that was down comes back with all of it.
    daemon.virsh("domif-setlink", "ct1", MAC, "down")
    assert silent(guest, "192.0.2.2")
    daemon.virsh("domif-setlink", "ct1", MAC, "up")
    assert pings(guest, "192.0.2.2") and pings(guest, "2001:db8::2", "-6")
    # An address that is another's changes nothing.
    done = update(daemon, guest, ips("192.0.2.14", "192.0.2.1"), check=False)
    assert done.returncode and "192.0.2.1 " in done.stderr
    assert host_routes(daemon) == {"192.0.2.13", "192.0.2.14", "2001:db8::11"}
    assert pings(guest, "192.0.2.2", "-I", "192.0.2.13")


def update(daemon, guest, addresses, check=True):
    path = guest.path("/device.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(VENET.format(f"<mac address='{MAC}'/>{addresses}"))
    return daemon.virsh("update-device", "ct1", path, "--live", check=check)


@pytest.mark.host
def test_plug_and_crash(daemon, make_guest):
    guest = make_guest("ct1").define().start().ready()
    path = guest.path("/device.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(VENET.format(f"<mac address='{MAC}'/>" + ips("192.0.2.11", "2001:db8::11")))
    daemon.virsh("attach-device", "ct1", path, "--live")
    assert pings(guest, "192.0.2.2")
    daemon.virsh("detach-device", "ct1", path, "--live")
    assert not proxies(daemon) and not host_routes(daemon)
    daemon.virsh("attach-device", "ct1", path, "--live")
    daemon.kill9()
    assert reaches(daemon, guest, "192.0.2.11", far=True)
    daemon.start()
    assert pings(guest, "192.0.2.2")
    init = guest.id()
    daemon.kill9()
    os.kill(init, signal.SIGKILL)
    daemon.start()
    wait_for(lambda: not proxies(daemon) and not host_routes(daemon), what="the end of the host's answers")


def test_bad_ones_are_refused(daemon, make, make_guest):
    make("ct1", "192.0.2.11")
    for address, why in (("192.0.2.11", "192.0.2.11"), ("192.0.2.1", "own"), ("127.0.0.5", "127.0.0.5")):
        other = make_guest("ct2", devices=VENET.format(ips(address))).define()
        done = daemon.virsh("start", "ct2", check=False)
        assert done.returncode and why in done.stderr
        other.close()
    for devices, why in (
            (VENET.format("<ip address='10.0.0.1' family='ipv4' prefix='24'/>"), "prefix"),
            (VENET.format("<route family='ipv4' address='0.0.0.0' gateway='10.0.0.1'/>"), "<route>"),
            (2 * VENET.format(""), "venet0 is used twice")):
        done = daemon.virsh("define", make_guest("ct3", devices=devices).file(), check=False)
        assert done.returncode and why in done.stderr
