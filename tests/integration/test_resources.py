# SPDX-License-Identifier: LGPL-2.1-or-later
"""Resources of containers, set and changed by libvirt's own calls, while they run and in their configs."""

import os
import re
import subprocess
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import libvirt
import pytest
from harness.counters import COUNTERS, UNLIMITED, counters, set_counters, ubc
from harness.groups import group_file, init_of, refused, set_group_file, table
from harness.guest import wait_for


CAPABILITIES = "urn:libvirt-vz:capabilities:1.0"


def memory_limit(guest):
    return int(group_file(guest, "memory", "memory.limit_in_bytes") or group_file(guest, "memory", "memory.max"))


def config(guest):
    return guest.live_xml("--inactive")


@pytest.mark.host
def test_memory_is_changed_while_it_runs(daemon, running):
    assert memory_limit(running) == 256 << 20
    daemon.virsh("setmem", "ct", "128M", "--live")
    assert memory_limit(running) == 128 << 20
    assert "<currentMemory unit='KiB'>131072</currentMemory>" in running.live_xml()
    assert "<currentMemory unit='KiB'>262144</currentMemory>" in config(running)
    assert "262144" in refused(daemon, "setmem", "ct", "512M", "--live")
    daemon.virsh("setmaxmem", "ct", "512M", "--live", "--config")
    daemon.virsh("setmem", "ct", "512M", "--live", "--config")
    assert memory_limit(running) == 512 << 20
    daemon.virsh("setmaxmem", "ct", "192M", "--live")
    assert memory_limit(running) == 192 << 20
    assert re.search(r"^Max memory: +196608 KiB$", daemon.virsh("dominfo", "ct").stdout, re.M)


def test_memory_below_what_is_used_is_refused_and_nothing_changes(daemon, running):
    running.inside("/bin/sh", "-c", "mount -t tmpfs none /mnt && head -c 50000000 /dev/zero >/mnt/x")
    assert "KiB of memory" in refused(daemon, "setmem", "ct", "32M", "--live")
    assert memory_limit(running) == 256 << 20
    assert "<currentMemory unit='KiB'>262144</currentMemory>" in running.live_xml()


@pytest.mark.host
def test_memtune(daemon, running):
    values = table(daemon.virsh("memtune", "ct").stdout)
    assert {values.pop(name) for name in ("hard_limit", "soft_limit", "swap_hard_limit")} == {"unlimited"}
    daemon.virsh("memtune", "ct", "--hard-limit", "100M", "--soft-limit", "80M", "--live", "--config")
    assert memory_limit(running) == 100 << 20
    soft = group_file(running, "memory", "memory.soft_limit_in_bytes") or group_file(running, "memory", "memory.high")
    assert int(soft) == 80 << 20
    values = table(daemon.virsh("memtune", "ct", "--config").stdout)
    assert (values["hard_limit"], values["soft_limit"]) == ("102400", "81920")
    assert "hard_limit" in refused(daemon, "setmem", "ct", "200M", "--live")
    daemon.virsh("memtune", "ct", "--hard-limit", "-1", "--live")
    assert memory_limit(running) == 256 << 20
    assert "<hard_limit" not in running.live_xml() and "<hard_limit" in config(running)
    assert "swap_hard_limit" in refused(daemon, "memtune", "ct", "--hard-limit", "64M", "--swap-hard-limit", "32M",
                                        "--live", "--config")
    assert memory_limit(running) == 256 << 20


@pytest.mark.host
def test_guarantee_of_memory(daemon, running):
    daemon.virsh("memtune", "ct", "--min-guarantee", "64M", "--live")
    low = group_file(running, "memory", "memory.low") or group_file(running, "memory", "memory.soft_limit_in_bytes")
    assert int(low) == 64 << 20
    assert "<min_guarantee unit='KiB'>65536</min_guarantee>" in running.live_xml()
    daemon.virsh("memtune", "ct", "--min-guarantee", "0", "--live")
    low = group_file(running, "memory", "memory.low") or group_file(running, "memory", "memory.soft_limit_in_bytes")
    assert int(low) == 0 or int(low) > 1 << 60


@pytest.mark.host
def test_swap_is_limited_together_with_memory(daemon, running):
    if group_file(running, "memory", "memory.memsw.limit_in_bytes") is None and \
            group_file(running, "memory", "memory.swap.max") is None:
        assert "swap" in refused(daemon, "memtune", "ct", "--swap-hard-limit", "512M", "--live")
        return
    daemon.virsh("memtune", "ct", "--hard-limit", "128M", "--swap-hard-limit", "192M", "--live")
    both = group_file(running, "memory", "memory.memsw.limit_in_bytes")
    swap = group_file(running, "memory", "memory.swap.max")
    assert int(both) == 192 << 20 if both else int(swap) == 64 << 20
    # Up and down again: RAM may never be above the sum on the way.
    daemon.virsh("memtune", "ct", "--hard-limit", "400M", "--swap-hard-limit", "500M", "--live")
    daemon.virsh("memtune", "ct", "--hard-limit", "100M", "--swap-hard-limit", "120M", "--live")
    assert memory_limit(running) == 100 << 20


@pytest.mark.host
def test_number_of_cpus_is_what_the_container_sees(daemon, make_guest):
    cpus = os.cpu_count()
    if cpus < 2:
        pytest.skip("one CPU cannot be divided")
    guest = make_guest(vcpus=1).define().start().ready()
    assert guest.inside("/bin/nproc").strip() == "1"
    assert "max" in refused(daemon, "setvcpus", "ct", "2", "--live")
    daemon.virsh("setvcpus", "ct", "2", "--maximum", "--config", "--live")
    daemon.virsh("setvcpus", "ct", "2", "--live")
    assert guest.inside("/bin/nproc").strip() == "2"
    daemon.virsh("setvcpus", "ct", "1", "--live")
    assert guest.inside("/bin/nproc").strip() == "1"
    assert daemon.virsh("vcpucount", "ct", "--live", "--current").stdout.strip() == "1"
    assert daemon.virsh("vcpucount", "ct", "--live", "--maximum").stdout.strip() == "2"


@pytest.mark.host
def test_containers_are_spread_over_the_cpus(daemon, make_guest):
    if os.cpu_count() < 2:
        pytest.skip("one CPU cannot be divided")
    allowed = set()
    for name in ("ct1", "ct2"):
        guest = make_guest(name, vcpus=1).define().start().ready()
        allowed.add(group_file(guest, "cpuset", "cpuset.cpus"))
    assert len(allowed) == 2


@pytest.mark.host
def test_pinning(daemon, running):
    last = os.cpu_count() - 1
    daemon.virsh("vcpupin", "ct", "0", str(last), "--live", "--config")
    assert group_file(running, "cpuset", "cpuset.cpus") == str(last)
    assert re.search(rf"^ 0 +{last}$", daemon.virsh("vcpupin", "ct").stdout, re.M)
    assert f"<vcpupin vcpu='0' cpuset='{last}'/>" in config(running)
    daemon.virsh("vcpupin", "ct", "0", "0", "--live")
    assert group_file(running, "cpuset", "cpuset.cpus") == "0"
    assert "vcpu 7" in refused(daemon, "vcpupin", "ct", "7", "0", "--live")
    daemon.virsh("emulatorpin", "ct", "0", "--live")
    assert daemon.virsh("emulatorpin", "ct").stdout.strip() == "0"


def cpu_mhz():
    try:
        with open("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", encoding="utf-8") as file:
            return int(file.read()) // 1000
    except FileNotFoundError:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return max(int(value) for value in re.findall(r"^cpu MHz\s*: (\d+)", file.read(), re.M))


@pytest.mark.host
def test_schedinfo(daemon, running):
    assert table(daemon.virsh("schedinfo", "ct").stdout)["cpuunits"] == "0"
    daemon.virsh("schedinfo", "ct", "--live", "--config", "cpuunits=3000", "cpulimit=50")
    shares = group_file(running, "cpu", "cpu.shares")
    assert shares == "3072" if shares else group_file(running, "cpu", "cpu.weight") == "300"
    quota = group_file(running, "cpu", "cpu.cfs_quota_us")
    assert quota == "50000" if quota else group_file(running, "cpu", "cpu.max") == "50000 100000"
    assert "<vz:units>3000</vz:units>" in config(running)
    # The smallest of several limits holds.
    daemon.virsh("schedinfo", "ct", "--live", "vcpu_quota=20000", "vcpu_period=100000", "global_quota=30000")
    quota = group_file(running, "cpu", "cpu.cfs_quota_us")
    assert quota == "20000" if quota else group_file(running, "cpu", "cpu.max") == "20000 100000"
    daemon.virsh("schedinfo", "ct", "--live", "vcpu_quota=0", "global_quota=0", "cpulimit=0", "cpuunits=0")
    quota = group_file(running, "cpu", "cpu.cfs_quota_us")
    assert quota == "-1" if quota else group_file(running, "cpu", "cpu.max").startswith("max")
    shares = group_file(running, "cpu", "cpu.shares")
    assert shares == "1024" if shares else group_file(running, "cpu", "cpu.weight") == "100"
    assert refused(daemon, "schedinfo", "ct", "--live", "cpuunits=7")
    assert refused(daemon, "schedinfo", "ct", "--live", "nonsense=7")
    half = cpu_mhz() // 2
    daemon.virsh("metadata", "ct", "urn:libvirt-vz:domain:1.0", "--key", "vz", "--live", "--set",
                 f"<container><cpu><mhz>{half}</mhz></cpu></container>")
    quota = group_file(running, "cpu", "cpu.cfs_quota_us") or group_file(running, "cpu", "cpu.max").split()[0]
    assert 40000 < int(quota) < 60000


@pytest.mark.host
def test_numatune(daemon, running):
    daemon.virsh("numatune", "ct", "--mode", "strict", "--nodeset", "0", "--live", "--config")
    assert group_file(running, "cpuset", "cpuset.mems") == "0"
    values = table(daemon.virsh("numatune", "ct").stdout)
    assert (values["numa_mode"], values["numa_nodeset"]) == ("strict", "0")
    assert "interleave" in refused(daemon, "numatune", "ct", "--mode", "interleave", "--nodeset", "0", "--config")


def test_blkiotune_limits_a_disk(daemon, running):
    disk = next((f"/dev/{name}" for name in sorted(os.listdir("/sys/block"))
                 if not name.startswith(("loop", "ram")) and os.path.exists(f"/dev/{name}")), None)
    if not disk:
        pytest.skip("no disk")
    daemon.virsh("blkiotune", "ct", "--device-read-iops-sec", f"{disk},100", "--device-write-bytes-sec",
                 f"{disk},1048576", "--live", "--config")
    with open(f"/sys/block/{os.path.basename(disk)}/dev", encoding="utf-8") as file:
        number = file.read().strip()
    throttled = group_file(running, "blkio", "blkio.throttle.read_iops_device")
    assert throttled == f"{number} 100" if throttled is not None else \
        "riops=100" in group_file(running, "io", "io.max")
    values = table(daemon.virsh("blkiotune", "ct").stdout)
    assert values["device_read_iops_sec"] == f"{disk},100"
    assert values["device_write_bytes_sec"] == f"{disk},1048576"
    daemon.virsh("blkiotune", "ct", "--device-read-iops-sec", f"{disk},0", "--device-write-bytes-sec", f"{disk},0",
                 "--live")
    assert "<blkiotune>" not in running.live_xml() and "<blkiotune>" in config(running)
    assert not group_file(running, "blkio", "blkio.throttle.read_iops_device")
    assert "absolute path" in refused(daemon, "blkiotune", "ct", "--device-read-iops-sec", "vda,100", "--live")
    assert "/dev/null" in refused(daemon, "blkiotune", "ct", "--device-read-iops-sec", "/dev/null,100", "--live")


@pytest.mark.host
def test_limits_hold_from_the_start_and_over_a_restart_of_the_daemon(daemon, make_guest):
    guest = make_guest(memory=128, top="<memtune><hard_limit unit='MiB'>96</hard_limit></memtune>"
                       "<cputune><shares>512</shares><quota>40000</quota></cputune>").define().start().ready()
    assert memory_limit(guest) == 96 << 20
    daemon.restart()
    assert memory_limit(guest) == 96 << 20
    daemon.virsh("memtune", "ct", "--hard-limit", "80M", "--live")
    assert memory_limit(guest) == 80 << 20


def test_change_that_a_crash_cut_off_is_undone(daemon, running):
    daemon.virsh("schedinfo", "ct", "--live", "vcpu_quota=20000")
    wanted = running.live_xml("--security-info")
    daemon.virsh("schedinfo", "ct", "--live", "vcpu_quota=0")
    init_of(running)
    daemon.kill9()
    # As it is between the first knob and the new live XML.
    state = os.path.join(daemon.folder, "run/vz", running.uuid, "state.xml")
    with open(state, encoding="utf-8") as file:
        text = file.read()
    with open(state, "w", encoding="utf-8") as file:
        file.write(text.replace("</vzstate>", f"<tuning>{escape(wanted)}</tuning></vzstate>"))
    set_group_file(running, "cpu", ("cpu.cfs_quota_us", "cpu.max"), "20000")
    daemon.start()
    daemon.virsh("list")
    quota = group_file(running, "cpu", "cpu.cfs_quota_us")
    assert quota == "-1" if quota else group_file(running, "cpu", "cpu.max").startswith("max")
    with open(state, encoding="utf-8") as file:
        assert "<tuning>" not in file.read()


def test_flags_are_those_of_libvirt(daemon, make_guest, conn):
    stopped = make_guest("stopped").define()
    domain = conn.lookupByName("stopped")
    for command in (("setmem", "stopped", "64M", "--live"), ("memtune", "stopped", "--hard-limit", "1G", "--live"),
                    ("setvcpus", "stopped", "1", "--live"), ("schedinfo", "stopped", "--live", "cpu_shares=5")):
        assert "not running" in refused(daemon, *command)
    daemon.virsh("setmem", "stopped", "64M", "--config")
    assert "<currentMemory unit='KiB'>65536</currentMemory>" in stopped.live_xml()
    with pytest.raises(libvirt.libvirtError) as error:
        domain.setMemoryFlags(65536, 1 << 20)
    assert "flags 1048576" in str(error.value)


@pytest.mark.host
def test_all_beancounters_are_told_with_their_state(daemon, running):
    told = counters(daemon)
    assert sorted(told) == sorted(COUNTERS)
    for name, values in told.items():
        assert values["barrier"] == values["limit"] == UNLIMITED, name
        assert values["maxheld"] >= values["held"], name
        assert values["state"] in ("enforced", "bounded", "guarantee", "accounted", "unavailable", "gated"), name
        assert bool(values["mechanism"]) == (values["state"] != "unavailable"), name
        if values["state"] == "unavailable":
            assert values["held"] == 0, name
    assert told["numproc"]["state"] == "enforced" and told["numproc"]["held"] >= 1
    assert told["physpages"]["held"] > 0
    assert "vm.ubc" not in daemon.virsh("domstats", "ct").stdout


@pytest.mark.host
def test_capabilities_tell_how_counters_are_held(daemon, running):
    resources = ET.fromstring(daemon.virsh("capabilities").stdout).find(f"guest[os_type='exe']/arch/{{{CAPABILITIES}}}*")
    ours = {counter.get("name"): counter for counter in resources}
    assert sorted(ours) == sorted(COUNTERS)
    for name, told in counters(daemon).items():
        # Those are not limited in this container.
        if name not in ("tcpsndbuf", "tcprcvbuf", "othersockbuf", "dgramrcvbuf"):
            assert (ours[name].get("state"), ours[name].text or "") == (told["state"], told["mechanism"]), name
    assert {ours[name].get("unit") for name in ("numproc", "kmemsize", "physpages")} == {"items", "bytes", "pages"}
    assert [name for name, counter in ours.items() if counter.get("changed") != "live"] == ["numsiginfo"]


def test_contradicting_beancounters_are_not_defined(make_guest):
    guest = make_guest(top=ubc(numothersock=10, othersockbuf=60000))
    with pytest.raises(AssertionError, match="25600 .2560 . numothersock"):
        guest.define()


def oom_score(guest):
    with open(f"/proc/{guest.id()}/oom_score_adj", encoding="utf-8") as file:
        return int(file.read())


@pytest.mark.host
def test_oomguarpages_keeps_the_oom_killer_off(daemon, make_guest):
    pages = os.sysconf("SC_PHYS_PAGES")
    guest = make_guest(top=ubc(oomguarpages=(pages // 2, UNLIMITED))).define().start().ready()
    told = counters(daemon)["oomguarpages"]
    assert told["barrier"] == pages // 2 and told["held"] > 0 or told["state"] == "unavailable"
    if told["state"] == "unavailable":  # without CAP_SYS_RESOURCE
        assert oom_score(guest) == 0
        return
    # With swap half of the RAM is less than half of what the kernel reckons with.
    assert told["state"] == "guarantee" and -501 < oom_score(guest) < -150
    set_counters(daemon, f"<oomguarpages barrier='{pages // 4}'/>", "--live")
    assert -251 < oom_score(guest) < -70
    set_counters(daemon, "<oomguarpages barrier='0'/>", "--live")
    assert oom_score(guest) == 0


def run_as_init(make_guest, script, **limits):
    """A container with these beancounters whose init is a script; what it wrote to /result, and the container."""
    guest = make_guest(top=ubc(**limits), init="/bin/sh",
                       args=("-c", f"{{ {script}; }} >/result 2>&1; echo >/done; while :; do read x </dev/console; done"))
    guest.define().start().wait_file("/done")
    return guest.read("/result"), guest


@pytest.mark.host
def test_numproc_refuses_a_fork_and_is_changed_live(daemon, make_guest):
    spawn = "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done"
    # A shell that cannot fork gives up.
    text, guest = run_as_init(make_guest, f"( {spawn} )", numproc=12)
    assert "fork" in text
    told = counters(daemon)["numproc"]
    assert told["limit"] == 12 and told["failcnt"] > 0 and told["maxheld"] == 12
    set_counters(daemon, "<numproc barrier='100' limit='100'/>", "--live", "--config")
    limit = group_file(guest, "pids", "pids.max")
    assert limit == "100" and counters(daemon)["numproc"]["limit"] == 100
    assert "<vz:numproc barrier='100' limit='100'/>" in config(guest)


@pytest.mark.host
def test_numpty_and_numfile_and_lockedpages(daemon, make_guest):
    text, guest = run_as_init(make_guest, "ulimit -n; ulimit -l; exec 5<>/dev/ptmx 6<>/dev/ptmx; "
                              "(exec 7<>/dev/ptmx) || true", numpty=3, numfile=64, lockedpages=16)
    # The console has one pty of the three.
    assert text.splitlines()[:2] == ["64", "64"] and "No space left" in text
    told = counters(daemon)
    assert (told["numpty"]["held"], told["numpty"]["limit"]) == (3, 3)
    set_counters(daemon, "<numpty barrier='9' limit='9'/>", "--config")
    assert "<vz:numpty barrier='9' limit='9'/>" in config(guest) and "<vz:numfile" in config(guest)


def limit_of_init(guest, what):
    """Soft and hard resource limit of a container's init."""
    with open(f"/proc/{guest.id()}/limits", encoding="utf-8") as file:
        return re.search(rf"^{what} +(\S+) +(\S+)", file.read(), re.M).groups()


def may_raise_limits():
    with open("/proc/self/status", encoding="utf-8") as status:
        return bool(int(re.search(r"^CapEff:\s+(\w+)", status.read(), re.M).group(1), 16) & 1 << 24)


@pytest.mark.host
def test_limits_of_processes_and_terminals_are_changed_live(daemon, make_guest):
    guest = make_guest(top=ubc(numpty=2, shmpages=64)).define().start().ready()
    ptys = "exec 5<>/dev/ptmx 6<>/dev/ptmx 7<>/dev/ptmx; echo done"
    page = os.sysconf("SC_PAGESIZE")
    assert "done" not in guest.inside("/bin/sh", "-c", ptys, check=False)
    set_counters(daemon, "<numpty limit='9'/><numfile limit='50'/><lockedpages limit='2'/><privvmpages limit='9000'/>"
                 "<shmpages limit='99'/>", "--live")
    assert "done" in guest.inside("/bin/sh", "-c", ptys)
    assert limit_of_init(guest, "Max open files") == ("50", "50")
    assert limit_of_init(guest, "Max locked memory") == (str(2 * page), str(2 * page))
    assert limit_of_init(guest, "Max data size") == (str(9000 * page), str(9000 * page))
    assert guest.inside("/bin/cat", "/proc/sys/kernel/shmall").strip() == "99"
    before = guest.live_xml()
    if may_raise_limits():
        set_counters(daemon, "<numfile limit='70'/><lockedpages limit='unlimited'/>", "--live")
        assert limit_of_init(guest, "Max open files")[1] == "70"
        assert limit_of_init(guest, "Max locked memory")[1] != str(2 * page)
    else:
        refusal = set_counters(daemon, "<numpty limit='1'/><numfile limit='70'/>", "--live", check=False)
        assert refusal.returncode and "CAP_SYS_RESOURCE" in refusal.stderr
        assert guest.live_xml() == before and limit_of_init(guest, "Max open files")[1] == "50"
    assert "done" in guest.inside("/bin/sh", "-c", ptys)
    set_counters(daemon, "<numpty limit='unlimited'/><shmpages limit='unlimited'/>", "--live")
    # What was changed is so after a reboot, too.
    set_counters(daemon, "<numfile limit='40'/>", "--live")
    daemon.virsh("reset", "ct")
    wait_for(lambda: guest.boots() == 2, what="the second boot")
    assert limit_of_init(guest, "Max open files") == ("40", "40")
    assert int(guest.inside("/bin/cat", "/proc/sys/kernel/shmall")) > 1 << 60


@pytest.mark.host
def test_what_is_decided_at_the_start_is_not_changed_live(daemon, running):
    before = running.live_xml()
    for inner, word in (("<numsiginfo limit='9'/>", "numsiginfo"), ("<shmpages limit='9'/>", "shmpages")):
        refusal = set_counters(daemon, f"<numproc limit='77'/>{inner}", "--live", check=False)
        assert refusal.returncode and word in refusal.stderr and "restart" in refusal.stderr
    assert running.live_xml() == before and counters(daemon)["numproc"]["limit"] == UNLIMITED
    assert group_file(running, "pids", "pids.max") == "max"


@pytest.mark.host
def test_numsiginfo_limits_pending_signals(daemon, make_guest):
    text, _ = run_as_init(make_guest, "cat /proc/self/limits", numsiginfo=20)
    assert re.search(r"^Max pending signals +20 +20 ", text, re.M)
    told = counters(daemon)["numsiginfo"]
    assert told["limit"] == 20 and told["state"] == "enforced"


@pytest.mark.host
def test_shared_memory_is_limited_and_cannot_be_raised_inside(daemon, make_guest):
    text, guest = run_as_init(make_guest, "cat /proc/sys/kernel/shmall; echo 999 >/proc/sys/kernel/shmall; "
                          "cat /proc/sys/kernel/shmall", shmpages=64)
    lines = text.splitlines()
    assert lines[0] == lines[-1] == "64" and len(lines) == 3, text
    assert counters(daemon)["shmpages"]["limit"] == 64
    # Who enters has to enter the IPC namespace before the user namespace.
    assert guest.inside("/bin/cat", "/proc/sys/kernel/shmall").strip() == "64"


@pytest.mark.host
def test_vswap_limits_memory_and_swap(daemon, make_guest):
    pages = (96 << 20) // os.sysconf("SC_PAGESIZE")
    guest = make_guest(top=f"<vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'><vz:ubc>"
                       f"<vz:physpages barrier='0' limit='{pages}'/></vz:ubc></vz:container>").define().start().ready()
    assert memory_limit(guest) == 96 << 20
    set_counters(daemon, f"<physpages barrier='0' limit='{pages // 2}'/>", "--live")
    assert memory_limit(guest) == 48 << 20
    told = counters(daemon)["physpages"]
    assert told["limit"] == pages // 2 and 0 < told["held"] <= pages // 2
    assert f"limit='{pages}'" in config(guest)


@pytest.mark.parametrize("inner, words", [
    ("<numfoo limit='3'/>", "numfoo"),
    ("<numproc barrier='5' limit='4'/>", "numproc"),
    ("<numproc barrier='3' limit='4'/>", "same"),
    ("<kmemsize barrier='9' limit='4'/>", "above its limit"),
    ("<numproc barrier='-1' limit='-1'/>", "numproc"),
    ("<numproc limit='many'/>", "numproc"),
    ("<numproc limit='99999999999999999999'/>", "numproc"),
    ("<vmguarpages barrier='5' limit='9'/>", "vmguarpages"),
    ("<numproc limit='0'/>", "numproc"),
    ("<numtcpsock limit='10'/><tcpsndbuf limit='99999'/>", "25600 (2560 * numtcpsock)"),
])
def test_bad_beancounters_are_refused_and_change_nothing(daemon, running, inner, words):
    before = running.live_xml(), config(running)
    refusal = set_counters(daemon, inner, "--live", "--config", check=False)
    assert refusal.returncode and words in refusal.stderr
    assert (running.live_xml(), config(running)) == before


def test_messages_tell_what_does_not_fit_or_hold(daemon, make_guest, conn):
    guest = make_guest(top=ubc(numproc=100, numfile=50, numflock=9)).define()
    domain = conn.lookupByName("ct")
    finding, = domain.messages()
    assert "numfile is 50" in finding and "1600 (16 * numproc)" in finding
    assert domain.messages(libvirt.VIR_DOMAIN_MESSAGE_DEPRECATION) == []
    guest.start().ready()
    found, unheld = domain.messages()
    assert found == finding and "numflock is not held" in unheld and "/proc/locks" in unheld
    assert "numflock" in daemon.virsh("dominfo", "ct").stdout
    set_counters(daemon, "<numfile limit='1600'/><numflock limit='unlimited'/>", "--live", check=False)
    set_counters(daemon, "<numflock limit='unlimited'/>", "--live")
    assert [text for text in domain.messages() if "numflock" in text] == []


@pytest.mark.host
def test_cpu_time_by_cpu(daemon, running, conn):
    domain = conn.lookupByName("ct")
    total, = domain.getCPUStats(True)
    assert total["cpu_time"] > 0
    if group_file(running, "cpuacct", "cpuacct.usage_percpu") is None:
        assert "cpu_time" in daemon.virsh("cpu-stats", "ct").stdout
        return
    each = domain.getCPUStats(False)
    assert len(each) >= os.cpu_count()
    after, = domain.getCPUStats(True)
    assert total["cpu_time"] <= sum(cpu["cpu_time"] for cpu in each) <= after["cpu_time"]
    assert len(re.findall("cpu_time", daemon.virsh("cpu-stats", "ct", "--start", "1", "--count", "1").stdout)) == 1


def settings(units, limit, processes, pages, files):
    return (f"<container><cpu><units>{units}</units><limit>{limit}</limit></cpu><ubc><numproc limit='{processes}'/>"
            f"<physpages barrier='0' limit='{pages}'/><numfile limit='{files}'/></ubc></container>")


def in_force(guest):
    """The knobs of such settings as the kernel has them."""
    quota = group_file(guest, "cpu", "cpu.cfs_quota_us") or group_file(guest, "cpu", "cpu.max").split()[0]
    weight = group_file(guest, "cpu", "cpu.shares") or group_file(guest, "cpu", "cpu.weight")
    with open(f"/proc/{init_of(guest)}/limits", encoding="utf-8") as file:
        files = re.search(r"^Max open files +(\S+)", file.read(), re.M).group(1)
    return weight, quota, group_file(guest, "pids", "pids.max"), memory_limit(guest), files


def test_crash_in_a_change_leaves_the_old_or_the_new(daemon, running, full):
    command = ("metadata", "ct", "urn:libvirt-vz:domain:1.0", "--key", "vz", "--live", "--config", "--set")
    rounds = 20 if full else 5
    # What was lowered might have to be raised again, which not every machine may do to processes.
    less = 4 if may_raise_limits() else 0
    sets = [settings(1000 + 500 * i, 90 - i, 500 - i, 60000 - 256 * i, 400 - less * i) for i in range(rounds + 1)]
    begin = time.monotonic()
    daemon.virsh(*command, sets[0])
    took = time.monotonic() - begin
    for number, wanted in enumerate(sets[1:], 1):
        before = in_force(running)
        client = subprocess.Popen(["virsh", "-q", "-c", daemon.url(), *command, wanted], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        time.sleep(took * number / rounds)  # Any moment will do.
        init_of(running)
        daemon.kill9()
        client.wait()
        daemon.start()
        daemon.virsh("list")
        after, units = in_force(running), 1000 + 500 * number
        live, persistent = (int(re.search(r"<vz:units>(\d+)", xml).group(1))
                            for xml in (running.live_xml(), config(running)))
        assert live in (units, units - 500) and persistent in (units, units - 500)
        assert (after == before) == (live != units), (before, after, live, units)
        daemon.virsh(*command, wanted)
        assert in_force(running) != before
