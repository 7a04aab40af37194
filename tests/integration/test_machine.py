# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only a machine with systemd as PID 1, cgroup v2 and AppArmor shows: scopes, limits, the host's end."""

import os
import re
import subprocess
import time

import pytest
from harness.guest import wait_for

pytestmark = pytest.mark.host_only

SCOPE = "vz-ct.scope"
GROUP = f"/sys/fs/cgroup/machine.slice/{SCOPE}"


def systemctl(*arguments, check=True):
    return subprocess.run(["systemctl", *arguments], check=check, capture_output=True, text=True).stdout.strip()


def unit(name, *properties):
    text = systemctl("show", name, *[f"--property={name}" for name in properties])
    return dict(line.split("=", 1) for line in text.splitlines())


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def in_group(group, call):
    """What `call()` raises or returns, as text, in a process that is in the control group."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with open(os.path.join(group, "cgroup.procs"), "w", encoding="utf-8") as file:
                file.write("0")
            text = str(call())
        except OSError as error:
            text = error.strerror
        os.write(into, text.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


def open_device(path):
    with open(path, "rb"):
        return "opened"


def test_scope(daemon, guest):
    guest.start().ready()
    facts = unit(SCOPE, "ActiveState", "Delegate", "Slice", "Before", "After", "Transient")
    assert facts["ActiveState"] == "active" and facts["Delegate"] == "yes" and facts["Transient"] == "yes"
    assert facts["Slice"] == "machine.slice"
    # libvirt-guests.service stops its guests before systemd stops the scope, and libvirtd goes last.
    assert "virt-guest-shutdown.target" in facts["Before"] and "libvirtd.service" in facts["After"]
    status = systemctl("status", "--no-pager", "-n", "0", SCOPE)
    assert "Container ct" in status and "vz-supervisor" in status
    with open(f"/proc/{guest.id()}/cgroup", encoding="utf-8") as file:
        assert file.read().strip() == f"0::/machine.slice/{SCOPE}/ct/payload"
    daemon.virsh("destroy", "ct")
    assert not os.path.exists(GROUP)
    wait_for(lambda: unit(SCOPE, "LoadState")["LoadState"] == "not-found", what="the end of the scope")
    assert SCOPE not in systemctl("list-units", "--all", "--plain", "--no-legend", "*.scope")


def test_scope_of_a_name_with_blanks(daemon, make_guest):
    guest = make_guest("a b-c@d").define().start()
    scopes = systemctl("list-units", "--plain", "--no-legend", "vz-*.scope").splitlines()
    assert len(scopes) == 1 and "Container a b-c@d" in scopes[0], scopes
    daemon.virsh("destroy", guest.name)
    wait_for(lambda: not systemctl("list-units", "--all", "--plain", "--no-legend", "vz-*.scope"),
             what="the end of the scope")


def test_limits_are_written_and_hold(make_guest):
    guest = make_guest(memory=64, vcpus=1).define().start().ready()
    assert read(f"{GROUP}/ct/memory.max") == str(64 << 20)
    assert re.match(r"(max|\d+) \d+$", read(f"{GROUP}/ct/cpu.max"))
    refused = guest.inside("/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=150M count=1 || echo ended", check=False)
    assert "ended" in refused
    events = dict(line.split() for line in read(f"{GROUP}/ct/memory.events").splitlines())
    assert int(events["oom_kill"]) > 0
    assert guest.state().startswith("running")


def test_devices_are_restricted(running):
    payload = f"{GROUP}/ct/payload"
    assert in_group(payload, lambda: open_device("/dev/zero")) == "opened"
    assert in_group(payload, lambda: open_device("/dev/kmsg")) == "Operation not permitted"
    node = os.path.join(os.path.dirname(running.root), "node")
    assert "permitted" in in_group(payload, lambda: os.mknod(node, 0o20600, os.makedev(1, 1)) or open_device(node))
    assert running.inside("/bin/head", "-c", "1", "/dev/zero") == "\0"


def test_control_groups_inside(running):
    assert running.inside("/bin/cat", "/proc/self/cgroup").strip() == "0::/"
    assert " /sys/fs/cgroup cgroup2 " in running.inside("/bin/cat", "/proc/mounts")
    running.inside("/bin/mkdir", "/sys/fs/cgroup/below")
    running.inside("/bin/sh", "-c", "echo $$ >/sys/fs/cgroup/below/cgroup.procs")
    refused = running.inside("/bin/sh", "-c", "echo max 2>/dev/null >/sys/fs/cgroup/memory.max || echo refused")
    assert "refused" in refused


def test_statistics(daemon, running):
    text = daemon.virsh("domstats", "ct").stdout
    stats = dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)
    assert int(stats["cpu.time"]) > 0 and int(stats["balloon.current"]) > 0


def test_suspend_is_a_freeze(daemon, running):
    daemon.virsh("suspend", "ct")
    assert "frozen 1" in read(f"{GROUP}/ct/cgroup.events")
    daemon.restart()
    assert running.state().startswith("paused")
    daemon.virsh("resume", "ct")
    assert "frozen 0" in read(f"{GROUP}/ct/cgroup.events")


def test_stopping_the_scope_is_a_shutdown(running):
    """What systemd does when the host goes down and libvirt-guests.service has not done it before."""
    begin = time.monotonic()
    systemctl("stop", SCOPE)
    assert time.monotonic() - begin < 60, "systemd did not have to kill it"
    running.wait_state("shut off")
    assert running.state() == "shut off (shutdown)"
    running.start()


def test_killing_the_scope_ends_the_container(running):
    systemctl("kill", "--signal=KILL", SCOPE)
    running.wait_state("shut off")
    wait_for(lambda: not os.path.exists(GROUP), what="the end of the scope")
    running.start().ready()


def test_idle_daemon_stays_while_guests_run(daemon, guest):
    """Debian starts libvirtd by its sockets, with --timeout 120; here it is shorter."""
    with open("/etc/default/libvirtd", "w", encoding="utf-8") as file:
        file.write('LIBVIRTD_ARGS="--timeout 5"\n')
    try:
        daemon.restart()
        guest.start().ready()
        pid = daemon.pid
        time.sleep(15)
        assert daemon.pid == pid
        daemon.restart()
        pid = daemon.pid
        time.sleep(15)
        assert daemon.pid == pid, "a daemon that finds guests running stays"
        daemon.virsh("destroy", "ct")
        wait_for(lambda: systemctl("is-active", "libvirtd.service", check=False) == "inactive", 30,
                 "the end of an idle libvirtd")
        assert "ct" in daemon.virsh("list", "--all").stdout, "its socket starts it again"
    finally:
        os.unlink("/etc/default/libvirtd")
        daemon.restart()


def test_guests_end_with_the_host(daemon, running):
    """libvirt-guests.service, as it runs when the host goes down."""
    with open("/etc/default/libvirt-guests", "w", encoding="utf-8") as file:
        file.write("URIS=vz:///system\nON_BOOT=start\nON_SHUTDOWN=shutdown\nSHUTDOWN_TIMEOUT=100\n")
    systemctl("unmask", "libvirt-guests.service")
    try:
        systemctl("start", "libvirt-guests.service")
        systemctl("stop", "libvirt-guests.service")
        assert running.state() == "shut off (shutdown)"
        systemctl("start", "libvirt-guests.service")
        running.wait_state("running")
        daemon.virsh("destroy", "ct")
    finally:
        systemctl("stop", "libvirt-guests.service", check=False)
        systemctl("mask", "libvirt-guests.service", check=False)
        os.unlink("/etc/default/libvirt-guests")


def test_autostart(daemon, guest):
    daemon.virsh("autostart", "ct")
    daemon.stop()
    os.unlink("/run/libvirt/vz/autostarted")  # as after a boot
    daemon.start_sockets()
    daemon.start()
    guest.wait_state("running")
    assert unit(SCOPE, "ActiveState")["ActiveState"] == "active"
    daemon.virsh("autostart", "--disable", "ct")
    daemon.virsh("destroy", "ct")
