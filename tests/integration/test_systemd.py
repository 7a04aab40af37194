# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real Debian 12 with systemd as init."""

import re
import time

import libvirt
import pytest
from harness.guest import wait_for

# Units that cannot work in any container of this kind.
HOPELESS = {"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
            "dev-hugepages.mount", "systemd-udevd.service", "systemd-modules-load.service"}


@pytest.fixture
def debian(make_guest):
    return make_guest("debian", kind="debian", memory=512).define()


def boot(guest):
    guest.start()
    wait_booted(guest)
    return guest


def wait_booted(guest, seconds=60):
    def state():
        text = guest.inside("/bin/systemctl", "is-system-running", check=False).strip()
        return text if text in ("running", "degraded") else None

    return wait_for(state, seconds, "the end of systemd's start")


@pytest.mark.host
def test_boot_and_shutdown(daemon, conn, events, debian):
    boot(debian)
    failed = set(re.findall(r"^\S*?([\w@\\.-]+\.(?:service|mount|socket|timer|target))",
                            debian.inside("/bin/systemctl", "--failed", "--plain", "--no-legend"), re.M))
    assert failed <= HOPELESS, failed
    journal = debian.inside("/bin/journalctl", "-b", "-q", "-p", "crit", "--no-pager", "-o", "cat", check=False)
    assert journal.strip() == ""
    daemon.virsh("shutdown", "debian")
    debian.wait_state("shut off", 90)
    assert conn.lookupByName("debian").state() == [libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN]
    events.wait("lifecycle", "debian", libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)


@pytest.mark.host
def test_reboot_from_inside_and_by_virsh(daemon, events, debian):
    boot(debian)
    first = debian.id()
    boot_id = debian.inside("/bin/cat", "/run/systemd/journal/kernel-seqnum", check=False)
    debian.inside("/bin/systemctl", "reboot", "--no-block", check=False)
    wait_for(lambda: debian.id() not in (None, first), 90, "a new id")
    events.wait("reboot", "debian")
    wait_booted(debian)
    second = debian.id()
    daemon.virsh("reboot", "debian")
    wait_for(lambda: debian.id() not in (None, second), 90, "a new id")
    wait_booted(debian)
    del boot_id


def test_poweroff_from_inside(debian):
    boot(debian)
    debian.inside("/bin/systemctl", "poweroff", "--no-block", check=False)
    debian.wait_state("shut off", 90)
    assert debian.state() == "shut off (shutdown)"


def test_facts(conn, debian):
    boot(debian)
    domain = conn.lookupByName("debian")
    info = domain.guestInfo(0)
    assert info["os.id"] == "debian" and info["os.version-id"] == "12"
    assert debian.inside("/bin/systemd-detect-virt", check=False).strip() not in ("none", "")
    assert domain.hostname()
    domain.setUserPassword("root", "secret", 0)


def test_services_and_limits_inside(debian):
    boot(debian)
    text = debian.inside("/bin/systemd-run", "-q", "--wait", "--pipe", "/bin/cat", "/proc/self/cgroup")
    assert "system.slice" in text and "machine" not in text
    debian.inside("/bin/su", "nobody", "-s", "/bin/sh", "-c", "id")


def test_login_on_the_console(daemon, conn, debian):
    from test_console import Console  # pylint: disable=import-outside-toplevel

    boot(debian)
    console = Console(conn, "debian")
    console.send("\n")
    console.expect("login:", seconds=30)
    console.send("root\n")
    console.expect(r"# ", seconds=30)
    console.send("echo in''side; exit\n")
    console.expect("inside")
    console.close()


@pytest.mark.host
def test_goes_on_over_daemon_kill(daemon, debian):
    boot(debian)
    first = debian.id()
    daemon.kill9()
    daemon.start()
    assert debian.id() == first
    assert debian.inside("/bin/systemctl", "is-system-running", check=False).strip() in ("running", "degraded")
    daemon.virsh("shutdown", "debian")
    debian.wait_state("shut off", 90)


def test_suspend_and_resume(daemon, debian):
    boot(debian)
    daemon.virsh("suspend", "debian")
    time.sleep(0.5)
    daemon.virsh("resume", "debian")
    assert debian.inside("/bin/systemctl", "is-active", "systemd-journald").strip() == "active"


def test_two_systems_at_once(make_guest):
    guests = [make_guest(f"debian{number}", kind="debian", memory=512).define().start() for number in (1, 2)]
    for guest in guests:
        wait_booted(guest)
    first, second = [open(f"/proc/{guest.id()}/uid_map", encoding="utf-8").read().split()[1] for guest in guests]
    assert first != second, "each container has an id range of its own"


def test_libvirt_guests_stops_them_with_the_host(daemon, debian, tmp_path):
    """What libvirt-guests.service runs when the host goes down."""
    boot(debian)
    (tmp_path / "libvirt-guests").write_text(
        "URIS='vz:///system'\nON_SHUTDOWN=shutdown\nSHUTDOWN_TIMEOUT=60\nSTART_DELAY=0\n")
    daemon.run("mount", "--bind", tmp_path, "/etc/default")
    try:
        done = daemon.run("/usr/lib/libvirt/libvirt-guests.sh", "stop", seconds=120)
    finally:
        daemon.run("umount", "/etc/default")
    assert "debian" in done.stdout
    assert debian.state() == "shut off (shutdown)"


@pytest.mark.host_only
def test_manages_its_own_groups(debian):
    """On cgroup v2 the container's systemd limits its services as one of a host does."""
    boot(debian)

    def service(script, *properties):
        options = [word for each in properties for word in ("-p", each)]
        return debian.inside("/bin/systemd-run", "-q", "--wait", "--pipe", *options, "/bin/sh", "-c", script, check=False)

    text = service("g=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); echo $g; cat $g/memory.max $g/pids.max",
                   "MemoryMax=48M", "TasksMax=7")
    group, memory, tasks = text.split()
    assert group.startswith("/sys/fs/cgroup/system.slice/run-") and (memory, tasks) == (str(48 << 20), "7")
    # What is too much is killed in that service alone.
    assert "survived" not in service("head -c 60000000 /dev/zero | tail -c 60000000 | wc -c; echo survived",
                                     "MemoryMax=16M", "MemorySwapMax=0", "OOMPolicy=kill")
    assert debian.inside("/bin/systemctl", "is-active", "systemd-journald").strip() == "active"
    # The limits of the container itself are above what it sees.
    assert "memory.max" not in debian.inside("/bin/ls", "/sys/fs/cgroup").split() or \
        debian.inside("/bin/cat", "/sys/fs/cgroup/memory.max").strip() == "max"
