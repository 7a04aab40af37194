# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the things under test are."""

import glob
import os
import shutil

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("VZ_BUILD_DIR", os.path.join(TOP, "build"))
CACHE = os.environ.get("VZ_CACHE_DIR", os.path.join(TOP, ".cache"))


class NotBuilt(RuntimeError):
    pass


def _one(pattern):
    found = [path for path in glob.glob(os.path.join(BUILD, pattern), recursive=True) if os.path.isfile(path)]
    if not found:
        raise NotBuilt(f"no {pattern} under {BUILD}: build the project first (meson setup build && ninja -C build)")
    return found[0]


def shim():
    """The object that libvirtd loads."""
    return _one("src/**/libvirt_driver_vz.so")


def driver():
    """The object that the shim opens."""
    return _one("src/**/libvirt_vz_*.so")


def supervisor():
    return _one("src/**/vz-supervisor")


def kvm_probe():
    """The one that was built, or where nothing was, the one that is installed."""
    try:
        return _one("src/**/vz-kvm-probe")
    except NotBuilt:
        return "/usr/lib/libvirt/vz-kvm-probe"


def vz_enter():
    """The one that was built, or where nothing was, the one that is installed."""
    try:
        return _one("src/**/vz-enter")
    except NotBuilt:
        return shutil.which("vz-enter") or "vz-enter"


def stock_modules():
    """The folder of the drivers that the distribution ships."""
    for folder in glob.glob("/usr/lib*/*/libvirt/connection-driver") + glob.glob(
        "/usr/lib*/libvirt/connection-driver"
    ):
        return folder
    raise NotBuilt("libvirt's drivers are not installed: run tools/install-deps")


def ploop():
    """The one that was built, or where nothing was, the one that is installed."""
    try:
        return _one("src/**/ploop")
    except NotBuilt:
        return shutil.which("ploop") or "/usr/sbin/ploop"


def ploopd():
    """The one that was built, or where nothing was, the one that is installed."""
    try:
        return _one("src/**/vz-ploopd")
    except NotBuilt:
        return "/usr/lib/libvirt/vz-ploopd"
