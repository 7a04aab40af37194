# SPDX-License-Identifier: LGPL-2.1-or-later
"""Networks, bridges and cables in the network namespace of the private daemon."""

import os

import pytest
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
def lent(daemon):
    """An interface of the host to lend, as `ip` tells of it; what is sent there arrives at 192.0.2.254."""
    daemon.run("ip", "link", "add", "nic0", "type", "veth", "peer", "name", "far1")
    daemon.run("ip", "addr", "add", "192.0.2.254/24", "dev", "far1")
    daemon.run("ip", "link", "set", "far1", "up")
    daemon.run("ip", "link", "set", "nic0", "mtu", "1480")
    yield links(daemon)["nic0"]
    for name in [link for link in links(daemon) if link == "far1"]:
        daemon.run("ip", "link", "del", name)
