# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `meson install` puts where, and that `ninja uninstall` takes all of it away."""

import os
import shutil
import subprocess

import pytest
from harness import build


@pytest.fixture
def installed(tmp_path):
    """A folder with everything installed below it."""
    log = os.path.join(build.BUILD, "meson-logs/install-log.txt")
    kept = tmp_path / "install-log"
    if os.path.exists(log):
        shutil.copy(log, kept)  # A real uninstall goes by it.
    destination = tmp_path / "root"
    environ = {**os.environ, "DESTDIR": str(destination)}
    subprocess.run(["meson", "install", "-C", build.BUILD, "--no-rebuild", "--quiet"], check=True, env=environ,
                   stdout=subprocess.DEVNULL)
    yield destination
    if kept.exists():
        shutil.copy(kept, log)
    elif os.path.exists(log):
        os.unlink(log)


def files(folder):
    return {os.path.relpath(os.path.join(path, name), folder) for path, _, names in os.walk(folder) for name in names}


def test_files_and_places(installed):
    found = files(installed)
    modules = {os.path.dirname(name) for name in found if name.endswith("/libvirt_driver_vz.so")}
    assert len(modules) == 1
    folder = modules.pop()
    assert folder.endswith("libvirt/connection-driver") and folder.startswith("usr/lib/")
    assert [name for name in found if name.startswith(folder + "/vz/libvirt_vz_") and name.endswith(".so")]
    for program in ("vz-supervisor", "vz-ploopd", "vz-kvm-probe"):
        assert f"usr/lib/libvirt/{program}" in found
        assert os.access(installed / "usr/lib/libvirt" / program, os.X_OK)
    assert {"etc/libvirt/vz.conf", "etc/libvirt/vz.conf.dist"} & found
    slot = installed / folder / "libvirt_driver_vbox.so"
    if slot.is_symlink():
        assert os.readlink(slot) == "libvirt_driver_vz.so"
    # Nothing that only the build needs.
    assert not [name for name in found if name.endswith((".a", ".hpp", ".h"))]


def test_shipped_settings_are_the_defaults(installed):
    """Every line is commented out; with the comments removed, the driver takes it."""
    conf = next((installed / "etc/libvirt").glob("vz.conf*"))
    lines = conf.read_text(encoding="utf-8").splitlines()
    assert all(not line or line.startswith("#") for line in lines)


def test_uninstall_takes_everything_away(installed):
    subprocess.run(["ninja", "-C", build.BUILD, "uninstall"], check=True, stdout=subprocess.DEVNULL)
    assert not installed.exists() or files(installed) == set()
