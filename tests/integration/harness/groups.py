# SPDX-License-Identifier: LGPL-2.1-or-later
"""What virsh and the control groups say of a container's resources."""

import os
import re


def init_of(guest):
    """The host pid of a container's init, also while no daemon runs."""
    guest.init_pid = guest.id() if guest.daemon.running() else guest.init_pid
    return guest.init_pid


def group_path(guest, controller, name):
    """A file in the cgroup that has a container's limits, v1 or v2; None if there is none."""
    with open(f"/proc/{init_of(guest)}/cgroup", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in lines:
        unified = controllers == ""
        if not unified and controller not in controllers.split(","):
            continue
        mount = "/sys/fs/cgroup" + (f"/{controllers.split(',')[0]}" if controllers else "")
        if unified and os.path.isdir("/sys/fs/cgroup/unified"):
            mount = "/sys/fs/cgroup/unified"
        base = path[:path.index("/ct/payload") + len("/ct")] if "/ct/payload" in path else path
        full = os.path.join(mount + base, name)
        if os.path.exists(full):
            return full
    return None


def group_file(guest, controller, name):
    path = group_path(guest, controller, name)
    if not path:
        return None
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def set_group_file(guest, controller, names, value):
    path = next(filter(None, (group_path(guest, controller, name) for name in names)))
    with open(path, "w", encoding="utf-8") as file:
        file.write(value)


def table(text):
    """The "name : value" lines of virsh."""
    return {key.strip(): value.strip() for key, value in re.findall(r"^(\S+) *: *(.*)$", text, re.M)}


def refused(daemon, *command):
    result = daemon.virsh(*command, check=False)
    assert result.returncode, result.stdout
    return result.stderr
