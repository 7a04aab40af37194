# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory that guests are guaranteed: what the kernel is told, and starts that are refused."""

import os
import re
import tempfile

import pytest

from test_resources import config, group_file, refused

URI = "urn:libvirt-vz:domain:1.0"
HOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
MIB = 1 << 20


def memory(kind, amount=""):
    return (f"<vz:container xmlns:vz='{URI}'><vz:memory><vz:guarantee type='{kind}'>{amount}</vz:guarantee>"
            "</vz:memory></vz:container>")


def set_guarantee(daemon, name, kind, amount="", *flags, check=True):
    return daemon.virsh("metadata", name, URI, "--key", "vz", *(flags or ("--live",)), "--set",
                        f"<container><memory><guarantee type='{kind}'>{amount}</guarantee></memory></container>",
                        check=check)


def kept(guest):
    """What the kernel keeps for the container, in bytes."""
    value = int(group_file(guest, "memory", "memory.low")
                or group_file(guest, "memory", "memory.soft_limit_in_bytes"))
    return 0 if value > 1 << 60 else value


@pytest.mark.host
def test_a_guarantee_is_a_part_of_the_limit_and_follows_it(daemon, make_guest):
    guest = make_guest(memory=200, top=memory("percent", 50)).define().start().ready()
    assert kept(guest) == 100 * MIB
    daemon.virsh("setmem", "ct", "100M", "--live")
    assert kept(guest) == 50 * MIB
    set_guarantee(daemon, "ct", "bytes", 32 * MIB, "--live", "--config")
    assert kept(guest) == 32 * MIB and f"<vz:guarantee type='bytes'>{32 * MIB}</vz:guarantee>" in config(guest)
    set_guarantee(daemon, "ct", "auto")
    assert kept(guest) == 0  # what the settings say for containers
    daemon.virsh("memtune", "ct", "--min-guarantee", "24M", "--live")
    assert kept(guest) == 24 * MIB


@pytest.mark.host
def test_a_start_that_would_break_a_guarantee_is_refused(daemon, make_guest):
    total = HOST // MIB
    much = total * 6 // 10
    first = make_guest("first", memory=total, top=memory("bytes", much * MIB)).define().start().ready()
    second = make_guest("second", memory=total, top=memory("bytes", much * MIB)).define()
    text = refused(daemon, "start", "second")
    for figure in (f"{much} MiB", f"{total} MiB", "'first'"):
        assert figure in text, text
    assert second.state().startswith("shut off")
    # Guests without a guarantee are of no concern.
    make_guest("third").define().start().ready()
    # A change that is too much leaves all as it was.
    second.define(top=memory("percent", 10)).start().ready()
    before = second.live_xml(), kept(second)
    result = set_guarantee(daemon, "second", "bytes", much * MIB, check=False)
    assert result.returncode and "'first'" in result.stderr
    assert (second.live_xml(), kept(second)) == before
    # What is given back can be had by others.
    daemon.virsh("destroy", "first")
    set_guarantee(daemon, "second", "bytes", much * MIB)
    assert kept(second) == much * MIB
    assert "second" in refused(daemon, "start", "first")
    assert first.state().startswith("shut off")


@pytest.mark.host_only
def test_the_groups_above_keep_the_sum(daemon, make_guest):
    """On cgroup v2 what is kept for a group has to be kept for those above it, too."""
    def above():
        with open("/sys/fs/cgroup/machine.slice/memory.low", encoding="utf-8") as file:
            return int(file.read())

    first = make_guest("first", memory=128, top=memory("percent", 50)).define().start().ready()
    assert above() == kept(first) == 64 * MIB
    make_guest("second", top=memory("bytes", 16 * MIB)).define().start().ready()
    assert above() == 80 * MIB
    set_guarantee(daemon, "second", "bytes", 8 * MIB)
    assert above() == 72 * MIB
    daemon.virsh("destroy", "first")
    assert above() == 8 * MIB
    daemon.virsh("destroy", "second")
    assert not os.path.exists("/sys/fs/cgroup/machine.slice") or above() == 0


@pytest.fixture
def on_disk():
    """A folder on a disk, whose pages the kernel can give up."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o777)
        yield folder


@pytest.mark.host_only
def test_what_is_guaranteed_stays_under_pressure(daemon, make_guest, on_disk):
    """Of two containers that have the same in memory, the one without a guarantee loses it to a third."""
    def start(name, top=""):
        folder = os.path.join(on_disk, name)
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        devices = f"<filesystem type='mount'><source dir='{folder}'/><target dir='/data'/></filesystem>"
        return make_guest(name, memory=512, top=top, devices=devices).define().start().ready()

    def read(guest, mib):
        guest.inside("/bin/sh", "-c", f"[ -f /data/x ] || head -c {mib * MIB} /dev/zero >/data/x; cat /data/x >/dev/null")

    def cached(guest):
        return int(re.search(r"^file (\d+)", group_file(guest, "memory", "memory.stat"), re.M).group(1)) // MIB

    kept, other, presses = start("kept", memory("bytes", 96 * MIB)), start("other"), start("presses")
    for guest in (kept, other):
        read(guest, 64)
        assert cached(guest) >= 60
    limit = "/sys/fs/cgroup/machine.slice/memory.max"
    try:
        with open(limit, "w", encoding="utf-8") as file:
            file.write(str(200 * MIB))
        read(presses, 160)
        assert cached(kept) >= 60 and cached(other) < 40, (cached(kept), cached(other))
    finally:
        with open(limit, "w", encoding="utf-8") as file:
            file.write("max")


def test_a_new_daemon_knows_what_was_guaranteed(daemon, make_guest):
    total = HOST // MIB
    make_guest("first", memory=total, top=memory("percent", 90)).define().start().ready()
    daemon.kill9()
    daemon.start()
    make_guest("second", memory=total, top=memory("percent", 20)).define()
    assert "'first'" in refused(daemon, "start", "second")


@pytest.mark.parametrize("inner, words", [
    ("<guarantee type='much'/>", "guarantee"),
    ("<guarantee type='percent'>101</guarantee>", "guarantee"),
    ("<guarantee type='bytes'>-5</guarantee>", "guarantee"),
    ("<guarantee type='auto'>5</guarantee>", "guarantee"),
    (f"<guarantee type='bytes'>{1 << 40}</guarantee>", "more than"),
])
def test_bad_guarantees_are_refused_and_change_nothing(daemon, running, inner, words):
    before = running.live_xml(), config(running), kept(running)
    refusal = daemon.virsh("metadata", "ct", URI, "--key", "vz", "--live", "--set",
                           f"<container><memory>{inner}</memory></container>", check=False)
    assert refusal.returncode and words in refusal.stderr, refusal.stderr
    assert (running.live_xml(), config(running), kept(running)) == before


@pytest.mark.host
def test_settings_of_shared_memory_of_the_host(daemon):
    def values():
        return dict(re.findall(r"^\s*(shm_\w+)\s+(\d+)$", daemon.virsh("node-memory-tune").stdout, re.M))

    before = values()
    other = str(int(before["shm_pages_to_scan"]) + 1)
    daemon.virsh("node-memory-tune", "--shm-pages-to-scan", other)
    try:
        assert values()["shm_pages_to_scan"] == other
        with open("/sys/kernel/mm/ksm/pages_to_scan", encoding="utf-8") as file:
            assert file.read().strip() == other
    finally:
        daemon.virsh("node-memory-tune", "--shm-pages-to-scan", before["shm_pages_to_scan"])
