# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a private daemon needs for the stock qemu driver."""

import glob
import os
import re
import tempfile

from . import build

# /etc/libvirt/qemu.conf. Nothing of the machine is needed (virtlogd, libvirt-qemu, security labels), nothing of it is
# changed (control groups, owners of files), and QEMU stays in the daemon's mount namespace, where it is found again.
SETTINGS = {
    "stdio_handler": "file",
    "security_driver": "none",
    "user": "root",
    "group": "root",
    "remember_owner": 0,
    "namespaces": [],
    "cgroup_controllers": [],
}
SELF = re.compile(rb"<selfctime>\d+</selfctime>")


def _cache():
    """Our folder for what this libvirt has learned."""
    module = os.path.join(build.stock_modules(), "libvirt_driver_qemu.so")
    return os.path.join(build.CACHE, "qemu-capabilities", str(int(os.stat(module).st_ctime)))


def _capabilities(folder):
    return os.path.join(folder, "cache/qemu/capabilities")


def lend_capabilities(folder):
    """
    Gives a new daemon what an earlier one learned about QEMU, which takes seconds. libvirt itself drops what is of
    another QEMU or kernel, or was learned before the newest of its drivers changed. That one is ours, freshly copied.
    """
    os.makedirs(_capabilities(folder), exist_ok=True)
    newest = max(int(os.stat(path).st_ctime) for path in glob.glob(os.path.join(folder, "drivers/*.so")))
    for path in glob.glob(os.path.join(_cache(), "*.xml")):
        with open(os.path.join(_capabilities(folder), os.path.basename(path)), "wb") as file:
            file.write(SELF.sub(b"<selfctime>%d</selfctime>" % newest, _content(path)))


def keep_capabilities(folder):
    """Takes over what a daemon that ends has learned."""
    for path in glob.glob(os.path.join(_capabilities(folder), "*.xml")):
        kept = os.path.join(_cache(), os.path.basename(path))
        learned = SELF.sub(b"<selfctime>0</selfctime>", _content(path))
        if _content(kept) == learned:
            continue
        os.makedirs(_cache(), exist_ok=True)
        number, scratch = tempfile.mkstemp(dir=_cache())
        with os.fdopen(number, "wb") as file:
            file.write(learned)
        os.rename(scratch, kept)


def _content(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
