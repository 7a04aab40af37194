# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers outlive the daemon; nothing outlives its supervisor."""

import os
import signal
import time

import libvirt
import pytest
from harness.guest import wait_for


def restart(daemon, how):
    if how == "kill9":
        daemon.kill9()
        daemon.start()
    else:
        daemon.restart()


@pytest.mark.host
@pytest.mark.parametrize("how", ["restart", "kill9"])
def test_container_goes_on(daemon, running, how):
    first, console = running.id(), running.console_path()
    restart(daemon, how)
    assert daemon.virsh("list", "--name").stdout.split() == ["ct"]
    assert running.id() == first
    assert running.state().startswith("running")
    assert running.console_path() == console
    assert running.inside("/bin/cat", "/boots").strip() == "1"
    daemon.virsh("shutdown", "ct")
    running.wait_state("shut off")


@pytest.mark.parametrize("how", ["restart", "kill9"])
def test_state_is_kept(daemon, make_guest, how):
    make_guest("held").define().start().ready()
    daemon.virsh("suspend", "held")
    transient = make_guest("passing")
    daemon.virsh("create", transient.file())
    restart(daemon, how)
    assert state_of(daemon, "held") == "paused (user)"
    assert "no" in [line.split()[-1] for line in daemon.virsh("dominfo", "passing").stdout.splitlines()
                    if line.startswith("Persistent")]
    daemon.virsh("resume", "held")
    assert state_of(daemon, "held").startswith("running")
    daemon.virsh("destroy", "passing")
    assert "passing" not in daemon.virsh("list", "--all").stdout


def state_of(daemon, name):
    return daemon.virsh("domstate", name, "--reason").stdout.strip()


def test_live_settings_are_kept(daemon, conn, running):
    conn.lookupByName("ct").setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "Kept", None, None,
                                        libvirt.VIR_DOMAIN_AFFECT_LIVE)
    conn.close()
    daemon.kill9()
    daemon.start()
    assert "<title>Kept</title>" in running.live_xml()
    assert "<title>" not in running.live_xml("--inactive")


@pytest.mark.host
def test_events_after_restart(daemon, running):
    from harness.events import Recorder  # pylint: disable=import-outside-toplevel

    daemon.restart()
    recorder = Recorder(daemon)
    try:
        daemon.virsh("destroy", "ct")
        recorder.wait("lifecycle", "ct", libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
    finally:
        recorder.close()


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_end_while_the_daemon_is_down(daemon, running, how):
    init = running.id()
    getattr(daemon, how)()
    os.kill(init, signal.SIGPWR)
    wait_for(lambda: not os.path.exists(f"/proc/{init}"), what="the end of init")
    daemon.start()
    assert running.state() == "shut off (shutdown)"


@pytest.mark.parametrize("how", ["stop", "kill9"])
def test_reboot_while_the_daemon_is_down(daemon, make_guest, how):
    guest = make_guest(init="/sbin/init-reboot", args=[1]).define().start()
    wait_for(lambda: guest.boots() == 1, what="the first boot")
    first = guest.id()
    getattr(daemon, how)()
    open(guest.path("/go"), "w", encoding="utf-8").close()
    wait_for(lambda: guest.boots() == 2, what="the second boot")
    daemon.start()
    assert guest.id() not in (None, first)
    assert guest.state().startswith("running")
    assert guest.inside("/bin/cat", "/boots").strip() == "2"


def test_many_reboots_from_inside(events, make_guest):
    guest = make_guest(init="/sbin/init-reboot", args=[5]).define()
    open(guest.path("/go"), "w", encoding="utf-8").close()
    guest.start()
    wait_for(lambda: guest.boots() == 6, what="five reboots")
    wait_for(lambda: len([event for event in events.all("ct") if event[0] == "reboot"]) == 5, what="five reboot events")


@pytest.mark.host
@pytest.mark.parametrize("init", ["/sbin/init", "/sbin/init-hostile", "/sbin/init-fork"])
def test_supervisor_killed(daemon, events, make_guest, init):
    guest = make_guest(init=init).define().start()
    time.sleep(0.3)
    pid = guest.id()
    os.kill(guest.supervisor(), signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of the container")
    guest.wait_state("shut off")
    assert guest.state() == "shut off (crashed)"
    events.wait("lifecycle", "ct", libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED)
    guest.start()
    assert guest.state().startswith("running")


def test_supervisor_killed_while_paused(daemon, running):
    daemon.virsh("suspend", "ct")
    os.kill(running.supervisor(), signal.SIGKILL)
    running.wait_state("shut off")
    running.start()


def test_supervisor_killed_while_the_daemon_is_down(daemon, running):
    supervisor = running.supervisor()
    daemon.kill9()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{supervisor}"), what="the end of the supervisor")
    daemon.start()
    assert running.state() == "shut off (crashed)"
    running.start()


def test_leftovers_of_a_power_cut(daemon, guest):
    """What a power cut leaves: run folders of containers that do not run. /run itself is empty after one."""
    guest.start().ready()
    run = os.path.join(daemon.folder, "run/vz")
    pids = [pid for pid in daemon.processes()]
    daemon.kill9()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_for(lambda: not [pid for pid in daemon.processes()], what="the end of everything")
    for path, _, names in os.walk(run):
        for name in names:
            file = os.path.join(path, name)
            if os.path.isfile(file):
                os.truncate(file, os.path.getsize(file) // 2)
    daemon.start()
    assert guest.state().startswith("shut off")
    guest.start()
    assert guest.state().startswith("running")


def test_broken_definition_does_not_hide_the_others(daemon, guest):
    folder = os.path.join(daemon.folder, "etc/vz")
    broken = os.path.join(folder, "broken.xml")
    with open(broken, "w", encoding="utf-8") as file:
        file.write("<domain type='vz'><name>broken</name>")
    try:
        daemon.restart()
        assert daemon.virsh("list", "--all", "--name").stdout.split() == ["ct"]
        assert os.path.exists(broken), "an unreadable definition is left alone"
        assert "broken" in daemon.log()
    finally:
        os.unlink(broken)
