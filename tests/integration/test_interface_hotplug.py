# SPDX-License-Identifier: LGPL-2.1-or-later
"""Interfaces that come to, leave, and change in a running container."""

import os
import signal
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest
from harness.guest import wait_for
from harness.interfaces import interface_of, interfaces_of, links, nic, ping, ports

pytest_plugins = ["harness.interface_fixtures"]

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG


def test_nova_plugs_and_unplugs(daemon, conn, events, bridge, running):
    domain = conn.lookupByName("ct")
    xml = """<interface type='bridge'><mac address='52:54:00:00:00:05'/><model type='virtio'/>
        <source bridge='vzbr0'/><mtu size='1450'/><target dev='tap0a1b2c3d-4e'/></interface>"""
    domain.attachDeviceFlags(xml, LIVE | CONFIG)
    events.wait("device-added", "ct", "net0")
    live = interface_of(running)
    assert live.find("target").get("dev") == "tap0a1b2c3d-4e" and live.find("alias").get("name") == "net0"
    assert links(daemon)["tap0a1b2c3d-4e"]["master"] == "vzbr0"
    assert "mtu 1450" in running.inside("/bin/ip", "link", "show", "eth0")
    with pytest.raises(libvirt.libvirtError) as again:
        domain.attachDeviceFlags(xml, LIVE)
    assert again.value.get_error_code() == libvirt.VIR_ERR_OPERATION_FAILED
    domain.detachDeviceFlags(xml, CONFIG)
    domain.detachDeviceFlags(xml, LIVE)
    events.wait("device-removed", "ct", "net0")
    assert not interfaces_of(running) and "tap0a1b2c3d-4e" not in links(daemon)
    with pytest.raises(libvirt.libvirtError) as gone:
        domain.detachDeviceFlags(xml, LIVE)
    assert gone.value.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING


def test_plug_with_addresses(daemon, conn, bridge, running):
    domain = conn.lookupByName("ct")
    domain.attachDeviceFlags(nic(1, "bridge", "<source bridge='vzbr0'/>"), LIVE)
    domain.attachDeviceFlags("""<interface type='bridge'><source bridge='vzbr0'/><guest dev='lan7'/>
        <ip address='2001:db8::7' family='ipv6' prefix='64'/></interface>""", LIVE)
    ping(running, "192.0.2.254")
    assert "2001:db8::7/64" in running.inside("/bin/ip", "addr", "show", "lan7")
    assert {interface.find("alias").get("name") for interface in interfaces_of(running)} == {"net0", "net1"}
    domain.detachDeviceAlias("net0", LIVE)
    assert "eth0" not in running.inside("/bin/ip", "link")
    # What is free is used again.
    domain.attachDeviceFlags(nic(2, "bridge", "<source bridge='vzbr0'/>"), LIVE)
    assert "eth0" in running.inside("/bin/ip", "link")


def test_plug_into_networks(daemon, conn, make_network, uplink, running):
    make_network("<bridge name='vziso0' stp='off'/>", "iso")
    make_network("<forward mode='bridge'><interface dev='up0'/></forward>", "mac")
    domain = conn.lookupByName("ct")
    for number, name in ((1, "iso"), (2, "mac")):
        domain.attachDeviceFlags(nic(number, "network", f"<source network='{name}'/>"), LIVE)
        assert len(ports(daemon, name)) == 1
    with pytest.raises(libvirt.libvirtError):
        domain.attachDeviceFlags(nic(3, "network", "<source network='none'/>"), LIVE)
    for number, name in ((1, "iso"), (2, "mac")):
        shown = [ElementTree.tostring(each, "unicode") for each in interfaces_of(running)][0]
        domain.detachDeviceFlags(shown, LIVE)
        assert not ports(daemon, name), number
    assert "eth" not in running.inside("/bin/ip", "link")


def test_lent_interface_is_plugged(daemon, conn, lent, running):
    domain = conn.lookupByName("ct")
    xml = """<hostdev mode='capabilities' type='net'><source><interface>nic0</interface></source>
        <ip address='192.0.2.1' family='ipv4' prefix='24'/></hostdev>"""
    domain.attachDeviceFlags(xml, LIVE)
    ping(running, "192.0.2.254")
    assert "nic0" not in links(daemon)
    domain.detachDeviceFlags(xml, LIVE)
    assert links(daemon)["nic0"]["address"] == lent["address"]
    missing = xml.replace("nic0", "nic9")
    with pytest.raises(libvirt.libvirtError, match="nic9"):
        domain.attachDeviceFlags(missing, LIVE)


def test_link_state(daemon, bridge, make_guest):
    guest = make_guest(devices=nic(1, "bridge", "<source bridge='vzbr0'/>")).define().start().ready()
    name = interface_of(guest).find("target").get("dev")
    routes = guest.inside("/bin/ip", "route")
    daemon.virsh("domif-setlink", "ct", name, "down")
    assert "down" in daemon.virsh("domif-getlink", "ct", name).stdout
    assert "NO-CARRIER" in guest.inside("/bin/ip", "link", "show", "eth0")
    daemon.virsh("domif-setlink", "ct", name, "up")
    assert "up" in daemon.virsh("domif-getlink", "ct", "52:54:00:00:00:01").stdout
    wait_for(lambda: "NO-CARRIER" not in guest.inside("/bin/ip", "link", "show", "eth0"), what="the carrier")
    assert routes.split()[:3] == guest.inside("/bin/ip", "route").split()[:3]
    ping(guest, "192.0.2.254")


def test_link_that_is_down_at_start(daemon, bridge, make_guest):
    guest = make_guest(devices=nic(1, "bridge", "<source bridge='vzbr0'/><link state='down'/>"))
    guest.define().start().ready()
    assert "NO-CARRIER" in guest.inside("/bin/ip", "link", "show", "eth0")
    daemon.virsh("domif-setlink", "ct", "52:54:00:00:00:01", "up")
    ping(guest, "192.0.2.254")


def test_bridge_and_mtu_change(daemon, conn, bridge, make_network, make_guest):
    guest = make_guest(devices=nic(1, "bridge", "<source bridge='vzbr0'/>")).define().start().ready()
    name = interface_of(guest).find("target").get("dev")
    make_network("<bridge name='vziso0' stp='off'/>", "iso")
    domain = conn.lookupByName("ct")

    def update(kind, source, extra=""):
        domain.updateDeviceFlags(nic(1, kind, source + extra), LIVE)
        return links(daemon)[name]["master"]

    assert update("network", "<source network='iso'/>", "<mtu size='1400'/>") == "vziso0"
    assert len(ports(daemon, "iso")) == 1
    assert "mtu 1400" in guest.inside("/bin/ip", "link", "show", "eth0") and links(daemon)[name]["mtu"] == 1400
    daemon.virsh("domif-setlink", "ct", name, "down")  # sends what dumpxml shows
    assert len(ports(daemon, "iso")) == 1
    assert update("bridge", "<source bridge='vzbr0'/>") == "vzbr0"
    assert not ports(daemon, "iso")
    ping(guest, "192.0.2.254")
    for wrong in (nic(1, "bridge", "<source bridge='nobr9'/>"), nic(1, "network", "<source network='none'/>"),
                  nic(1, "ethernet", ""), nic(1, "bridge", "<source bridge='vzbr0'/><guest dev='x'/>")):
        with pytest.raises(libvirt.libvirtError):
            domain.updateDeviceFlags(wrong, LIVE)
    assert links(daemon)[name]["master"] == "vzbr0" and interface_of(guest).get("type") == "bridge"


def test_addresses_change(daemon, conn, bridge, make_guest):
    """What is in both XMLs stays, even where the kernel takes it along with what goes; so does what root has made."""
    ips = "<ip address='192.0.2.{}' family='ipv4' prefix='24'/>".format
    route = "<route family='ipv4' address='{}' prefix='{}' gateway='192.0.2.254'/>".format
    device = "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='vzbr0'/>{}</interface>".format
    guest = make_guest(devices=device(ips(1) + ips(2) + route("0.0.0.0", 0) + route("203.0.113.0", 24)))
    guest.define().start().ready()
    domain = conn.lookupByName("ct")
    guest.inside("/bin/ip", "addr", "add", "198.51.100.1/32", "dev", "eth0")
    domain.updateDeviceFlags(device(ips(2) + ips(3) + route("0.0.0.0", 0) + route("203.0.113.128", 25)), LIVE)
    shown, routes = guest.inside("/bin/ip", "addr"), guest.inside("/bin/ip", "route")
    assert "192.0.2.1/" not in shown and all(f"192.0.2.{one}/24" in shown for one in (2, 3))
    assert "198.51.100.1/32" in shown
    assert "default via 192.0.2.254" in routes and "203.0.113.128/25 via" in routes and "203.0.113.0/24" not in routes
    ping(guest, "192.0.2.254")
    assert [ip.get("address") for ip in interface_of(guest).findall("ip")] == ["192.0.2.2", "192.0.2.3"]
    # A gateway that cannot be reached: all is as it was.
    with pytest.raises(libvirt.libvirtError, match="198.18.0.1"):
        domain.updateDeviceFlags(device(ips(4) + route("0.0.0.0", 0).replace("192.0.2.254", "198.18.0.1")), LIVE)
    assert guest.inside("/bin/ip", "addr") == shown
    assert sorted(guest.inside("/bin/ip", "route").splitlines()) == sorted(routes.splitlines())


@pytest.mark.parametrize("who", ["daemon", "both"])
def test_kill9_leaves_no_port(daemon, make_network, make_guest, who):
    make_network("<bridge name='vziso0' stp='off'/><ip address='192.0.2.254' netmask='255.255.255.0'/>")
    guest = make_guest(devices=nic(1, "network", "<source network='lan'/>")).define().start().ready()
    port, supervisor = ports(daemon), guest.supervisor()
    daemon.kill9()
    if who == "both":
        os.kill(supervisor, signal.SIGKILL)
    daemon.start()
    if who == "both":
        wait_for(lambda: not ports(daemon), what="the end of the port")
        guest.start()
        return
    assert ports(daemon) == port and interface_of(guest).find("source").get("portid") == port[0]
    # A network that was made anew meets its guests again when the daemon starts.
    daemon.virsh("net-destroy", "lan")
    daemon.virsh("net-start", "lan")
    daemon.kill9()
    daemon.start()
    wait_for(lambda: ports(daemon) == port, what="the port")
    name = interface_of(guest).find("target").get("dev")
    wait_for(lambda: links(daemon)[name].get("master") == "vziso0", what="the bridge")
    ping(guest, "192.0.2.254")
    daemon.virsh("destroy", "ct")
    assert not ports(daemon)


def test_interface_that_is_gone(daemon, conn, events, bridge, make_guest):
    guest = make_guest(devices=nic(1, "bridge", "<source bridge='vzbr0'/>")
                       + nic(2, "bridge", "<source bridge='vzbr0'/>")).define().start().ready()
    guest.inside("/bin/ip", "link", "set", "eth0", "down")
    guest.inside("/bin/ip", "link", "set", "eth0", "name", "mine", check=False)
    domain = conn.lookupByName("ct")
    domain.detachDeviceAlias("net0", LIVE)  # whatever root inside calls it
    assert "mine" not in guest.inside("/bin/ip", "link")
    daemon.run("ip", "link", "del", interface_of(guest).find("target").get("dev"))
    daemon.kill9()
    daemon.start()
    wait_for(lambda: not interfaces_of(guest), what="a live XML without the lost interface")


def test_names_of_others_are_left_alone(daemon, conn, bridge, running):
    daemon.run("ip", "link", "add", "vnet0", "type", "bridge")
    try:
        domain = conn.lookupByName("ct")
        domain.attachDeviceFlags(nic(1, "bridge", "<source bridge='vzbr0'/>"), LIVE)
        assert interface_of(running).find("target").get("dev") == "vnet1"
        with pytest.raises(libvirt.libvirtError, match="vzbr0"):
            domain.attachDeviceFlags(nic(2, "bridge", "<source bridge='vzbr0'/><target dev='vzbr0'/>"), LIVE)
        assert "vzbr0" in links(daemon) and len(interfaces_of(running)) == 1
    finally:
        daemon.run("ip", "link", "del", "vnet0")


def test_many_rounds(daemon, conn, bridge, make_network, running, full):
    make_network("<bridge name='vziso0' stp='off'/>")
    before = links(daemon).keys()
    domain = conn.lookupByName("ct")
    for number in range(200 if full else 20):
        xml = nic(1, *(("bridge", "<source bridge='vzbr0'/>"), ("network", "<source network='lan'/>"))[number % 2])
        domain.attachDeviceFlags(xml, LIVE)
        domain.detachDeviceFlags(xml, LIVE)
    assert links(daemon).keys() == before and not ports(daemon)


def test_script_of_ethernet(daemon, tmp_path, make_guest):
    log = tmp_path / "log"
    for name in ("up", "down"):
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\necho {name} $1 >>{log}\n")
        script.chmod(0o755)
    make_guest(devices=f"""<interface type='ethernet'><target dev='vzeth0'/><script path='{tmp_path}/up'/>
        <downscript path='{tmp_path}/down'/></interface>""").define().start().ready()
    assert log.read_text() == "up vzeth0\n"
    daemon.virsh("destroy", "ct")
    assert log.read_text() == "up vzeth0\ndown vzeth0\n"
    failing = tmp_path / "up"
    failing.write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode and "status 3" in done.stderr and "no" in done.stderr
    assert "vzeth0" not in links(daemon)


def test_jumbo_frames_and_counters(daemon, conn, make_guest):
    daemon.run("ip", "link", "add", "vzbr0", "type", "bridge")
    daemon.run("ip", "link", "set", "vzbr0", "up", "mtu", "9000")
    daemon.run("ip", "addr", "add", "192.0.2.254/24", "dev", "vzbr0")
    try:
        guest = make_guest(devices=nic(1, "bridge", "<source bridge='vzbr0'/>")).define().start().ready()
        assert "mtu 9000" in guest.inside("/bin/ip", "link", "show", "eth0")
        name = interface_of(guest).find("target").get("dev")
        domain = conn.lookupByName("ct")
        before = domain.interfaceStats(name)
        # 8972 bytes and 28 of headers are one whole frame.
        guest.inside("/bin/ping", "-c", "50", "-i", "0.01", "-s", "8972", "192.0.2.254")
        received, packets, _, _, sent, *_ = [b - a for a, b in zip(before, domain.interfaceStats(name))]
        frames = 50 * (8972 + 28 + 14)
        assert frames <= received < frames + 5000 and frames <= sent < frames + 5000 and 50 <= packets < 70
        assert domain.interfaceStats("52:54:00:00:00:01")[0] >= before[0] + frames
    finally:
        daemon.virsh("destroy", "ct", check=False)
        daemon.run("ip", "link", "del", "vzbr0")


def test_peer_and_gateway_on_the_link(daemon, make_guest):
    guest = make_guest(devices="""<interface type='ethernet'><target dev='vzeth0'/>
        <ip address='203.0.113.7' family='ipv4' prefix='32' peer='192.0.2.254'/></interface>
        <interface type='ethernet'><target dev='vzeth1'/><ip address='2001:db8:5::7' family='ipv6' prefix='128'/>
        <route family='ipv6' address='::' prefix='0' gateway='2001:db8:9::1'/></interface>
        <interface type='ethernet'><target dev='vzeth2'/>
        <ip address='2001:db8:6::7' family='ipv6' prefix='128' peer='2001:db8:7::1'/></interface>""")
    guest.define().start().ready()
    daemon.run("ip", "addr", "add", "192.0.2.254/32", "dev", "vzeth0")
    daemon.run("ip", "route", "add", "203.0.113.7/32", "dev", "vzeth0")
    daemon.run("ip", "addr", "add", "2001:db8:9::1/128", "dev", "vzeth1", "nodad")
    daemon.run("ip", "route", "add", "2001:db8:5::7/128", "dev", "vzeth1")
    daemon.run("ip", "addr", "add", "2001:db8:7::1/128", "peer", "2001:db8:6::7/128", "dev", "vzeth2", "nodad")
    ping(guest, "192.0.2.254")
    for address in ("2001:db8:9::1", "2001:db8:7::1"):
        guest.inside("/bin/ping", "-6", "-c", "1", "-W", "5", address)
