# SPDX-License-Identifier: LGPL-2.1-or-later
"""Networks, bridges and cables in the network namespace of the private daemon."""

import os
import subprocess

import pytest
from harness.guest import wait_for
from harness.interfaces import links


@pytest.fixture
def make_network(daemon):
    """make_network(inner XML) -> its name, active; removed after the test."""
    names = []

    def make(inside, name="lan"):
        path = os.path.join(daemon.folder, f"{name}.network.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"<network><name>{name}</name>{inside}</network>")
        names.append(name)
        daemon.virsh("net-define", path)
        daemon.virsh("net-start", name)
        return name

    yield make
    for name in names:
        daemon.virsh("net-destroy", name, check=False)
        daemon.virsh("net-undefine", name, check=False)


@pytest.fixture
def uplink(daemon):
    """An interface of the host with a cable: what is sent at `up0` arrives at `far0`."""
    daemon.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "far0")
    daemon.run("ip", "addr", "add", "192.0.2.254/24", "dev", "far0")
    for name in ("up0", "far0"):
        daemon.run("ip", "link", "set", name, "up")
    yield "up0"
    daemon.run("ip", "link", "del", "up0", check=False)


@pytest.fixture
def bridge(daemon):
    daemon.run("ip", "link", "add", "vzbr0", "type", "bridge")
    daemon.run("ip", "addr", "add", "192.0.2.254/24", "dev", "vzbr0")
    daemon.run("ip", "link", "set", "vzbr0", "up")
    yield "vzbr0"
    daemon.run("ip", "link", "del", "vzbr0")


@pytest.fixture
def switch(daemon, tmp_path):
    """An Open vSwitch that needs no module of the kernel, with the host at 192.0.2.254; its name."""
    folder, database = "/run/openvswitch", tmp_path / "switch.db"
    ours = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    daemon.run("mount", "-t", "tmpfs", "none", folder)
    daemon.run("ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
    daemon.run("ovsdb-server", database, f"--remote=punix:{folder}/db.sock", "--detach", "--pidfile", "--no-chdir",
               f"--log-file={tmp_path}/ovsdb.log")
    daemon.run("ovs-vsctl", "--no-wait", "init")
    daemon.run("ovs-vswitchd", "--disable-system", "--detach", "--pidfile", "--no-chdir",
               f"--log-file={tmp_path}/switch.log")
    daemon.run("ovs-vsctl", "--timeout=10", "add-br", "ovs0", "--", "set", "Bridge", "ovs0", "datapath_type=netdev")
    daemon.run("ip", "addr", "add", "192.0.2.254/24", "dev", "ovs0")
    daemon.run("ip", "link", "set", "ovs0", "up")
    yield "ovs0"
    for name in ("ovs-vswitchd", "ovsdb-server"):
        daemon.run("ovs-appctl", "--timeout=10", "-t", name, "exit", *(["--cleanup"] if name == "ovs-vswitchd" else []))
    wait_for(lambda: not daemon.run("umount", folder, check=False).returncode, what="the end of the switch")
    if ours:
        os.rmdir(folder)


@pytest.fixture
def lent(daemon):
    """An interface of the host to lend, as `ip` tells of it; what is sent there arrives at 192.0.2.254."""
    daemon.run("ip", "link", "add", "nic0", "type", "veth", "peer", "name", "far1")
    daemon.run("ip", "addr", "add", "192.0.2.254/24", "dev", "far1")
    daemon.run("ip", "link", "set", "far1", "up")
    daemon.run("ip", "link", "set", "nic0", "mtu", "1480")
    yield links(daemon)["nic0"]
    for name in [link for link in links(daemon) if link == "far1"]:
        daemon.run("ip", "link", "del", name)


@pytest.fixture
def neighbour(daemon):
    """
    A neighbour of the host, 192.0.2.2 and 2001:db8::2, in a network namespace of his own, which the commands of
    daemon.far enter. The host is 192.0.2.1 and 2001:db8::1 on `wan0`, and a router.
    """
    with subprocess.Popen([*daemon.namespace.enter(), "unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                          stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        daemon.far = ["nsenter", "-t", str(process.pid), "-n"]
        daemon.run("sh", "-ec", """
            ip link add wan0 type veth peer name eth0 netns $0
            ip link set wan0 up; ip addr add 192.0.2.1/24 dev wan0; ip -6 addr add 2001:db8::1/64 dev wan0 nodad
            sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1""", str(process.pid))
        daemon.run(*daemon.far, "sh", "-ec", """
            ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0; ip -6 addr add 2001:db8::2/64 dev eth0 nodad""")
        yield daemon.far
        daemon.run("sh", "-c", "ip link del wan0; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        process.kill()
