# SPDX-License-Identifier: LGPL-2.1-or-later
"""Interfaces by veth, inside the network namespace of the private daemon."""

import json
import re
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest
from harness.guest import wait_for
from harness.interfaces import exchange
from harness.traffic import in_guest

BRIDGE = """<interface type='bridge'>
  <mac address='52:54:00:6b:01:02'/><source bridge='vzbr0'/>{target}
  <ip address='192.0.2.10' family='ipv4' prefix='24'/><ip address='2001:db8::10' family='ipv6' prefix='64'/>
  <route family='ipv4' address='0.0.0.0' prefix='0' gateway='192.0.2.1'/>{extra}
</interface>"""


@pytest.fixture
def bridge(daemon):
    daemon.run("ip", "link", "add", "vzbr0", "type", "bridge")
    daemon.run("ip", "addr", "add", "192.0.2.1/24", "dev", "vzbr0")
    daemon.run("ip", "link", "set", "vzbr0", "up")
    yield "vzbr0"
    daemon.run("ip", "link", "del", "vzbr0")


def host_links(daemon):
    return {link["ifname"]: link for link in json.loads(daemon.run("ip", "-j", "link").stdout)}


def test_bridge(daemon, bridge, make_guest):
    guest = make_guest(devices=BRIDGE.format(target="", extra="")).define().start().ready()
    shown = guest.inside("/bin/ip", "addr")
    assert "192.0.2.10/24" in shown and "2001:db8::10/64" in shown and "52:54:00:6b:01:02" in shown
    assert "default via 192.0.2.1" in guest.inside("/bin/ip", "route")
    assert "LOOPBACK,UP" in guest.inside("/bin/ip", "link", "show", "lo")
    live = ElementTree.fromstring(guest.live_xml())
    name = live.find("devices/interface/target").get("dev")
    assert live.find("devices/interface/alias").get("name") == "net0"
    assert host_links(daemon)[name]["master"] == "vzbr0"
    guest.inside("/bin/ping", "-c", "1", "-W", "5", "192.0.2.1")
    exchange(daemon, guest, "192.0.2.10")
    daemon.virsh("destroy", "ct")
    assert name not in host_links(daemon)


def test_two_containers_talk(daemon, bridge, make_guest):
    first, second = [
        make_guest(f"ct{number}", devices=f"""<interface type='bridge'><source bridge='vzbr0'/>
            <ip address='192.0.2.1{number}' family='ipv4' prefix='24'/></interface>""").define().start().ready()
        for number in (1, 2)]
    first.inside("/bin/ping", "-c", "1", "-W", "5", "192.0.2.12")
    exchange(daemon, first, "192.0.2.11", in_guest(second))


def test_names_are_kept(daemon, bridge, make_guest):
    guest = make_guest(devices=BRIDGE.format(target="<target dev='tap12345678-9a'/>",
                                             extra="<guest dev='lan0'/><mtu size='1400'/>"))
    guest.define().start().ready()
    link = host_links(daemon)["tap12345678-9a"]
    assert link["mtu"] == 1400
    assert "mtu 1400" in guest.inside("/bin/ip", "link", "show", "lan0")
    assert "tap12345678-9a" in guest.live_xml() and "tap12345678-9a" in guest.live_xml("--inactive")


def test_ethernet(daemon, make_guest):
    guest = make_guest(devices="""<interface type='ethernet'><target dev='vzeth0'/>
        <ip address='198.51.100.2' family='ipv4' prefix='30'/></interface>""").define().start().ready()
    daemon.run("ip", "addr", "add", "198.51.100.1/30", "dev", "vzeth0")
    assert host_links(daemon)["vzeth0"]["operstate"] != "DOWN" or "UP" in host_links(daemon)["vzeth0"]["flags"]
    guest.inside("/bin/ping", "-c", "1", "-W", "5", "198.51.100.1")
    exchange(daemon, guest, "198.51.100.2")


def test_without_interface_only_loopback(running):
    names = re.findall(r"^\d+: ([^:@]+)", running.inside("/bin/ip", "link"), re.M)
    # Tunnel modules of the kernel put fallback devices into every new namespace.
    assert "lo" in names and not [name for name in names if name.startswith("eth")]


def test_interface_survives_reboot_and_restart(daemon, bridge, make_guest):
    guest = make_guest(devices=BRIDGE.format(target="", extra="")).define().start().ready()
    guest.inside("/bin/reboot", "-f", check=False)
    wait_for(lambda: guest.boots() == 2, what="the second boot")
    guest.inside("/bin/ping", "-c", "1", "-W", "5", "192.0.2.1")
    daemon.kill9()
    daemon.start()
    guest.inside("/bin/ping", "-c", "1", "-W", "5", "192.0.2.1")


def test_addresses_and_counters(daemon, conn, bridge, make_guest):
    guest = make_guest(devices=BRIDGE.format(target="", extra="")).define().start().ready()
    guest.inside("/bin/ping", "-c", "2", "192.0.2.1")
    domain = conn.lookupByName("ct")
    found = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    addresses = {address["addr"] for link in found.values() for address in link["addrs"] or ()}
    assert {"192.0.2.10", "2001:db8::10"} <= addresses
    name = ElementTree.fromstring(domain.XMLDesc()).find("devices/interface/target").get("dev")
    received, _, _, _, sent, *_ = domain.interfaceStats(name)
    assert received > 0 and sent > 0
    stats = conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_INTERFACE)[0][1]
    assert stats["net.count"] == 1 and stats["net.0.name"] == name and stats["net.0.rx.bytes"] > 0
    for source in ("agent", "arp"):
        assert "192.0.2.10" in daemon.virsh("domifaddr", "ct", "--source", source).stdout


def test_missing_bridge_is_named(daemon, make_guest):
    make_guest(devices="<interface type='bridge'><source bridge='nobr9'/></interface>").define()
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode != 0 and "nobr9" in done.stderr


@pytest.mark.parametrize("interface,name", [
    ("<interface type='user'/>", "user"),
    ("<interface type='direct'><source dev='nodev9' mode='bridge'/></interface>", "nodev9"),
    ("<interface type='mcast'><source address='230.0.0.1' port='5558'/></interface>", "mcast"),
])
def test_other_types_are_refused_by_name(daemon, make_guest, interface, name):
    guest = make_guest(devices=interface)
    done = daemon.virsh("define", guest.file(), check=False)
    if done.returncode == 0:
        done = daemon.virsh("start", "ct", check=False)
    assert done.returncode != 0 and name in done.stderr
