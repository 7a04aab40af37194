# SPDX-License-Identifier: LGPL-2.1-or-later
"""Connections and what they say about the host."""

import glob
import os
import platform
import re
import socket
import threading
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest
from harness.guest import wait_for


def refused(daemon, uri):
    done = daemon.virsh("list", uri=uri, check=False)
    assert done.returncode != 0
    return done.stderr


# URIs


@pytest.mark.host
def test_system_uri(daemon, conn):
    assert conn.getType().lower() == "vz"
    assert conn.getVersion() >= 7000000
    assert conn.getHostname() == socket.gethostname()
    assert daemon.virsh("uri").stdout.startswith("vz")
    assert conn.isAlive() == 1
    assert conn.isSecure() == 1
    assert conn.isEncrypted() == 0


def test_session_is_refused_clearly(daemon):
    assert "system" in refused(daemon, "vz:///session")


@pytest.mark.parametrize("path", ["vz:///", "vz:///nonsense", "vz:///system/x"])
def test_foreign_path_is_refused_clearly(daemon, path):
    assert "vz:///system" in refused(daemon, path)


def test_read_only_connection(daemon, running, conn):
    assert "ct" in daemon.virsh("list", ro=True).stdout
    assert "read only" in daemon.virsh("destroy", "ct", ro=True, check=False).stderr
    reader = daemon.connect(ro=True)
    try:
        domain = reader.lookupByName("ct")
        assert domain.info()[0] == libvirt.VIR_DOMAIN_RUNNING
        for change in (domain.suspend, domain.shutdown, lambda: domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)):
            with pytest.raises(libvirt.libvirtError) as error:
                change()
            assert error.value.get_error_code() == libvirt.VIR_ERR_OPERATION_DENIED
    finally:
        reader.close()


def test_many_connections_and_threads(daemon, running):
    problems = []

    def client():
        try:
            connection = daemon.connect()
            for _ in range(20):
                assert [domain.name() for domain in connection.listAllDomains()] == ["ct"]
                connection.lookupByName("ct").XMLDesc()
                connection.lookupByUUIDString(running.uuid).info()
                connection.getCapabilities()
            connection.close()
        except Exception as error:  # pylint: disable=broad-except
            problems.append(error)

    threads = [threading.Thread(target=client) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []


def test_closed_connections_leave_nothing(daemon):
    for _ in range(50):
        daemon.connect().close()
    # The leak check of `daemon` does the rest.


# The host


@pytest.fixture
def capabilities(conn):
    return ElementTree.fromstring(conn.getCapabilities())


@pytest.mark.host
def test_capabilities_of_the_host(capabilities):
    assert capabilities.find("host/cpu/arch").text == platform.machine()
    cells = capabilities.findall("host/topology/cells/cell")
    assert cells
    cpus = [cpu for cell in cells for cpu in cell.findall("cpus/cpu")]
    assert len(cpus) == len(os.sched_getaffinity(0)) or len(cpus) >= os.cpu_count()
    assert all(cpu.get("socket_id") and cpu.get("core_id") and cpu.get("siblings") for cpu in cpus)
    assert int(cells[0].find("memory").text) > 0
    assert capabilities.find("host/uuid").text


@pytest.mark.host
def test_capabilities_of_guests(daemon, capabilities):
    guests = {guest.find("os_type").text: guest for guest in capabilities.findall("guest")}
    machines = daemon.virsh("version", uri="qemu:///system", check=False).returncode == 0
    assert set(guests) == ({"exe", "hvm"} if machines else {"exe"})
    for guest in guests.values():
        arch = guest.find("arch")
        assert arch.get("name") == "x86_64"
        assert arch.find("wordsize").text == "64"
        types = [domain.get("type") for domain in arch.findall("domain")]
        assert types[0] == "parallels" and types[-1] == "vz"


def test_domain_capabilities_are_whole_or_unsupported(conn):
    for kind in ("vz", "parallels"):
        for machine in (None, "pc"):
            try:
                text = conn.getDomainCapabilities(None, "x86_64", machine, kind, 0)
            except libvirt.libvirtError as error:
                assert error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT
                continue
            root = ElementTree.fromstring(text)
            for part in ("arch", "os", "devices/disk", "devices/video", "domain"):
                assert root.find(part) is not None, part
            assert root.find("arch").text == "x86_64"
            assert root.find("domain").text == kind


def test_domain_capabilities_of_other_hosts_are_refused(conn):
    with pytest.raises(libvirt.libvirtError) as error:
        conn.getDomainCapabilities(None, "sparc", None, "vz", 0)
    assert error.value.get_error_code() in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT,
                                            libvirt.VIR_ERR_CONFIG_UNSUPPORTED)


def node_memory():
    """KiB of all NUMA nodes."""
    found = 0
    for path in glob.glob("/sys/devices/system/node/node*/meminfo"):
        with open(path, encoding="utf-8") as file:
            found += int(re.search(r"MemTotal: *(\d+) kB", file.read()).group(1))
    return found


@pytest.mark.host
def test_node_information(conn):
    model, memory, cpus = conn.getInfo()[:3]
    assert model == platform.machine()
    assert cpus == os.cpu_count()
    with open("/proc/meminfo", encoding="utf-8") as file:
        total = int(file.readline().split()[1])
    # libvirt adds up the NUMA nodes, which some virtual machines give less memory than they have.
    nodes = node_memory() or total
    assert abs(memory - nodes // 1024) <= 1
    stats = conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    assert abs(stats["total"] - total) < 1024
    assert 0 < conn.getFreeMemory() < total * 1024
    assert sum(conn.getCellsFreeMemory(0, 1)) > 0
    cpu = conn.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS)
    assert cpu["user"] > 0 and cpu["idle"] > 0
    number, online, count = conn.getCPUMap()
    assert number == os.cpu_count() and count == sum(online)
    pages = conn.getFreePages([4], 0, 1)
    assert list(pages.values())[0][4] > 0 if 4 in list(pages.values())[0] else pages
    assert conn.getMaxVcpus("vz") >= 1
    assert conn.getLibVersion() >= 9000000


def test_node_information_by_virsh(daemon):
    for command in (["nodeinfo"], ["nodecpustats"], ["nodememstats"], ["nodecpumap"], ["freecell"], ["freecell", "--all"],
                    ["capabilities"], ["maxvcpus"], ["version"], ["hostname"], ["uri"]):
        assert daemon.virsh(*command).stdout.strip(), command
    assert daemon.virsh("domcapabilities", check=False).returncode in (0, 1)


def test_sysinfo(conn):
    try:
        assert "<sysinfo" in conn.getSysinfo()
    except libvirt.libvirtError as error:
        # A machine without SMBIOS has none.
        assert error.get_error_code() in (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_NO_SUPPORT,
                                          libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_INTERNAL_ERROR)


@pytest.mark.host
def test_security_model(daemon, conn, running):
    model = conn.getSecurityModel()
    assert model[0] in ("apparmor", "none")
    assert "running" in daemon.virsh("dominfo", "ct").stdout


def test_lookups(conn, running):
    domain = conn.lookupByName("ct")
    assert domain.UUIDString() == running.uuid
    assert conn.lookupByUUIDString(running.uuid).name() == "ct"
    assert conn.lookupByID(domain.ID()).name() == "ct"
    assert conn.numOfDomains() == 1 and conn.listDomainsID() == [domain.ID()]
    assert conn.numOfDefinedDomains() == 0 and conn.listDefinedDomains() == []
    for look in (lambda: conn.lookupByName("none"), lambda: conn.lookupByID(1),
                 lambda: conn.lookupByUUIDString("00000000-1111-2222-3333-444444444444")):
        with pytest.raises(libvirt.libvirtError) as error:
            look()
        assert error.value.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN


def test_list_filters(conn, make_guest):
    make_guest("off").define()
    make_guest("on").define().start()
    make_guest("held").define().start()
    conn.lookupByName("held").suspend()
    conn.lookupByName("off").setAutostart(1)

    def names(flags):
        return sorted(domain.name() for domain in conn.listAllDomains(flags))

    assert names(0) == ["held", "off", "on"]
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE) == ["held", "on"]
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE) == ["off"]
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED) == ["held"]
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING) == ["on"]
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_SHUTOFF) == ["off"]
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT) == []
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART) == ["off"]
    assert names(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT) == []


def test_keepalive_and_close_callback(daemon):
    from harness.events import start_loop  # pylint: disable=import-outside-toplevel

    start_loop()
    connection = daemon.connect()
    closed = []
    connection.registerCloseCallback(lambda c, reason, o: closed.append(reason), None)
    connection.setKeepAlive(5, 3)
    daemon.restart()
    wait_for(lambda: closed, what="the close callback")
    connection.close()
