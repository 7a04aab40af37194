# SPDX-License-Identifier: LGPL-2.1-or-later
"""From define to undefine: every state, its reason, and the events on the way."""

import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest
from harness.guest import wait_for

RUNNING, PAUSED, SHUTOFF, CRASHED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED,
                                     libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)
DEFINED, UNDEFINED, STARTED, SUSPENDED, RESUMED, STOPPED = (
    libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED, libvirt.VIR_DOMAIN_EVENT_STARTED,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_STOPPED)


def code(call, *arguments):
    with pytest.raises(libvirt.libvirtError) as error:
        call(*arguments)
    return error.value.get_error_code()


def gone(conn, name):
    try:
        conn.lookupByName(name)
    except libvirt.libvirtError as error:
        return error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN
    return False


# Definitions


@pytest.mark.host
def test_whole_life_by_virsh(daemon, make_guest):
    guest = make_guest()
    daemon.virsh("define", "--validate", guest.file())
    assert "shut off" in daemon.virsh("list", "--all").stdout
    assert guest.id() is None
    guest.start().ready()
    assert "running" in daemon.virsh("list").stdout
    with open(f"/proc/{guest.id()}/status", encoding="utf-8") as status:
        assert re.search(r"^NSpid:\s.*\b1$", status.read(), re.M), "the id of a container is the pid of its init"
    daemon.virsh("suspend", "ct")
    assert guest.state() == "paused (user)"
    daemon.virsh("resume", "ct")
    assert guest.state().startswith("running")
    daemon.virsh("shutdown", "ct")
    guest.wait_state("shut off")
    assert guest.state() == "shut off (shutdown)"
    guest.start().ready()
    daemon.virsh("destroy", "ct")
    assert guest.state() == "shut off (destroyed)"
    daemon.virsh("undefine", "ct")
    assert "ct" not in daemon.virsh("list", "--all").stdout


def test_define_keeps_type_and_dumps_back(daemon, conn, make_guest):
    for kind in ("vz", "parallels"):
        guest = make_guest(f"ct-{kind}", type=kind).define()
        text = daemon.virsh("dumpxml", guest.name).stdout
        assert ElementTree.fromstring(text).get("type") == kind
        again = conn.defineXML(text)
        assert again.XMLDesc() == text.rstrip("\n") or again.XMLDesc().strip() == text.strip()
    guest = make_guest("ct-checked", type="parallels")
    daemon.virsh("define", "--validate", guest.file())


def as_after_boot(daemon):
    """The mark of a done autostart lies where a boot of the host leaves nothing."""
    daemon.run("rm", "-f", "/run/libvirt/vz/autostarted")


def test_definition_survives_the_daemon(daemon, guest):
    before = daemon.virsh("dumpxml", "ct").stdout
    daemon.virsh("autostart", "ct")
    daemon.kill9()
    as_after_boot(daemon)
    daemon.start()
    wait_for(lambda: guest.state().startswith("running"), what="autostart")
    assert daemon.virsh("dumpxml", "--inactive", "ct").stdout == before
    daemon.virsh("autostart", "--disable", "ct")


def test_autostart_is_once_per_boot(daemon, guest):
    daemon.virsh("autostart", "ct")
    daemon.restart()
    assert guest.state().startswith("shut off")
    daemon.virsh("autostart", "--disable", "ct")


def test_autostart_flag(daemon, conn, guest):
    domain = conn.lookupByName("ct")
    assert domain.autostart() == 0
    domain.setAutostart(1)
    assert domain.autostart() == 1
    assert "ct" in daemon.virsh("list", "--all", "--autostart").stdout
    domain.setAutostart(0)
    assert domain.autostart() == 0


def test_autostart_can_be_turned_off(daemon, guest):
    daemon.virsh("autostart", "ct")
    daemon.stop()
    daemon.change_settings(autostart=0)
    as_after_boot(daemon)
    daemon.start()
    assert guest.state() == "shut off (unknown)" or guest.state().startswith("shut off")
    daemon.change_settings()


def test_redefine_while_running(daemon, conn, running):
    daemon.virsh("define", running.file(memory=128))
    domain = conn.lookupByName("ct")
    live = ElementTree.fromstring(domain.XMLDesc())
    config = ElementTree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    assert (live.find("memory").text, config.find("memory").text) == ("262144", "131072")
    assert domain.isUpdated() in (0, 1)
    domain.destroy()
    assert ElementTree.fromstring(domain.XMLDesc()).find("memory").text == "131072"


def test_define_conflicts(conn, make_guest):
    first = make_guest("one").define()
    second = make_guest("two", root=first.root)
    assert code(conn.defineXML, second.xml(name="one")) == libvirt.VIR_ERR_OPERATION_FAILED
    second.uuid = first.uuid
    assert code(conn.defineXML, second.xml()) == libvirt.VIR_ERR_OPERATION_FAILED


def test_rename(daemon, conn, events, make_guest):
    make_guest("old").define()
    domain = conn.lookupByName("old")
    domain.setAutostart(1)
    domain.rename("new", 0)
    try:
        assert gone(conn, "old")
        assert conn.lookupByName("new").autostart() == 1
        daemon.restart()
    finally:
        daemon.virsh("destroy", "new", check=False)
        daemon.virsh("undefine", "new", check=False)


def test_rename_refusals(conn, make_guest):
    make_guest("taken").define()
    running = make_guest("busy").define().start()
    domain = conn.lookupByName("busy")
    assert code(domain.rename, "other") == libvirt.VIR_ERR_OPERATION_INVALID
    running.daemon.virsh("destroy", "busy")
    assert code(domain.rename, "taken") in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_FAILED,
                                            libvirt.VIR_ERR_INVALID_ARG)
    assert code(domain.rename, "a/b") in (libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_ERR_INVALID_ARG,
                                          libvirt.VIR_ERR_CONFIG_UNSUPPORTED)


def test_undefine_while_running_makes_it_transient(conn, running):
    domain = conn.lookupByName("ct")
    domain.undefine()
    assert domain.isPersistent() == 0 and domain.isActive() == 1
    conn.defineXML(running.xml())
    assert domain.isPersistent() == 1
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    domain.destroy()
    assert gone(conn, "ct")


def test_metadata_title_description(conn, events, guest):
    domain = conn.lookupByName("ct")
    config = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    element = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "A title", None, None, config)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, "Words", None, None, config)
    domain.setMetadata(element, "<app name='x'/>", "my", "urn:example:app", config)
    assert domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, config) == "A title"
    assert domain.metadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, None, config) == "Words"
    assert "name" in domain.metadata(element, "urn:example:app", config)
    events.wait("metadata", "ct", element, "urn:example:app")
    domain.setMetadata(element, None, "my", "urn:example:app", config)
    assert code(domain.metadata, element, "urn:example:app", config) == libvirt.VIR_ERR_NO_DOMAIN_METADATA
    domain.create()
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "Live", None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, libvirt.VIR_DOMAIN_AFFECT_LIVE) == "Live"
    assert domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None, config) == "A title"


# Starting


def test_create_transient(daemon, conn, events, make_guest):
    guest = make_guest()
    daemon.virsh("create", guest.file())
    domain = conn.lookupByName("ct")
    assert domain.isPersistent() == 0
    assert code(domain.setAutostart, 1) == libvirt.VIR_ERR_OPERATION_INVALID
    assert code(domain.undefine) == libvirt.VIR_ERR_OPERATION_INVALID
    domain.destroy()
    assert gone(conn, "ct")
    events.wait("lifecycle", "ct", STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)


def test_create_paused(conn, events, make_guest):
    guest = make_guest()
    domain = conn.createXML(guest.xml(), libvirt.VIR_DOMAIN_START_PAUSED)
    assert domain.state() == [PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP] or domain.state()[0] == PAUSED
    time.sleep(0.3)
    assert guest.boots() == 0, "init of a paused container must not have run"
    domain.resume()
    guest.ready()
    assert domain.state()[0] == RUNNING
    events.wait("lifecycle", "ct", RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
    lifecycle = events.lifecycle("ct")
    assert lifecycle[0][0] == STARTED
    assert (SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED) in lifecycle
    assert (RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED) in lifecycle


def test_autodestroy(daemon, conn, events, make_guest):
    owner = daemon.connect()
    owner.createXML(make_guest().xml(), libvirt.VIR_DOMAIN_START_AUTODESTROY)
    assert conn.lookupByName("ct").isActive()
    owner.close()
    wait_for(lambda: gone(conn, "ct"), what="the end of an autodestroy guest")
    events.wait("lifecycle", "ct", STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)


CLIENT = """
import sys
import libvirt

with open(sys.argv[2], encoding="utf-8") as file:
    domain = libvirt.open(sys.argv[1]).createXML(file.read(), libvirt.VIR_DOMAIN_START_AUTODESTROY)
print("started", flush=True)
sys.stdin.read()
"""


def test_autodestroy_when_the_client_is_killed(daemon, conn, make_guest):
    client = subprocess.Popen([sys.executable, "-c", CLIENT, daemon.url(), make_guest().file()],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout.readline() == "started\n"
    finally:
        client.kill()
        client.communicate()
    wait_for(lambda: gone(conn, "ct"), what="the end of an autodestroy guest")


def test_start_of_a_running_one_is_refused(conn, running):
    domain = conn.lookupByName("ct")
    assert code(domain.create) == libvirt.VIR_ERR_OPERATION_INVALID
    assert code(conn.createXML, running.xml()) in (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_INVALID)


def test_failed_start_leaves_it_off(daemon, conn, events, make_guest):
    guest = make_guest(init="/no/such/init").define()
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode != 0 and "/no/such/init" in done.stderr
    assert conn.lookupByName("ct").state()[0] == SHUTOFF
    guest.define(init="/sbin/init")
    guest.start().ready()


def test_start_events(daemon, conn, events, make_guest):
    make_guest().define()
    domain = conn.lookupByName("ct")
    domain.create()
    assert domain.state() == [RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED]
    events.wait("lifecycle", "ct", STARTED)
    assert events.lifecycle("ct") == [(DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_ADDED),
                                      (STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED)]
    events.clear()
    conn.defineXML(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    events.wait("lifecycle", "ct", DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_UPDATED)
    events.clear()
    domain.suspend()
    events.wait("lifecycle", "ct", SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
    domain.resume()
    events.wait("lifecycle", "ct", RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
    domain.destroy()
    events.wait("lifecycle", "ct", STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
    domain.undefine()
    events.wait("lifecycle", "ct", UNDEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED_REMOVED)


# Stopping


@pytest.mark.parametrize("mode", [None, "signal"])
def test_shutdown(daemon, conn, events, running, mode):
    daemon.virsh("shutdown", "ct", *(["--mode", mode] if mode else []))
    running.wait_state("shut off")
    assert conn.lookupByName("ct").state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN]
    events.wait("lifecycle", "ct", STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)


def test_poweroff_from_inside(conn, events, running):
    running.inside("/bin/poweroff", "-f", check=False)
    running.wait_state("shut off")
    events.wait("lifecycle", "ct", STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)


def test_poweroff_by_on_poweroff_restart(events, make_guest):
    guest = make_guest(on_poweroff="restart").define().start().ready()
    first = guest.id()
    guest.inside("/bin/poweroff", "-f", check=False)
    wait_for(lambda: guest.boots() == 2, what="the second boot")
    assert guest.state().startswith("running")
    wait_for(lambda: guest.id() not in (None, first), what="a new id")


@pytest.mark.host
def test_reboot(daemon, conn, events, running):
    first = running.id()
    daemon.virsh("reboot", "ct")
    wait_for(lambda: running.boots() == 2, what="the second boot")
    wait_for(lambda: running.id() not in (None, first), what="a new id")
    assert running.state().startswith("running")
    events.wait("reboot", "ct")


@pytest.mark.host
def test_reboot_from_inside(events, running):
    first = running.id()
    running.inside("/bin/reboot", "-f", check=False)
    wait_for(lambda: running.boots() == 2, what="the second boot")
    wait_for(lambda: running.id() not in (None, first), what="a new id")
    events.wait("reboot", "ct")


def test_reboot_by_on_reboot_destroy(conn, events, make_guest):
    guest = make_guest(on_reboot="destroy").define().start().ready()
    guest.inside("/bin/reboot", "-f", check=False)
    guest.wait_state("shut off")
    assert conn.lookupByName("ct").state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN]
    assert guest.boots() == 1


def test_reset(conn, running):
    first = running.id()
    conn.lookupByName("ct").reset(0)
    wait_for(lambda: running.boots() == 2, what="the second boot")
    wait_for(lambda: running.id() not in (None, first), what="a new id")


def test_crash_follows_on_crash(conn, events, make_guest):
    guest = make_guest(init="/sbin/init-exit", args=[3]).define()
    guest.daemon.virsh("start", "ct", check=False)
    guest.wait_state("shut off")
    assert conn.lookupByName("ct").state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED]
    events.wait("lifecycle", "ct", STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED)


def test_init_killed_from_outside_is_a_crash(conn, running):
    os.kill(running.id(), signal.SIGKILL)
    running.wait_state("shut off")
    assert conn.lookupByName("ct").state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED]


def test_crash_with_restart(make_guest):
    guest = make_guest(on_crash="restart").define().start().ready()
    os.kill(guest.id(), signal.SIGKILL)
    wait_for(lambda: guest.boots() == 2, what="the second boot")


def test_crash_with_preserve(conn, make_guest):
    guest = make_guest(on_crash="preserve").define().start().ready()
    os.kill(guest.id(), signal.SIGKILL)
    guest.wait_state("crashed")
    domain = conn.lookupByName("ct")
    assert domain.state()[0] == CRASHED and domain.isActive()
    domain.destroy()
    assert domain.state()[0] == SHUTOFF


def test_destroy(conn, running):
    domain = conn.lookupByName("ct")
    domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)
    assert domain.state() == [SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED]
    assert code(domain.destroy) == libvirt.VIR_ERR_OPERATION_INVALID
    assert conn.lookupByName("ct").ID() == -1


def test_destroy_of_a_paused_one(conn, running):
    domain = conn.lookupByName("ct")
    domain.suspend()
    domain.destroy()
    assert domain.state()[0] == SHUTOFF


def test_destroy_of_a_hostile_one(conn, make_guest):
    make_guest(init="/sbin/init-hostile").define().start()
    time.sleep(0.3)
    domain = conn.lookupByName("ct")
    domain.shutdown()
    domain.destroy()
    assert domain.state()[0] == SHUTOFF


def test_destroy_of_many_processes(conn, make_guest):
    guest = make_guest(init="/sbin/init-fork", args=[200]).define().start()
    guest.wait_file("/started")
    conn.lookupByName("ct").destroy()


def test_calls_on_a_stopped_one_are_invalid(conn, guest):
    domain = conn.lookupByName("ct")
    for call in (domain.suspend, domain.resume, domain.shutdown, lambda: domain.reboot(0), lambda: domain.reset(0),
                 domain.destroy, lambda: domain.sendProcessSignal(1, 15, 0)):
        assert code(call) == libvirt.VIR_ERR_OPERATION_INVALID


# Reading


def test_suspend_stops_everything(conn, running):
    domain = conn.lookupByName("ct")
    domain.suspend()
    before = domain.info()[4]
    time.sleep(0.3)
    assert domain.info()[4] == before
    domain.suspend()  # As for other drivers, no error.
    domain.resume()


def test_information(conn, running):
    domain = conn.lookupByName("ct")
    state, maximum, memory, cpus, used = domain.info()
    assert (state, maximum, cpus) == (RUNNING, 262144, 1)
    assert 0 < memory < maximum, "what it uses, as libvirt's LXC driver tells"
    assert used > 0
    assert domain.maxMemory() == 262144
    assert domain.OSType() == "exe"
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) == 1
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_CONFIG | libvirt.VIR_DOMAIN_VCPU_MAXIMUM) == 1
    assert domain.controlInfo()[0] == libvirt.VIR_DOMAIN_CONTROL_OK
    assert domain.isActive() == 1 and domain.isPersistent() == 1
    assert domain.hasManagedSaveImage() == 0


def test_live_xml(conn, make_guest):
    make_guest(console="", devices="<graphics type='vnc' port='-1'/><video><model type='vga'/></video>").define().start()
    domain = conn.lookupByName("ct")
    live = ElementTree.fromstring(domain.XMLDesc())
    assert live.get("id") == str(domain.ID())
    console = live.find("devices/console")
    assert re.fullmatch(r"/dev/pts/\d+", console.find("source").get("path"))
    assert console.find("alias").get("name") == "console0"
    assert live.find("devices/graphics") is None and live.find("devices/video") is None
    assert live.find("devices/filesystem/alias") is not None
    config = ElementTree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    assert config.find("devices/graphics") is not None and config.find("devices/video") is not None
    assert config.get("id") is None and config.find("devices/console/alias") is None
    for flags in (libvirt.VIR_DOMAIN_XML_SECURE, libvirt.VIR_DOMAIN_XML_MIGRATABLE):
        assert domain.XMLDesc(flags)


def test_statistics(daemon, conn, running):
    domain, stats = conn.getAllDomainStats()[0]
    assert domain.name() == "ct"
    assert stats["state.state"] == RUNNING
    assert stats["cpu.time"] > 0
    assert stats["balloon.current"] > 0
    assert stats["vcpu.current"] == 1
    assert "rss" in daemon.virsh("dommemstat", "ct").stdout or "actual" in daemon.virsh("dommemstat", "ct").stdout
    assert daemon.virsh("cpu-stats", "ct", "--total", check=False).returncode in (0, 1)


def test_screenshot_is_refused(daemon, running):
    done = daemon.virsh("screenshot", "ct", "/dev/null", check=False)
    assert done.returncode != 0 and "support" in done.stderr


def test_unknown_flags_are_refused(conn, running):
    domain = conn.lookupByName("ct")
    odd = 1 << 30
    for call in (lambda: domain.state(odd), lambda: domain.destroyFlags(odd), lambda: domain.shutdownFlags(odd),
                 lambda: domain.reset(odd), lambda: domain.XMLDesc(odd), lambda: conn.listAllDomains(odd),
                 lambda: domain.controlInfo(odd)):
        assert code(call) == libvirt.VIR_ERR_OPERATION_UNSUPPORTED


# Roots


def test_without_root_is_defined_and_not_started(daemon, make_guest):
    make_guest(filesystem=" ").define()
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode != 0 and "root" in done.stderr


@pytest.mark.parametrize("path", ["/", "/.", "/tmp/..", "/proc/self/root", "{link}", "{bind}", "/var/.."])
def test_root_of_the_host_is_never_started(daemon, make_guest, tmp_path, path):
    link = tmp_path / "link"
    link.symlink_to("/")
    bind = tmp_path / "bind"
    bind.mkdir()
    if "bind" in path:
        daemon.run("mount", "--bind", "/", bind)
    try:
        source = path.format(link=link, bind=bind)
        make_guest(filesystem=f"<filesystem type='mount'><source dir='{source}'/><target dir='/'/></filesystem>").define()
        done = daemon.virsh("start", "ct", check=False)
        assert done.returncode != 0
        assert "root" in done.stderr
    finally:
        if "bind" in path:
            daemon.run("umount", bind)
