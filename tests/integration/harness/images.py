# SPDX-License-Identifier: LGPL-2.1-or-later
"""ploop images of a test, mounted by the ploop program, and what must not be left of them."""

import contextlib
import ctypes
import glob
import os
import re
import select
import signal
import subprocess

from harness import build, roots
from harness.guest import wait_for

TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"


@contextlib.contextmanager
def own_mounts():
    """
    A mount table of its own for this thread and what it starts: a private daemon of another test that starts meanwhile
    takes a copy of the machine's, and would keep a device busy that is mounted there.
    """
    new_namespace, own_folder, recursive_private = 0x20000, 0x200, 0x4000 | 0x40000
    libc, folder = ctypes.CDLL(None, use_errno=True), os.getcwd()

    def call(function, *arguments):
        if function(*arguments) < 0:
            raise OSError(ctypes.get_errno(), function.__name__)

    with open("/proc/thread-self/ns/mnt", "rb") as before:
        call(libc.unshare, new_namespace)
        try:
            call(libc.mount, None, b"/", None, recursive_private, None)
            yield
        finally:
            call(libc.unshare, own_folder)  # shared with threads that were started meanwhile
            call(libc.setns, before.fileno(), new_namespace)
            os.chdir(folder)


def filesystem(source, target="/", inner="", kind="file", attribute="file"):
    """The XML of a container's file system on a ploop image."""
    return (f"<filesystem type='{kind}'><driver type='ploop' format='ploop'/><source {attribute}='{source}'/>"
            f"<target dir='{target}'/>{inner}</filesystem>")


class Images:
    """A folder for images, with a run folder of its own for their vz-ploopd processes."""

    def __init__(self, folder, run_folder=None):
        self.folder = str(folder)
        self.run_folder = run_folder or os.path.join(self.folder, "run")
        self._seen = {}  # device -> number of what was on it

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def environment(self):
        return dict(os.environ, VZ_PLOOPD=build.ploopd(), VZ_PLOOP_RUNDIR=self.run_folder)

    def ploop(self, *words, status=0):
        """Runs ploop; its standard output. Fails unless it ends with that status."""
        environment = self.environment()
        argv = [build.ploop(), *[str(word) for word in words]]
        # Whatever a vz-ploopd inherited would keep a pipe open.
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}"
        self._note_devices()
        return done.stdout if status == 0 else done.stderr

    def make(self, name="ct", size="64M", *options):
        folder = self.path(name)
        os.makedirs(folder)
        self.ploop("init", "-s", size, *options, os.path.join(folder, "root.hds"))
        return os.path.join(folder, "DiskDescriptor.xml")

    def make_root(self, name="ct", size="64M", kind="busybox", *options):
        """An image with a root file system in it; its folder."""
        image = self.make(name, size, *options)
        self.ploop("import", roots.cached(kind), image)
        return os.path.dirname(image)

    def mount(self, image, name="mnt", *options):
        """Mounts an image; the folder."""
        folder = self.path(name)
        os.makedirs(folder, exist_ok=True)
        self.ploop("mount", "-m", folder, *options, image)
        return folder

    def device(self, image):
        """Its loop device and that of the file system."""
        found = re.match(r"device:\t\t(\S*)\npartition:\t(\S*)\n", self.ploop("info", "-d", image))
        return found.groups()

    def processes(self):
        """The vz-ploopd processes of the images in this folder."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
                if words[0] == build.ploopd() and words[1].startswith(os.path.realpath(self.folder) + "/"):
                    found.append(int(path.split("/")[2]))
            except OSError:
                pass
        return found

    def guards(self):
        """The processes that see to the end of network block devices."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
                if words[1:2] == ["--guard-nbd"] and int(words[2]) in self._seen.values():
                    found.append(int(path.split("/")[2]))
            except OSError:
                pass
        return found

    def kill(self, processes=None):
        """Kills the vz-ploopd processes, or those given, and waits until the kernel has closed their files as well."""
        for pid in processes or self.processes():
            with os.fdopen(os.pidfd_open(pid), "rb") as process:
                os.kill(pid, signal.SIGKILL)
                assert select.select([process], [], [], 20)[0], "vz-ploopd does not die"

    def _note_devices(self):
        for path in glob.glob(os.path.join(self.run_folder, "*.state")):
            try:
                with open(path, encoding="utf-8") as file:
                    fields = file.read().split("\0")
                self._seen[fields[2]] = sequence_of(fields[2])
            except (OSError, ValueError):
                pass  # gone meanwhile

    def mounts(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as table:
            return [line for line in table if self.folder in line]

    def left(self):
        """All that is there although nothing is mounted."""
        bound = [device for device, number in self._seen.items() if is_bound(device) and sequence_of(device) == number]
        files = os.listdir(self.run_folder) if os.path.isdir(self.run_folder) else []
        return self.processes() + self.guards() + self.mounts() + bound + files

    def check(self):
        """Fails if anything is left; a process may take a moment to end."""
        wait_for(lambda: not self.left(), 10, f"the end of {self.left()}")

    def close(self):
        for line in reversed(self.mounts()):
            subprocess.run(["umount", "-l", line.split()[4]], check=False)
        for pid in self.processes() + self.guards():
            os.kill(pid, signal.SIGKILL)
        for device, number in self._seen.items():
            if is_bound(device) and sequence_of(device) == number:
                # Of a network block device no mount is left by now, so that it has only to be told.
                tool = ["losetup", "-d"] if "loop" in device else [build.ploop(), "umount", "-d"]
                subprocess.run([*tool, device], env=self.environment(), check=False)


def backend_of(device):
    """Which server a network block device talks to; nothing if to none."""
    try:
        with open(f"/sys/block/{os.path.basename(device)}/backend", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def sequence_of(device):
    if backend := backend_of(device):
        return int(backend.split()[-1], 16)
    try:
        with open(f"/sys/block/{os.path.basename(device)}/diskseq", encoding="utf-8") as file:
            return int(file.read())
    except OSError:
        return 0


def is_bound(device):
    return bool(backend_of(device)) or os.path.exists(f"/sys/block/{os.path.basename(device)}/loop/backing_file")


def size_of(device):
    with open(device, "rb") as file:
        return file.seek(0, os.SEEK_END)


def may_grow_mounted():
    """ext4 asks for CAP_SYS_RESOURCE, which root of a confined machine may not have."""
    with open("/proc/self/status", encoding="utf-8") as status:
        effective = int(re.search(r"^CapEff:\s+(\w+)", status.read(), re.M).group(1), 16)
    return bool(effective & 1 << 24)


def sync_file_system(folder):
    """syncfs(2); an OSError if it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(folder, os.O_RDONLY)
    try:
        if libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(fd)


def e2fsck(device):
    """The status of a check that changes nothing."""
    return subprocess.run(["/sbin/e2fsck", "-f", "-n", device], capture_output=True, check=False).returncode
