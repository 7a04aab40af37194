# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the driver can do inside a container, and what it can tell about it."""

import json
import os
import signal
import time

import libvirt
import pytest
from harness.guest import wait_for


def code(call, *arguments):
    with pytest.raises(libvirt.libvirtError) as error:
        call(*arguments)
    return error.value.get_error_code()


@pytest.mark.host
def test_enter_namespace(daemon, running):
    assert running.inside("/bin/cat", "/etc/os-release").startswith('PRETTY_NAME="Tiny Test Root"')
    namespaces = running.inside("/bin/ls", "-l", "/proc/self/ns", check=False)
    assert "mnt" in namespaces
    assert daemon.virsh("lxc-enter-namespace", "ct", "--noseclabel", "--", "/bin/false", check=False).returncode != 0


@pytest.mark.host
def test_enter_namespace_with_the_security_label(daemon, running):
    assert daemon.virsh("lxc-enter-namespace", "ct", "--", "/bin/echo", "in").stdout == "in\n"


def test_namespaces_are_all_its_own(running):
    pid = running.id()
    for name in ("mnt", "uts", "ipc", "net", "pid", "user", "cgroup"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name


def test_host_is_not_to_be_seen(running, daemon):
    processes = running.inside("/bin/ps", "-o", "pid,args")
    assert "libvirtd" not in processes and "pytest" not in processes
    assert daemon.folder not in running.inside("/bin/cat", "/proc/mounts")
    assert running.inside("/bin/hostname").strip() == "ct"


def test_dangerous_files_are_masked(running):
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"):
        text = running.inside("/bin/sh", "-c", f"[ -d {path} ] && ls {path} || head -c 10 {path} 2>/dev/null; true")
        assert text == "", path
    for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"):
        text = running.inside("/bin/sh", "-c", f"echo x >{path} 2>/dev/null && echo written; true")
        assert "written" not in text, path


def test_dangerous_calls_are_refused(running):
    assert "can't insert" in running.inside("/bin/sh", "-c", "insmod /bin/busybox 2>&1; true")
    assert "written" not in running.inside("/bin/sh", "-c", "swapoff -a 2>/dev/null && swapon /bin/busybox 2>/dev/null && echo written; true")
    # Root inside may mount, and set its host name: it is a system.
    running.inside("/bin/mount", "-t", "tmpfs", "none", "/mnt")
    running.inside("/bin/hostname", "other")
    assert running.inside("/bin/hostname").strip() == "other"


def test_supervisor_is_small(running):
    with open(f"/proc/{running.supervisor()}/smaps_rollup", encoding="utf-8") as maps:
        pss = next(int(line.split()[1]) for line in maps if line.startswith("Pss:"))
    assert pss <= 1536 or "sanitizer" in os.environ.get("VZ_PRELOAD", ""), f"{pss} KiB"


def test_hostname(daemon, conn, running):
    running.inside("/bin/hostname", "inside-name")
    assert conn.lookupByName("ct").hostname() == "inside-name"
    assert daemon.virsh("domhostname", "ct").stdout.strip() == "inside-name"


def test_guest_information(conn, running):
    domain = conn.lookupByName("ct")
    info = domain.guestInfo(0)
    assert info["os.id"] == "tinytest"
    assert info["os.name"] == "Tiny Test"
    assert info["os.version-id"] == "1"
    assert info["hostname"]
    assert info["fs.count"] >= 1
    mounts = {info[f"fs.{index}.mountpoint"] for index in range(info["fs.count"])}
    assert "/" in mounts
    users = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_USERS)
    assert "user.count" in users


def test_guest_information_is_not_read_through_links(running, conn):
    """os-release of a hostile container may point anywhere; it is resolved inside."""
    running.inside("/bin/sh", "-c", "rm /etc/os-release; ln -s /proc/1/root/../../etc/shadow /etc/os-release")
    try:
        info = conn.lookupByName("ct").guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS)
        assert not any("root:" in str(value) for value in info.values())
    except libvirt.libvirtError:
        pass


def test_file_systems(conn, running):
    systems = conn.lookupByName("ct").fsInfo()
    assert "/" in [system[0] for system in systems]


def test_password(daemon, conn, running):
    conn.lookupByName("ct").setUserPassword("root", "secret word", 0)
    shadow = running.read("/etc/shadow")
    line = next(line for line in shadow.splitlines() if line.startswith("root:"))
    assert line.split(":")[1].startswith("$") and "secret" not in line
    assert os.stat(running.path("/etc/shadow")).st_mode & 0o777 == 0o640, "the mode of the file stays"
    assert shadow.splitlines()[1:], "the other users stay"
    daemon.virsh("set-user-password", "ct", "user", "another")
    assert code(conn.lookupByName("ct").setUserPassword, "nobody-here", "x", 0) in (
        libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_OPERATION_FAILED)


def test_encrypted_password(conn, running):
    digest = "$6$salt$" + "x" * 86
    conn.lookupByName("ct").setUserPassword("root", digest, libvirt.VIR_DOMAIN_PASSWORD_ENCRYPTED)
    assert digest in running.read("/etc/shadow")


def test_shadow_that_is_a_link_is_not_followed_out(running, conn):
    running.inside("/bin/sh", "-c", "rm /etc/shadow; ln -s /../../../../../../etc/shadow-of-the-host /etc/shadow")
    try:
        conn.lookupByName("ct").setUserPassword("root", "x", 0)
    except libvirt.libvirtError:
        pass
    assert not os.path.exists("/etc/shadow-of-the-host")


def test_signals(conn, running):
    domain = conn.lookupByName("ct")
    pid = int(running.inside("/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 </dev/null & echo $!"))
    assert "sleep" in running.inside("/bin/ps", "-o", "pid,args")
    domain.sendProcessSignal(pid, libvirt.VIR_DOMAIN_PROCESS_SIGNAL_KILL, 0)
    wait_for(lambda: "sleep 1000\n" not in running.inside("/bin/ps", "-o", "pid,args"), what="the end of sleep")
    assert code(domain.sendProcessSignal, 99999, 15, 0) is not None
    domain.sendProcessSignal(1, libvirt.VIR_DOMAIN_PROCESS_SIGNAL_PWR, 0)
    running.wait_state("shut off")


def test_time(conn, running):
    domain = conn.lookupByName("ct")
    try:
        assert abs(domain.getTime()["seconds"] - time.time()) < 5
    except libvirt.libvirtError as error:
        assert error.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED
    assert code(domain.setTime, {"seconds": 1, "nseconds": 0}) in (
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED)


@pytest.mark.host
def test_security_label(conn, running):
    label = conn.lookupByName("ct").securityLabel()
    assert isinstance(label[0], str)


def test_shutdown_does_not_wait_for_ever(daemon, make_guest):
    make_guest(init="/sbin/init-hostile").define().start()
    begin = time.monotonic()
    daemon.virsh("shutdown", "ct")
    assert time.monotonic() - begin < 5
    # It listens to no signal, so there is nothing that a wait could be for.
    wait_for(lambda: daemon.virsh("domstate", "ct").stdout.strip() == "shut off", what="its end")


def test_environment_of_init(running):
    with open(f"/proc/{running.id()}/environ", "rb") as file:
        environ = dict(item.split(b"=", 1) for item in file.read().split(b"\0") if b"=" in item)
    assert environ[b"container"]
    assert b"LIBVIRT_DRIVER_DIR" not in environ and b"VZ_TEST_DAEMON" not in environ
    assert environ[b"container_uuid"].decode().replace("-", "") == running.uuid.replace("-", "")
