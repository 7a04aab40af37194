# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stock libvirtd with our driver in it that shares nothing with the libvirtd of the machine."""

import glob
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

from . import build, qemu
from .keeper import Kept
from .namespace import Namespace, start_time, wait_gone

# Not qemu and lxc: no test of containers needs them, and probing QEMU takes seconds.
MODULES = ("network", "interface", "secret", "storage", "nodedev", "nwfilter")
VM_MODULES = MODULES + ("qemu",)
MARK = "VZ_TEST_DAEMON"


# Many small files are made and removed: in memory where there is room for them.
MEMORY, DISK = "/dev/shm", "/var/tmp"


def fast_folder():
    """Where test daemons keep their files: a file system in memory, unless it is small or for data only."""
    try:
        about = os.statvfs(MEMORY)
    except OSError:
        return DISK
    fits = about.f_bavail * about.f_frsize >= 4 << 30 and not about.f_flag & os.ST_NOEXEC
    return MEMORY if fits and os.path.ismount(MEMORY) else DISK


class DaemonDied(RuntimeError):
    pass


class PrivateDaemon:
    """
    libvirtd in a Namespace of its own. The daemon can be stopped, killed and started again in it; close()
    ends everything that it started and removes every trace. `modules` are the stock drivers it loads,
    `vz_settings` goes into vz.conf, `qemu_settings` into qemu.conf, `shim` replaces the module under test (None: the
    one just built, "": none). A `lasting` daemon survives this program; PrivateDaemon.adopt(folder) finds it again.
    Its files are in memory if that can be; `on_disk` keeps them, and the roots of its guests, on a disk.
    """

    def __init__(self, folder=None, own_net=True, own_uts=False, hide_unified=False, lasting=False,
                 modules=MODULES, vz_settings=None, qemu_settings=None, settings=None, shim=None, arguments=(),
                 uri="vz:///system", on_disk=False):
        if shim is None:
            build.shim(), build.driver(), build.supervisor()  # Raises NotBuilt before anything is made.
        self.folder = folder or tempfile.mkdtemp(prefix="vzt.", dir=DISK if on_disk else fast_folder())
        os.chmod(self.folder, 0o755)
        self.lasting = lasting
        self.uri = uri
        self.arguments = list(arguments)
        self.exit_status = None
        self._process = None
        self._pid = None
        self.partition = "vztest" + "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=8))
        # sun_path holds 107 bytes and an end mark.
        if len(self.socket_path) > 104:
            raise DaemonDied(f"{self.socket_path} is too long for a socket: use a folder with a shorter path")
        self._shim = shim
        self._modules = modules
        self._link_modules()
        self.namespace = Namespace(self.folder, own_net, own_uts, hide_unified, lasting)
        self._write_settings(settings or {}, vz_settings or {}, qemu_settings or {})
        if "qemu" in modules:
            qemu.lend_capabilities(self.folder)
        self._save()

    # Setting up

    def _link_modules(self):
        drivers = os.path.join(self.folder, "drivers")
        shutil.rmtree(drivers, ignore_errors=True)
        os.mkdir(drivers)
        for name in self._modules:
            stock = os.path.join(build.stock_modules(), f"libvirt_driver_{name}.so")
            if os.path.exists(stock):
                os.symlink(stock, os.path.join(drivers, os.path.basename(stock)))
        if self._shim == "":
            return
        # As installed: the shim finds the driver in a folder beside itself, following links.
        shim = os.path.join(drivers, "libvirt_driver_vz.so")
        shutil.copy(self._shim or build.shim(), shim)
        if self._shim:
            os.symlink(os.path.join(os.path.dirname(self._shim), "vz"), os.path.join(drivers, "vz"))
        else:
            os.mkdir(os.path.join(drivers, "vz"))
            driver = build.driver()
            os.symlink(driver, os.path.join(drivers, "vz", os.path.basename(driver)))
        # Builds of libvirt without the vz slot load it through the vbox slot.
        os.symlink("libvirt_driver_vz.so", os.path.join(drivers, "libvirt_driver_vbox.so"))

    def change_modules(self, modules):
        """Other stock drivers; from the next start of the daemon, which must not run now."""
        self._modules = modules
        self._link_modules()

    def _write_settings(self, settings, vz_settings, qemu_settings):
        defaults = {
            "auth_unix_ro": "none",
            "auth_unix_rw": "none",
            "host_uuid": str(uuid.uuid4()),
            "log_outputs": "3:file:/var/log/libvirt/libvirtd.log",
            "max_clients": 5000,
            "max_anonymous_clients": 100,
        }
        self._write("etc/libvirtd.conf", {**defaults, **settings})
        self._write("etc/qemu.conf", {**qemu.SETTINGS, **qemu_settings})
        if self._shim != "":
            self.change_settings(**vz_settings)

    def _write(self, name, values):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as conf:
            for key, value in values.items():
                text = str(value) if isinstance(value, int) else json.dumps(value)
                conf.write(f"{key} = {text}\n")

    def change_settings(self, **vz_settings):
        """Replaces vz.conf; valid from the next start of the daemon."""
        self._write("etc/vz.conf", {"cgroup_partition": "/" + self.partition, "supervisor": build.supervisor(),
                                    "kvm_probe": build.kvm_probe(), **vz_settings})

    def _save(self):
        with open(os.path.join(self.folder, "state.json"), "w", encoding="utf-8") as file:
            json.dump({"namespace": self.namespace.state(), "partition": self.partition, "uri": self.uri,
                       "owner": [os.getpid(), start_time(os.getpid())], "lasting": self.lasting}, file)

    @classmethod
    def adopt(cls, folder):
        """The daemon that an earlier program left in `folder`, running or not; None if there is nothing."""
        try:
            with open(os.path.join(folder, "state.json"), encoding="utf-8") as file:
                state = json.load(file)
        except (OSError, ValueError):
            return None
        self = cls.__new__(cls)
        self.folder, self.partition, self.uri = folder, state["partition"], state["uri"]
        self.lasting, self.arguments, self._process, self.exit_status = state["lasting"], [], None, None
        self._owner = state["owner"]
        self.namespace = Namespace.adopt(folder, state["namespace"])
        self._pid = self._read_pid()
        return self

    def _read_pid(self):
        try:
            with open(os.path.join(self.folder, "run/libvirtd.pid"), encoding="utf-8") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/environ", "rb") as environ:
                return pid if f"{MARK}={self.folder}".encode() in environ.read().split(b"\0") else None
        except (OSError, ValueError):
            return None

    # Life

    @property
    def pid(self):
        return self._pid

    @property
    def socket_path(self):
        return os.path.join(self.folder, "run/libvirt-sock")

    @property
    def ploop_folder(self):
        """Where its images that are block devices are known; for the ploop program outside of its namespace, too."""
        return os.path.join(self.folder, "run/vz-ploop")

    def url(self, path=None, ro=False):
        """The URI that reaches this daemon from outside its namespace."""
        scheme, rest = (path or self.uri).split("://", 1)
        return f"{scheme}+unix://{rest}?socket={self.socket_path}{'-ro' if ro else ''}"

    def start(self, seconds=30, wait=True):
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LIBVIRT")}
        # For the daemon and all that it starts, but not for the keeper.
        settings = {"LIBVIRT_DRIVER_DIR": os.path.join(self.folder, "drivers"), MARK: self.folder,
                    # Its images' processes are its own, and the stock storage driver finds our ploop.
                    "VZ_PLOOPD": build.ploopd(), "VZ_PLOOP_RUNDIR": "/run/libvirt/vz-ploop",
                    "PATH": os.path.dirname(build.ploop()) + ":" + os.environ["PATH"],
                    "ASAN_OPTIONS": f"log_path={self.folder}/log/sanitizer:detect_leaks=0",
                    "UBSAN_OPTIONS": f"log_path={self.folder}/log/sanitizer:print_stacktrace=1"}
        if os.environ.get("VZ_PRELOAD"):
            settings["LD_PRELOAD"] = os.environ["VZ_PRELOAD"]
        argv = ["env"] + [f"{key}={value}" for key, value in settings.items()]
        argv += self.namespace.enter() + ["libvirtd", "--config", "/etc/libvirt/libvirtd.conf",
                                          "--pid-file", "/run/libvirt/libvirtd.pid"] + self.arguments
        with open(os.path.join(self.folder, "log/stderr"), "ab") as errors:
            self._process = Kept(argv, self.lasting, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                                 env=environ)
        self._pid = self._process.pid
        self.exit_status = None
        if wait:
            self.wait_ready(seconds)

    def wait_ready(self, seconds=30):
        end = time.monotonic() + seconds
        while True:
            if self._process and self._process.poll() is not None:
                raise DaemonDied(f"libvirtd ended with status {self._process.returncode}:\n{self.log()}")
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(self.socket_path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise DaemonDied(f"libvirtd does not listen after {seconds} s:\n{self.log()}") from None
                time.sleep(0.01)

    def running(self):
        if self._process:
            return self._process.poll() is None
        return self._pid is not None and os.path.exists(f"/proc/{self._pid}")

    def signal(self, number):
        os.kill(self._pid, number)

    def wait(self, seconds=30):
        """Waits for the daemon to end; its exit status (None if it is not our child)."""
        if self._process:
            self.exit_status = self._process.wait(seconds)
        elif self._pid and not wait_gone(self._pid, seconds):
            raise DaemonDied(f"libvirtd {self._pid} does not end")
        self._process = self._pid = None
        return self.exit_status

    def stop(self, seconds=30):
        """Ends the daemon as systemd would. Containers go on. A crash at this point is an error."""
        if not self.running():
            status = self.wait() if self._pid else self.exit_status
            if status:
                raise DaemonDied(f"libvirtd had ended with status {status}:\n{self.log()}")
            return
        self.signal(signal.SIGTERM)
        try:
            status = self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise DaemonDied(f"libvirtd does not end within {seconds} s of SIGTERM:\n{self.log()}") from None
        if status:
            raise DaemonDied(f"libvirtd ended with status {status}:\n{self.log()}")

    def kill9(self):
        if self._pid:
            self.signal(signal.SIGKILL)
            self.wait()
            self.exit_status = None

    def restart(self):
        self.stop()
        self.start()

    def check(self):
        """Raises if the daemon crashed, or a sanitizer complained, since it was made."""
        if self._pid and not self.running():
            raise DaemonDied(f"libvirtd ended with status {self.wait()}:\n{self.log()}")
        reports = glob.glob(os.path.join(self.folder, "log/sanitizer*"))
        text = ""
        for report in reports:
            with open(report, encoding="utf-8", errors="replace") as file:
                text += file.read()
            os.unlink(report)
        if text:
            raise DaemonDied(f"sanitizer report:\n{text}")

    # Use

    def virsh(self, *arguments, check=True, stdin=None, seconds=60, ro=False, uri=None):
        """The unmodified virsh of the machine on this daemon; its result with stdout and stderr as text."""
        argv = ["virsh", "-q", "-c", self.url(uri, ro)]
        argv += ["-r"] if ro else []
        return self._run(argv + [str(argument) for argument in arguments], check, stdin, seconds)

    def enter(self, name, *argv, check=True, stdin=None, seconds=60):
        """A command in a container, as its root."""
        return self._run([build.vz_enter(), "-c", self.url(), name] + [str(argument) for argument in argv], check,
                         stdin, seconds)

    def run(self, *argv, check=True, stdin=None, seconds=60):
        """Any command inside the daemon's namespaces."""
        return self._run(self.namespace.enter() + [str(argument) for argument in argv], check, stdin, seconds)

    @staticmethod
    def _run(argv, check, stdin, seconds):
        done = subprocess.run(argv, input=stdin, stdin=None if stdin else subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=seconds,
                              env={**os.environ, "LC_ALL": "C"})
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}\nended with {done.returncode}: {done.stderr or done.stdout}")
        return done

    def connect(self, uri=None, ro=False):
        """A connection of the libvirt Python module; close it before the test ends."""
        import libvirt  # pylint: disable=import-outside-toplevel

        return libvirt.openReadOnly(self.url(uri, True)) if ro else libvirt.open(self.url(uri))

    def log(self):
        text = ""
        for name in ("stderr", "libvirtd.log"):
            try:
                with open(os.path.join(self.folder, "log", name), encoding="utf-8", errors="replace") as file:
                    text += file.read()[-8000:]
            except OSError:
                pass
        return text

    # What belongs to it

    def cgroups(self):
        """All control groups of its guests."""
        found = []
        for hierarchy in ["/sys/fs/cgroup"] + glob.glob("/sys/fs/cgroup/*/"):
            for top in (self.partition, self.partition + ".slice", self.partition + ".partition"):
                for path, _, _ in os.walk(os.path.join(hierarchy, top)):
                    found.append(path)
        return sorted(set(found))

    def processes(self):
        """Pids of everything that it started and that still runs, itself left out."""
        found = set()
        for group in self.cgroups():
            try:
                with open(os.path.join(group, "cgroup.procs"), encoding="utf-8") as file:
                    found |= {int(line) for line in file}
            except OSError:
                pass
        mark = f"{MARK}={self.folder}".encode()
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, "rb") as environ:
                    if mark in environ.read().split(b"\0"):
                        found.add(int(path.split("/")[2]))
            except OSError:
                pass
        found |= self._in_namespace()
        return sorted(found - {self._pid, os.getpid(), 0})

    def _in_namespace(self):
        """
        Pids of what lives among the daemon's folders, such as QEMU, which libvirt starts with an environment and, here,
        without a control group of its own. Found by the mounts: the number of a namespace may be used again.
        """
        mark, known, found = f"/{os.path.basename(self.folder)}/run /run/libvirt ", {}, set()
        for path in glob.glob("/proc/[0-9]*/ns/mnt"):
            pid = int(path.split("/")[2])
            try:
                number = os.readlink(path)
                if number not in known:
                    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as table:
                        known[number] = mark in table.read()
            except OSError:
                continue
            if known[number]:
                found.add(pid)
        return found - {self.namespace.pid if self.namespace else None}

    def close(self):
        """Ends the daemon and everything it started, and removes every trace. Raises what stop() raised."""
        problem = None
        try:
            if self._pid:
                self.stop()
        except DaemonDied as error:
            problem = error
        self._kill_everything()
        qemu.keep_capabilities(self.folder)
        if self.namespace:
            self.namespace.close()
        self._remove_cgroups()
        shutil.rmtree(self.folder, ignore_errors=True)
        if problem:
            raise problem

    def _kill_everything(self):
        end = time.monotonic() + 10
        while self.processes() and time.monotonic() < end:
            for group in self.cgroups():
                for name, value in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
                    path = os.path.join(group, name)
                    if os.path.exists(path):
                        try:
                            with open(path, "w", encoding="utf-8") as file:
                                file.write(value)
                        except OSError:
                            pass
            for pid in self.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)

    def _remove_cgroups(self):
        for group in sorted(self.cgroups(), key=len, reverse=True):
            try:
                os.rmdir(group)
            except OSError:
                pass


def remove_abandoned():
    """Removes what test runs that were killed left behind."""
    for folder in glob.glob(f"{MEMORY}/vzt.*") + glob.glob(f"{DISK}/vzt.*"):
        daemon = PrivateDaemon.adopt(folder)
        if daemon and not daemon.lasting and start_time(daemon._owner[0]) != daemon._owner[1]:
            daemon.close()
