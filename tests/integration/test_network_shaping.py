# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bandwidth, guards against spoofing and isolation of interfaces, in the private daemon's network namespace."""

import json
import os
import re
import signal
import sys

import pytest
from harness import traffic
from harness.guest import wait_for
from harness.interfaces import pings, silent

INTERFACE = """<interface type='bridge'><mac address='52:54:00:6b:01:0{number}'/><source bridge='vzbr0'/>
  <ip address='192.0.2.1{number}' family='ipv4' prefix='24'/><ip address='2001:db8::1{number}' prefix='64'
  family='ipv6'/>{extra}</interface>"""
LIMIT = 2500  # kB/s: 20 Mbit/s
MAC = "52:54:00:6b:01:01"
URI = "urn:libvirt-vz:domain:1.0"


@pytest.fixture(autouse=True)
def bridge(daemon):
    daemon.run("ip", "link", "add", "vzbr0", "type", "bridge")
    daemon.run("ip", "addr", "add", "192.0.2.1/24", "dev", "vzbr0")
    daemon.run("ip", "link", "set", "vzbr0", "up")
    yield
    daemon.run("ip", "link", "del", "vzbr0")


@pytest.fixture
def plugged(make_guest):
    """plugged(number=1, extra="", top=""): a running guest with an interface in the bridge."""
    def make(number=1, extra="", top=""):
        devices = INTERFACE.format(number=number, extra=extra)
        return make_guest(f"ct{number}", devices=devices, top=top).define().start().ready()
    return make


def bandwidth(inbound="", outbound=""):
    return f"<bandwidth><inbound {inbound}/><outbound {outbound}/></bandwidth>".replace("<inbound />", "").replace(
        "<outbound />", "")


def rate_to(daemon, inside):
    return traffic.bytes_per_second(inside, "192.0.2.11", daemon.namespace.enter())


def rate_from(daemon, inside, seconds=0.8):
    return traffic.bytes_per_second(daemon.namespace.enter(), "192.0.2.1", inside, seconds)


def check_rate(measure, limit):
    """Never above the limit, and as fast as that, unless the machine is too busy three times in a row."""
    found = []
    while len(found) < 3:
        found.append(measure() / 1000)
        assert found[-1] < limit * 1.1
        if found[-1] > limit * 0.9:
            return
    raise AssertionError(f"{found} kB/s at a limit of {limit}")


def tuned(daemon, *flags):
    shown = daemon.virsh("domiftune", "ct1", MAC, *flags).stdout
    return {name: int(value) for name, value in re.findall(r"([\w.]+)\s*: (\d+)", shown)}


def links(daemon, kind=None):
    listed = json.loads(daemon.run("ip", "-d", "-j", "link").stdout)
    return {link["ifname"] for link in listed if kind in (None, link.get("linkinfo", {}).get("info_kind"))}


@pytest.mark.host
def test_a_limit_holds(daemon, plugged):
    guest = plugged(extra=bandwidth(f"average='{LIMIT}'", f"average='{LIMIT}'"))
    inside = traffic.in_guest(guest)
    check_rate(lambda: rate_to(daemon, inside), LIMIT)
    check_rate(lambda: rate_from(daemon, inside), LIMIT)
    # Changed while it runs, in one direction and for the next start only, then taken away.
    daemon.virsh("domiftune", "ct1", MAC, "--outbound", "1000", "--live")
    check_rate(lambda: rate_from(daemon, inside), 1000)
    assert tuned(daemon, "--config")["outbound.average"] == LIMIT
    daemon.virsh("domiftune", "ct1", MAC, "--inbound", "0", "--outbound", "0", "--live", "--config")
    assert rate_from(daemon, inside, 0.1) > 4 * LIMIT * 1000
    assert not links(daemon, "ifb")
    assert "<bandwidth" not in guest.live_xml() and "<bandwidth" not in guest.live_xml("--inactive")


def test_all_parameters(daemon, plugged):
    guest = plugged()
    assert set(tuned(daemon).values()) == {0} and len(tuned(daemon)) == 7
    daemon.virsh("domiftune", "ct1", MAC, "--inbound", "1000,2000,64", "--outbound", "300,400,32", "--live", "--config")
    wanted = {"inbound.average": 1000, "inbound.peak": 2000, "inbound.burst": 64, "inbound.floor": 0,
              "outbound.average": 300, "outbound.peak": 400, "outbound.burst": 32}
    name = re.search(r"<target dev='(vnet\d+)'/>", guest.live_xml()).group(1)
    assert tuned(daemon) == tuned(daemon, "--config") == wanted
    assert daemon.virsh("domiftune", "ct1", name).stdout == daemon.virsh("domiftune", "ct1", MAC).stdout
    classes = daemon.run("tc", "class", "show", "dev", name).stdout
    assert "rate 8Mbit" in classes and "ceil 16Mbit" in classes
    # Through the device's XML as well.
    changed = INTERFACE.format(number=1, extra=bandwidth("average='5000'"))
    path = guest.path("/device.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(changed)
    daemon.virsh("update-device", "ct1", path, "--live")
    assert "rate 40Mbit" in daemon.run("tc", "class", "show", "dev", name).stdout
    assert tuned(daemon)["outbound.average"] == 0 and not links(daemon, "ifb")


def test_bad_parameters_change_nothing(daemon, plugged):
    plugged()
    for device, rate, why in ((MAC, "1000,0,0,500", "floor"), ("52:54:00:00:00:99", "1000", "52:54:00:00:00:99"),
                              ("nonsuch", "1000", "nonsuch"), (MAC, "0,100", "average")):
        done = daemon.virsh("domiftune", "ct1", device, "--inbound", rate, "--live", check=False)
        assert done.returncode and why in done.stderr
    assert set(tuned(daemon).values()) == {0}


@pytest.mark.host
def test_limits_after_a_crash(daemon, plugged):
    """They stay in force without a daemon, and the next one knows them; of a dead container nothing stays."""
    guest = plugged(extra=bandwidth(outbound=f"average='{LIMIT}'"))
    init, inside = guest.id(), traffic.in_guest(guest)
    daemon.kill9()
    check_rate(lambda: rate_from(daemon, inside), LIMIT)
    daemon.start()
    assert tuned(daemon)["outbound.average"] == LIMIT and links(daemon, "ifb")
    daemon.kill9()
    os.kill(init, signal.SIGKILL)
    daemon.start()
    wait_for(lambda: not links(daemon, "ifb"), what="the end of the intermediate device")


def test_nobody_elses_mac(daemon, plugged):
    guest = plugged()
    assert pings(guest, "192.0.2.1")
    # Root inside changes its address: nothing of it is heard outside.
    guest.inside("/bin/ip", "link", "set", "eth0", "address", "52:54:00:6b:01:99")
    assert silent(guest, "192.0.2.1")
    set_guard(daemon, "off")
    assert pings(guest, "192.0.2.1")
    set_guard(daemon, "mac")
    daemon.restart()
    assert silent(guest, "192.0.2.1")
    guest.inside("/bin/ip", "link", "set", "eth0", "address", MAC)
    assert pings(guest, "192.0.2.1")


def set_guard(daemon, mode):
    daemon.virsh("metadata", "ct1", URI, "--key", "vz", "--live", "--set",
                 f"<container><network><anti-spoofing>{mode}</anti-spoofing></network></container>")


@pytest.mark.host
def test_nobody_elses_addresses(daemon, plugged):
    guest = plugged(top=f"<vz:container xmlns:vz='{URI}'><vz:network><vz:anti-spoofing>address</vz:anti-spoofing>"
                    "</vz:network></vz:container>")
    daemon.run("ip", "addr", "add", "2001:db8::1/64", "dev", "vzbr0", "nodad")
    assert pings(guest, "192.0.2.1")
    assert pings(guest, "2001:db8::1", "-6")
    guest.inside("/bin/ip", "addr", "add", "192.0.2.66/24", "dev", "eth0")
    guest.inside("/bin/ip", "-6", "addr", "add", "2001:db8::66/64", "dev", "eth0", "nodad", check=False)
    assert silent(guest, "192.0.2.1", "-I", "192.0.2.66")
    # Nor are questions for it answered.
    daemon.run(sys.executable, "-c", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
               "s.sendto(b'', ('192.0.2.66', 9))")
    wait_for(lambda: "FAILED" in neighbour(daemon, "192.0.2.66"), what="the end of the search for an address")
    assert pings(guest, "192.0.2.1")
    set_guard(daemon, "mac")
    assert pings(guest, "192.0.2.1", "-I", "192.0.2.66")


def neighbour(daemon, address):
    return daemon.run("ip", "neigh", "show", "to", address).stdout


@pytest.mark.host
def test_isolated_ports(daemon, plugged):
    guests = [plugged(number, "<port isolated='yes'/>") for number in (1, 2)]
    assert pings(guests[0], "192.0.2.1") and pings(guests[1], "192.0.2.1")
    assert silent(guests[0], "192.0.2.12")
    third = plugged(3)
    assert pings(third, "192.0.2.11")


def test_what_cannot_be_held_is_refused(daemon, make_guest):
    guest = make_guest(devices=INTERFACE.format(number=1, extra=bandwidth("average='1' floor='1'")))
    done = daemon.virsh("define", guest.file(), check=False)
    assert done.returncode and "floor" in done.stderr
    for extra in (bandwidth("average='1000'"), "<filterref filter='clean-traffic'/>", "<port isolated='yes'/>"):
        guest = make_guest(devices=f"<interface type='direct'><source dev='vzbr0' mode='bridge'/>{extra}</interface>")
        done = daemon.virsh("define", guest.file(), check=False)
        assert done.returncode and "Use a bridge" in done.stderr
