# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a connection says that virtual machines can be, beside containers."""

import subprocess
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest
from harness import build
from harness.private_daemon import VM_MODULES, PrivateDaemon

DAEMON = {"modules": VM_MODULES, "uri": "vz:///system"}
ACCELERATOR = "{urn:libvirt-vz:capabilities:1.0}accelerator"


@pytest.fixture
def inner(daemon):
    """A connection to the stock driver in the same daemon."""
    connection = daemon.connect("qemu:///system")
    yield connection
    connection.close()


def capabilities(connection):
    return ElementTree.fromstring(connection.getCapabilities())


def guests(document):
    """(os type, arch) -> <arch> of each guest, in their order."""
    return {(guest.find("os_type").text, guest.find("arch").get("name")): guest.find("arch")
            for guest in document.findall("guest")}


def types(arch):
    return [domain.get("type") for domain in arch.findall("domain")]


def probe():
    """What the helper says by itself: whether KVM works, and why."""
    done = subprocess.run([build.kvm_probe(), "/dev/kvm"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1) and done.stderr == "" and len(done.stdout.splitlines()) == 1
    return done.returncode == 0, done.stdout.strip()


def canonical(element):
    return ElementTree.canonicalize(ElementTree.tostring(element, encoding="unicode"), strip_text=True)


def test_the_probe_is_quick_and_steady():
    assert probe() == probe() == probe()


@pytest.mark.host
def test_machines_stand_beside_containers(conn, inner):
    ours, stock = guests(capabilities(conn)), guests(capabilities(inner))
    assert list(ours)[:-1] == list(stock)
    assert list(ours)[-1] == ("exe", "x86_64")
    assert ("hvm", "x86_64") in ours
    for name, arch in ours.items():
        assert types(arch) == ["parallels", "vz"]
        for part in ("emulator", "machine", "wordsize"):
            expected = ["64"] if name[0] == "exe" and part == "wordsize" else [
                element.text for element in stock[name].findall(part)] if name[0] == "hvm" else []
            assert [element.text for element in arch.findall(part)] == expected


@pytest.mark.host
def test_the_accelerator_is_told_honestly(conn, inner):
    works, reason = probe()
    offered = "kvm" in types(guests(capabilities(inner))["hvm", "x86_64"])
    ours = guests(capabilities(conn))
    element = ours["hvm", "x86_64"].find(ACCELERATOR)
    assert element.get("type") == ("kvm" if works and offered else "tcg")
    if not works or offered:
        assert element.get("reason") == reason
    else:
        assert "QEMU runs as" in element.get("reason")
    assert ours["exe", "x86_64"].find(ACCELERATOR) is None


@pytest.mark.host
def test_the_host_is_that_of_the_stock_driver(conn, inner):
    ours, stock = capabilities(conn).find("host"), capabilities(inner).find("host")
    for part in ("uuid", "cpu", "topology", "migration_features"):
        assert canonical(ours.find(part)) == canonical(stock.find(part)), part


@pytest.mark.host
@pytest.mark.parametrize("kind", ["vz", "parallels", None])
def test_domain_capabilities_are_those_of_the_stock_driver(conn, inner, kind):
    engine = "kvm" if guests(capabilities(conn))["hvm", "x86_64"].find(ACCELERATOR).get("type") == "kvm" else "qemu"
    emulator = "/usr/bin/qemu-system-x86_64"
    for wanted in ((None, None, None), (None, "x86_64", "pc"), (emulator, "x86_64", "q35"), (emulator, None, None)):
        ours = ElementTree.fromstring(conn.getDomainCapabilities(*wanted, kind, 0))
        stock = ElementTree.fromstring(inner.getDomainCapabilities(*wanted, engine, 0))
        assert ours.find("domain").text == (kind or "vz")
        ours.find("domain").text = engine
        assert canonical(ours) == canonical(stock)


def test_domain_capabilities_of_containers_are_asked_for_by_emulator(conn):
    document = ElementTree.fromstring(conn.getDomainCapabilities(build.supervisor(), None, None, "parallels", 0))
    assert document.find("path").text == build.supervisor()
    assert document.find("domain").text == "parallels"
    assert document.find("devices/disk").get("supported") == "no"


@pytest.mark.host
def test_domain_capabilities_that_nobody_has(conn):
    for wanted, code in (((None, "sparc", None, "vz"), libvirt.VIR_ERR_CONFIG_UNSUPPORTED),
                         ((None, None, None, "kvm"), libvirt.VIR_ERR_INVALID_ARG),
                         ((None, "x86_64", "no-such-machine", "vz"), libvirt.VIR_ERR_INVALID_ARG)):
        with pytest.raises(libvirt.libvirtError) as error:
            conn.getDomainCapabilities(*wanted, 0)
        assert error.value.get_error_code() == code


def test_settings_choose_the_accelerator(daemon):
    try:
        for setting, kind in (("tcg", "tcg"), ("kvm", "kvm")):
            daemon.change_settings(vm_accelerator=setting)
            daemon.restart()
            connection = daemon.connect()
            ours = guests(capabilities(connection))
            connection.close()
            # Where QEMU cannot open the device, no machine can be had with it.
            if ("hvm", "x86_64") in ours:
                element = ours["hvm", "x86_64"].find(ACCELERATOR)
                assert element.get("type") == kind and "vm_accelerator" in element.get("reason")
            else:
                assert kind == "kvm"
    finally:
        daemon.change_settings()
        daemon.restart()


def only_containers(daemon):
    connection = daemon.connect()
    try:
        for _ in range(3):
            assert list(guests(capabilities(connection))) == [("exe", "x86_64")]
            document = ElementTree.fromstring(connection.getDomainCapabilities(None, "x86_64", "pc", "vz", 0))
            assert document.find("path").text == build.supervisor()
    finally:
        connection.close()
    return daemon.log().count("there are no virtual machines beside containers")


def test_no_machines_by_the_settings(daemon):
    try:
        daemon.change_settings(qemu_uri="")
        daemon.restart()
        assert only_containers(daemon) == 0  # nothing to warn of
    finally:
        daemon.change_settings()
        daemon.restart()


def test_without_the_stock_driver_the_log_says_so_once():
    daemon = PrivateDaemon()
    try:
        daemon.start()
        assert only_containers(daemon) == 0  # nothing to warn of either
        # This is libvirt's own line: it is asked once.
        assert daemon.log().count("no connection driver available for qemu:///system") == 1
    finally:
        daemon.close()
