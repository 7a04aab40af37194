# SPDX-License-Identifier: LGPL-2.1-or-later
"""A mount namespace of our own in which libvirt's fixed folders are private, held by a sleeping process."""

import os
import shlex
import signal
import subprocess
import time

# What a libvirtd run by root uses wherever its sockets are, and the subfolder of the daemon's folder that
# takes its place.
FOLDERS = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}


def start_time(pid):
    """When a process started, in clock ticks since boot; None if there is none. Tells a reused pid."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return int(stat.read().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError):
        return None


class NamespaceError(RuntimeError):
    pass


class Namespace:
    """Lives as long as its holder process: until close(), or until this program ends unless `lasting`."""

    def __init__(self, folder, own_net=True, own_uts=False, hide_unified=False, lasting=False):
        self.folder = folder
        self.own_net = own_net
        self._made = []
        for name, target in FOLDERS.items():
            os.makedirs(os.path.join(folder, name), mode=0o755, exist_ok=True)
            if not os.path.isdir(target):
                os.makedirs(target)
                self._made.append(target)
        argv = ["unshare", "--mount", "--propagation", "private"]
        argv += ["--net"] if own_net else []
        argv += ["--uts"] if own_uts else []
        if not lasting:
            argv = ["setpriv", "--pdeathsig", "KILL"] + argv
        argv += ["sh", "-ec", self._script(hide_unified)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        if self._process.stdout.readline() != b"ready\n":
            raise NamespaceError("cannot make a mount namespace: are you root, and may you unshare?")
        self._process.stdout.close()
        self.pid = self._process.pid

    def _script(self, hide_unified):
        folder = shlex.quote(self.folder)
        lines = [f"mount --bind {folder}/{name} {target}" for name, target in FOLDERS.items()]
        if self.own_net:
            # A sysfs shows the links of the network namespace it was mounted in.
            lines += [
                "ip link set lo up",
                f"mkdir -p {folder}/sys",
                f"mount -t sysfs sysfs {folder}/sys",
                f"mount --rbind /sys/fs/cgroup {folder}/sys/fs/cgroup",
                f"mount --move {folder}/sys /sys",
            ]
        if hide_unified:
            lines += ["! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified"]
        lines += ["echo ready", "exec >/dev/null", "exec sleep infinity"]
        return "\n".join(lines)

    def enter(self):
        """What to put before a command to run it inside."""
        argv = ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", f"--uts=/proc/{self.pid}/ns/uts"]
        argv += [f"--net=/proc/{self.pid}/ns/net"]
        return argv + ["--"]

    def mount_table(self):
        """The mounts inside, without the ids that change by themselves."""
        with open(f"/proc/{self.pid}/mountinfo", encoding="utf-8") as table:
            return sorted(" ".join(line.split()[2:]) for line in table)

    def state(self):
        return {"pid": self.pid, "start": start_time(self.pid), "made": self._made, "own_net": self.own_net}

    @classmethod
    def adopt(cls, folder, state):
        """Finds a lasting namespace again; None if its holder is gone."""
        if start_time(state["pid"]) != state["start"]:
            return None
        self = cls.__new__(cls)
        self.folder, self.pid, self.own_net = folder, state["pid"], state["own_net"]
        self._made, self._process = state["made"], None
        return self

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self._process:
            self._process.wait()
        else:
            wait_gone(self.pid, 5)
        for target in self._made:
            try:
                os.rmdir(target)
            except OSError:
                pass


def wait_gone(pid, seconds):
    """Waits for a process that is not our child to end. True if it did."""
    end = time.monotonic() + seconds
    while os.path.exists(f"/proc/{pid}") and _state(pid) != "Z":
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _state(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return "Z"
