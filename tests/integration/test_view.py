# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a container sees of itself: /proc/meminfo and the like, and its beancounters."""

import os
import re
import signal

import pytest

from harness.guest import wait_for

PAGE = os.sysconf("SC_PAGESIZE")
UNLIMITED = 9223372036854775807


def kilobytes(guest, key):
    return int(re.search(rf"^{re.escape(key)}: +(\d+) kB$", guest.inside("/bin/cat", "/proc/meminfo"), re.M).group(1))


def view_server(guest):
    """The host pid of the process that serves a container's view: a child of its supervisor."""
    supervisor = guest.supervisor()
    with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="utf-8") as file:
        for pid in file.read().split():
            with open(f"/proc/{pid}/comm", encoding="utf-8") as name:
                if name.read() == "vz-view\n":
                    return int(pid)
    return None


def set_counters(daemon, inner):
    daemon.virsh("metadata", "ct", "urn:libvirt-vz:domain:1.0", "--key", "vz", "--set",
                 f"<container><ubc>{inner}</ubc></container>", "--live")


def beancounters(guest):
    """The file as programs of OpenVZ read it: the id, and {name: (held, maxheld, barrier, limit, failcnt)}."""
    path = "/proc/user_beancounters" if os.path.exists("/proc/user_beancounters") else "/dev/user_beancounters"
    lines = guest.inside("/bin/cat", path).splitlines()
    assert lines[0] == "Version: 2.5"
    assert lines[1].split() == ["uid", "resource", "held", "maxheld", "barrier", "limit", "failcnt"]
    first = re.fullmatch(r" *(\d+): (.*)", lines[2])
    rows = {}
    for line in [first.group(2)] + lines[3:]:
        match = re.fullmatch(r" *([a-z]+)((?: +\d+){5})", line)
        assert match, line
        rows[match.group(1)] = tuple(int(value) for value in match.group(2).split())
    assert len(lines) == 2 + 24
    return int(first.group(1)), rows


@pytest.mark.host
def test_memory_is_the_containers_and_follows_its_limit(daemon, running):
    assert kilobytes(running, "MemTotal") == 256 << 10
    used = kilobytes(running, "MemTotal") - kilobytes(running, "MemFree")
    assert 0 < used < 64 << 10
    running.inside("/bin/sh", "-c", "mount -t tmpfs none /mnt && head -c 40000000 /dev/zero >/mnt/x")
    assert kilobytes(running, "Shmem") >= 39000
    assert kilobytes(running, "MemTotal") - kilobytes(running, "MemAvailable") >= 39000
    daemon.virsh("setmem", "ct", "128M", "--live")
    assert kilobytes(running, "MemTotal") == 128 << 10


@pytest.mark.host
def test_cpus_are_the_containers_and_follow_their_number(daemon, make_guest):
    if os.cpu_count() < 2:
        pytest.skip("needs two CPUs")
    guest = make_guest(vcpus=2).define().start().ready()

    def seen():
        cpuinfo = guest.inside("/bin/cat", "/proc/cpuinfo")
        stat = guest.inside("/bin/cat", "/proc/stat")
        return (re.findall(r"^processor\s*: (\d+)$", cpuinfo, re.M), re.findall(r"^cpu(\d+) ", stat, re.M),
                guest.inside("/bin/cat", "/sys/devices/system/cpu/online").strip())

    assert seen() == (["0", "1"], ["0", "1"], "0-1")
    daemon.virsh("setvcpus", "ct", "1", "--live")
    # What took long to make is given once more for a while.
    wait_for(lambda: seen() == (["0"], ["0"], "0"), what="one CPU in all files")


@pytest.mark.host
def test_time_begins_with_the_container(daemon, running):
    with open("/proc/uptime", encoding="utf-8") as file:
        host = float(file.read().split()[0])
    seconds, idle = (float(value) for value in running.inside("/bin/cat", "/proc/uptime").split())
    assert 0 <= seconds < min(host, 120 * float(os.environ.get("VZ_TIME_SCALE", "1"))) and 0 <= idle <= seconds
    stat = running.inside("/bin/cat", "/proc/stat")
    with open("/proc/stat", encoding="utf-8") as file:
        boot = int(re.search(r"^btime (\d+)$", file.read(), re.M).group(1))
    assert abs(int(re.search(r"^btime (\d+)$", stat, re.M).group(1)) - boot - (host - seconds)) <= 2
    user, _, system = (int(value) for value in stat.splitlines()[0].split()[1:4])
    assert (user + system) / os.sysconf("SC_CLK_TCK") <= seconds + 1
    assert re.fullmatch(r"\d+\.\d\d \d+\.\d\d \d+\.\d\d \d+/\d+ \d+\n", running.inside("/bin/cat", "/proc/loadavg"))
    assert running.inside("/bin/cat", "/proc/swaps").startswith("Filename")
    running.inside("/bin/cat", "/proc/diskstats")
    daemon.virsh("reboot", "ct")
    wait_for(lambda: running.boots() == 2, what="the reboot")
    assert float(running.inside("/bin/cat", "/proc/uptime").split()[0]) < seconds + 60
    assert kilobytes(running, "MemTotal") == 256 << 10


@pytest.mark.host
def test_beancounters_are_seen_inside_and_are_live(daemon, make_guest):
    script = ("for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo >/boots; wait; "
              "while :; do read x </dev/console; done")
    running = make_guest(init="/bin/sh", args=("-c", script)).define().start().ready()
    number, rows = beancounters(running)
    assert number > 0 and len(rows) == 21  # and "dummy", three times
    held, most, barrier, limit, failures = rows["numproc"]
    assert 10 <= held <= most and barrier == limit == UNLIMITED and failures == 0
    assert rows["physpages"][0] > 0
    set_counters(daemon, "<numproc barrier='50' limit='50'/>")
    assert beancounters(running)[1]["numproc"][2:4] == (50, 50)
    running.inside("/bin/sh", "-c", "killall sleep")
    wait_for(lambda: beancounters(running)[1]["numproc"][0] < 10, what="the end of the processes")
    assert beancounters(running)[1]["numproc"][1] >= 10
    # Nobody but the container's root reads it, and nobody writes to it.
    path = running.inside("/bin/sh", "-c", "ls /proc/user_beancounters /dev/user_beancounters 2>/dev/null || true").split()[-1]
    assert "Permission denied" in running.inside("/bin/busybox", "su", "-s", "/bin/sh", "-c", f"cat {path} 2>&1",
                                                 "nobody", check=False)
    assert running.inside("/bin/sh", "-c", f"(echo 1 >{path}) 2>/dev/null || echo refused").strip() == "refused"


def test_the_view_outlives_the_daemon(daemon, running):
    pid = running.id()
    root = f"/proc/{pid}/root"
    daemon.kill9()

    def total():
        with open(f"{root}/proc/meminfo", encoding="utf-8") as file:
            return int(file.readline().split()[1])

    assert total() == 256 << 10
    daemon.start()
    daemon.virsh("setmem", "ct", "100M", "--live")
    assert kilobytes(running, "MemTotal") == 100 << 10
    set_counters(daemon, "<numproc barrier='77' limit='77'/>")
    assert beancounters(running)[1]["numproc"][3] == 77


def test_a_view_whose_server_is_killed_gets_another(daemon, running):
    set_counters(daemon, "<numproc barrier='60' limit='60'/>")
    first = view_server(running)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: view_server(running) not in (None, first), what="another server")
    assert kilobytes(running, "MemTotal") == 256 << 10
    assert beancounters(running)[1]["numproc"][3] == 60
    assert float(running.inside("/bin/cat", "/proc/uptime").split()[0]) < 100


def test_reading_all_the_time_costs_the_host_little(running):
    """The texts are made by a process of the host: not more often than is good for it."""
    server = view_server(running)

    def cpu():
        with open(f"/proc/{server}/stat", encoding="utf-8") as file:
            parts = file.read().rsplit(")", 1)[1].split()
        return int(parts[11]) / os.sysconf("SC_CLK_TCK")  # user time: the texts

    script = "i=0; while [ $i -lt 1000 ]; do read x </dev/user_beancounters; i=$((i+1)); done"
    running.inside("/bin/sh", "-c", script)
    assert cpu() < 0.5
