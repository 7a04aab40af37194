# SPDX-License-Identifier: LGPL-2.1-or-later
"""Interface types: networks of the stock network driver, macvlan, lent interfaces; what is left after kill -9."""

import os
import signal
import xml.etree.ElementTree as ElementTree

import pytest
from harness.guest import wait_for
from harness.interfaces import exchange, interface_of, links, nic, ping, ports
from harness.traffic import in_guest

pytest_plugins = ["harness.interface_fixtures"]

DHCP = """#!/bin/sh
[ "$1" != bound ] || { ip addr add $ip/$mask dev $interface && ip route add default via $router; }
"""


def test_network_with_leases(daemon, make_network, make_guest):
    make_network("<forward mode='nat'/><bridge name='vznat0' stp='off'/><ip address='192.0.2.1' netmask='255.255.255.0'>"
                 "<dhcp><range start='192.0.2.100' end='192.0.2.120'/></dhcp></ip>")
    guest = make_guest(devices="<interface type='network'><mac address='52:54:00:00:00:01'/>"
                               "<source network='lan'/></interface>").define()
    with open(guest.path("/dhcp"), "w", encoding="utf-8") as script:
        script.write(DHCP)
    os.chmod(guest.path("/dhcp"), 0o755)
    guest.start().ready()
    shown = interface_of(guest)
    assert shown.get("type") == "network" and shown.find("source").get("bridge") == "vznat0"
    assert ports(daemon) == [shown.find("source").get("portid")]
    assert interface_of(guest, "--inactive").find("source").get("portid") is None
    assert links(daemon)[shown.find("target").get("dev")]["master"] == "vznat0"
    guest.inside("/bin/udhcpc", "-i", "eth0", "-n", "-q", "-t", "6", "-T", "2", "-s", "/dhcp")
    ping(guest, "192.0.2.1")
    leased = daemon.virsh("domifaddr", "ct").stdout
    assert "192.0.2.1" in leased and "52:54:00:00:00:01" in leased
    assert leased.split()[3].split("/")[0] in guest.inside("/bin/ip", "addr", "show", "eth0")
    assert "lan" in daemon.virsh("domiflist", "ct").stdout
    daemon.virsh("destroy", "ct")
    assert not ports(daemon)


@pytest.mark.parametrize("kind", ["isolated", "bridge", "macvlan"])
def test_other_networks(daemon, make_network, make_guest, uplink, bridge, kind):
    for name, keeps in (("far0", "macvlan"), ("vzbr0", "bridge")):
        if kind != keeps:
            daemon.run("ip", "addr", "flush", "dev", name)
    make_network({"isolated": "<bridge name='vziso0' stp='off'/><ip address='192.0.2.254' netmask='255.255.255.0'/>",
                  "bridge": "<forward mode='bridge'/><bridge name='vzbr0'/>",
                  "macvlan": "<forward mode='bridge'><interface dev='up0'/></forward>"}[kind])
    guests = [make_guest(f"ct{number}", devices=nic(number, "network", "<source network='lan'/>"))
              .define().start().ready() for number in (1, 2)]
    ping(guests[0], "192.0.2.2")
    ping(guests[0], "192.0.2.254")
    exchange(daemon, guests[0], "192.0.2.1")
    assert len(ports(daemon)) == 2
    shown = interface_of(guests[0])
    assert shown.get("type") == {"isolated": "network", "bridge": "bridge", "macvlan": "direct"}[kind]
    assert shown.find("source").get("network") == "lan"
    # What clients see can be defined again, and means the same.
    assert interface_of(guests[0], "--inactive").get("type") == "network"
    for guest in guests:
        daemon.virsh("destroy", guest.name)
    assert not ports(daemon)


@pytest.mark.parametrize("mode", [pytest.param("nat", marks=pytest.mark.host), "route", "open",
                                  pytest.param("isolated", marks=pytest.mark.host_only)])
def test_ways_out_of_a_network(daemon, neighbour, make_network, make_guest, mode):
    """To a neighbour of the host, who knows a way back only where the network's own addresses are to be seen."""
    forward = "" if mode == "isolated" else f"<forward mode='{mode}'/>"
    make_network(f"{forward}<bridge name='vznet0' stp='off'/><dns enable='no'/>"
                 "<ip address='198.51.100.254' netmask='255.255.255.0'/>")
    if mode != "nat":
        daemon.run(*neighbour, "ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.1")
    guest = make_guest(devices="""<interface type='network'><source network='lan'/>
        <ip address='198.51.100.1' family='ipv4' prefix='24'/>
        <route family='ipv4' address='0.0.0.0' prefix='0' gateway='198.51.100.254'/></interface>""")
    guest.define().start().ready()
    ping(guest, "198.51.100.254")
    if mode == "isolated":
        assert "1 packets received" not in guest.inside("/bin/ping", "-c", "1", "-W", "1", "192.0.2.2", check=False)
        return
    ping(guest, "192.0.2.2")
    if mode != "nat":
        exchange(daemon, guest, "198.51.100.1", neighbour)


def test_network_that_is_not_active(daemon, make_network, make_guest):
    make_network("<bridge name='vziso0'/>")
    daemon.virsh("net-destroy", "lan")
    make_guest(devices=nic(1, "network", "<source network='lan'/>")).define()
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode and "lan" in done.stderr and "not active" in done.stderr
    make_guest("other", devices=nic(1, "network", "<source network='nowhere'/>")).define()
    done = daemon.virsh("start", "other", check=False)
    assert done.returncode and "nowhere" in done.stderr


@pytest.mark.host
@pytest.mark.parametrize("mode", ["bridge", "private", "vepa", "passthrough"])
def test_direct(daemon, make_guest, uplink, mode):
    guest = make_guest("ct1", devices=nic(1, "direct", f"<source dev='up0' mode='{mode}'/>"))
    guest.define().start().ready()
    ping(guest, "192.0.2.254")
    exchange(daemon, guest, "192.0.2.1")
    other = make_guest("ct2", devices=nic(2, "direct", f"<source dev='up0' mode='{mode}'/>")).define()
    started = daemon.virsh("start", "ct2", check=False)
    assert (started.returncode == 0) == (mode != "passthrough"), started.stderr
    if mode == "bridge":
        ping(other, "192.0.2.1")
    elif mode == "passthrough":
        assert "passthrough" in started.stderr and "up0" in started.stderr
    else:
        # Nothing sends back what these two say to each other.
        assert "100% packet loss" in guest.inside("/bin/ping", "-c", "1", "-W", "1", "192.0.2.2", check=False)
    domain = ElementTree.fromstring(guest.live_xml())
    assert domain.find("devices/interface").get("type") == "direct"
    received = daemon.virsh("domifstat", "ct1", "52:54:00:00:00:01").stdout
    assert int(received.split("rx_bytes")[1].split()[0]) > 0


# A switch without the module of the kernel hands on what has no checksum yet as it is: ETHTOOL_STXCSUM off.
CHECKSUMS = """
import fcntl, socket, struct, ctypes
value = ctypes.create_string_buffer(struct.pack("II", 0x17, 0))
fcntl.ioctl(socket.socket(), 0x8946, struct.pack("16sP", b"eth0", ctypes.addressof(value)))
"""
SWITCH_ID = "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f"


@pytest.mark.parametrize("kind", ["bridge", "network"])
def test_open_vswitch(daemon, make_network, make_guest, switch, kind):
    port = f"<virtualport type='openvswitch'><parameters interfaceid='{SWITCH_ID}'/></virtualport>"
    source = f"<source bridge='ovs0'/>{port}"
    if kind == "network":
        make_network("<forward mode='bridge'/><bridge name='ovs0'/><virtualport type='openvswitch'/>")
        source = "<source network='lan'/>"
    guest = make_guest(devices=nic(1, kind, source)).define().start().ready()
    ping(guest, "192.0.2.254")
    daemon.run(*in_guest(guest), "python3", "-c", CHECKSUMS)
    exchange(daemon, guest, "192.0.2.1")
    name = interface_of(guest).find("target").get("dev")
    assert daemon.run("ovs-vsctl", "list-ports", "ovs0").stdout.split() == [name]
    known = daemon.run("ovs-vsctl", "get", "Interface", name, "external-ids").stdout
    assert guest.uuid in known and "52:54:00:00:00:01" in known
    assert kind == "network" or SWITCH_ID in known
    supervisor = guest.supervisor()
    daemon.kill9()
    os.kill(supervisor, signal.SIGKILL)
    daemon.start()
    wait_for(lambda: not daemon.run("ovs-vsctl", "list-ports", "ovs0").stdout, what="a switch without the port")
    done = daemon.virsh("attach-interface", "ct", "bridge", "nobr9", "--config", check=False)
    assert not done.returncode
    assert "nobr9" in daemon.virsh("start", "ct", check=False).stderr
    assert not daemon.run("ovs-vsctl", "list-ports", "ovs0").stdout


def test_vlan_needs_a_bridge_that_filters(daemon, bridge, make_guest):
    make_guest(devices=nic(1, "bridge", "<source bridge='vzbr0'/><vlan><tag id='5'/></vlan>")).define()
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode and "<vlan>" in done.stderr and "vzbr0" in done.stderr


@pytest.mark.host_only
def test_vlans(daemon, bridge, make_guest):
    daemon.run("ip", "link", "set", "vzbr0", "type", "bridge", "vlan_filtering", "1")
    source = "<source bridge='vzbr0'/><vlan{trunk}><tag id='{tag}'/></vlan>"
    guests = [make_guest(f"ct{number}", devices=nic(number, "bridge", source.format(tag=tag, trunk="")))
              .define().start().ready() for number, tag in ((1, 5), (2, 5), (3, 6))]
    ping(guests[0], "192.0.2.2")
    for other in ("192.0.2.3", "192.0.2.254"):
        assert "100% packet loss" in guests[0].inside("/bin/ping", "-c", "1", "-W", "2", other, check=False)
    trunk = make_guest("trunk", devices="<interface type='bridge'>" + source.format(tag=5, trunk=" trunk='yes'")
                       + "</interface>").define().start().ready()
    name = interface_of(trunk).find("target").get("dev")
    shown = [line.split() for line in daemon.run("bridge", "vlan", "show", "dev", name).stdout.splitlines()[1:]]
    assert [words[1:] for words in shown if words] == [["5"]]


HOSTDEV = """<hostdev mode='capabilities' type='net'><source><interface>nic0</interface></source>
    <ip address='192.0.2.1' family='ipv4' prefix='24'/></hostdev>"""


@pytest.mark.host
@pytest.mark.parametrize("end", ["destroy", "poweroff", "supervisor", "both"])
def test_lent_interface_comes_back(daemon, lent, make_guest, end):
    guest = make_guest(devices=HOSTDEV).define().start().ready()
    ping(guest, "192.0.2.254")
    exchange(daemon, guest, "192.0.2.1")
    assert "nic0" not in links(daemon)
    guest.inside("/bin/ip", "link", "set", "nic0", "down")
    guest.inside("/bin/ip", "link", "set", "nic0", "address", "52:54:00:99:99:99", "name", "mine", "mtu", "1300")
    supervisor = guest.supervisor()
    if end == "both":
        daemon.kill9()
    if end in ("supervisor", "both"):
        os.kill(supervisor, signal.SIGKILL)
    elif end == "poweroff":
        guest.inside("/bin/poweroff", "-f", check=False)
    else:
        daemon.virsh("destroy", "ct")
    if end == "both":
        daemon.start()
    after = wait_for(lambda: links(daemon).get("nic0"), what="the interface")
    assert (after["address"], after["mtu"]) == (lent["address"], lent["mtu"])


@pytest.mark.host_only
@pytest.mark.parametrize("kept", [True, False])
def test_hardware_comes_back(daemon, make_guest, kept):
    """All are killed at once; where the namespace is not kept, the kernel takes the device out of it."""
    before = links(daemon)["link0"]
    guest = make_guest(devices=HOSTDEV.replace("nic0", "link0")).define().start().ready()
    assert "link0" not in links(daemon)
    guest.inside("/bin/ip", "link", "set", "link0", "down")
    guest.inside("/bin/ip", "link", "set", "link0", "name", "mine")
    supervisor = guest.supervisor()
    daemon.kill9()
    if not kept:
        daemon.run("umount", f"/run/libvirt/vz/{guest.uuid}/netns")
    os.kill(supervisor, signal.SIGKILL)
    daemon.start()
    assert wait_for(lambda: links(daemon).get("link0"), what="the interface")["address"] == before["address"]
