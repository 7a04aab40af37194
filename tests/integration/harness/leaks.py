# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a daemon holds on the machine, to compare before and after a test."""

import glob
import json
import os
import re
import subprocess
import time


def snapshot(daemon):
    """Everything that a stopped container must not leave, as name -> sorted list of text."""
    state = {
        "processes": [f"{pid} {_name(pid)}" for pid in daemon.processes()],
        "cgroups": [group for group in daemon.cgroups() if not _is_partition(daemon, group)],
        "host mounts": _host_mounts(daemon),
        "mounts of the daemon": daemon.namespace.mount_table(),
        "loop devices": _loops(daemon),
        "links": _links(daemon),
        "run folder": _files(os.path.join(daemon.folder, "run/vz")),
        "images in use": _files(daemon.ploop_folder),
        "daemon's files": _open_files(daemon.pid) if daemon.pid else [],
    }
    return {"daemon": daemon.pid, **state}


def _name(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()[:100]
    except OSError:
        return "?"


def _is_partition(daemon, group):
    return os.path.basename(group) in (daemon.partition, daemon.partition + ".slice")


def _host_mounts(daemon):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return sorted(line for line in table if daemon.folder in line or "libvirt" in line)


def _loops(daemon):
    found = []
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        try:
            with open(path, encoding="utf-8") as file:
                backing = file.read().strip()
        except OSError:
            continue
        if os.path.basename(daemon.folder) in backing or "libvirt/vz" in backing:
            found.append(f"{path.split('/')[3]} {backing}")
    return sorted(found)


def _links(daemon):
    argv = (daemon.namespace.enter() if daemon.namespace.own_net else []) + ["ip", "-j", "link"]
    links = [link["ifname"] for link in json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)]
    if not daemon.namespace.own_net:
        links = [link for link in links if re.match("vz|veth|vnet", link)]
    return sorted(links)


def _files(folder):
    # The mark of a done autostart stays until the host's next boot.
    return sorted(os.path.join(path, name) for path, folders, names in os.walk(folder) for name in folders + names
                  if name != "autostarted")


def _open_files(pid):
    """The daemon's descriptors by what they are; numbers of sockets and pipes say nothing."""
    found = []
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            found.append(re.sub(r":\[\d+\]", "", os.readlink(path)))
        except OSError:
            pass
    # The stock node device driver looks at devices on a thread of its own, at any time.
    return sorted(item for item in found if not item.startswith("/sys/devices/"))


def difference(before, after):
    """Text that says what appeared; empty if nothing did."""
    text = []
    for name, old in before.items():
        new = after[name]
        if name == "daemon" or (name == "daemon's files" and before["daemon"] != after["daemon"]):
            continue
        extra = list(new)
        for item in old:
            if item in extra:
                extra.remove(item)
        lost = [] if name not in ("host mounts", "mounts of the daemon", "links") else [
            item for item in old if item not in new]
        text += [f"left behind, {name}: {item}" for item in extra]
        text += [f"lost, {name}: {item}" for item in lost]
    return "\n".join(text)


def check(daemon, before, seconds=5):
    """Raises AssertionError if something of `before` changed and does not go away within `seconds`."""
    end = time.monotonic() + seconds
    while True:
        text = difference(before, snapshot(daemon))
        if not text:
            return
        if time.monotonic() > end:
            raise AssertionError(text)
        time.sleep(0.05)
