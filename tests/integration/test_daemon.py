# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the driver gets into a stock libvirtd, and that it never keeps libvirtd from working."""

import os
import shutil
import subprocess
import time

import pytest
from harness import build
from harness.guest import Guest, wait_for
from harness.private_daemon import PrivateDaemon


def errors_of_driver(daemon):
    return [line for line in daemon.log().splitlines() if " error " in line and "vz" in line]


def broken_driver(folder, damage):
    """A copy of the built module whose driver object is damaged by `damage(path)`; the path of its shim."""
    os.makedirs(os.path.join(folder, "vz"))
    shim = os.path.join(folder, "libvirt_driver_vz.so")
    shutil.copy(build.shim(), shim)
    driver = os.path.join(folder, "vz", os.path.basename(build.driver()))
    shutil.copy(build.driver(), driver)
    damage(driver)
    return shim


def wrong_symbol_version(path):
    """Makes the object ask for private symbols of a libvirt that is not there."""
    with open(path, "rb") as file:
        data = file.read()
    assert b"LIBVIRT_PRIVATE_9.0.0" in data
    with open(path, "wb") as file:
        file.write(data.replace(b"LIBVIRT_PRIVATE_9.0.0", b"LIBVIRT_PRIVATE_8.9.9"))


def truncate(path):
    os.truncate(path, 4096)


@pytest.mark.host
def test_module_is_loaded_once_and_quietly(daemon):
    assert "VZ" in daemon.virsh("version").stdout.upper()
    assert errors_of_driver(daemon) == []


@pytest.mark.parametrize("damage", [wrong_symbol_version, truncate, os.unlink])
def test_driver_that_cannot_load_leaves_libvirtd_healthy(tmp_path, damage):
    shim = broken_driver(str(tmp_path / "broken"), damage)
    daemon = PrivateDaemon(shim=shim, vz_settings={"supervisor": "/bin/false"})
    try:
        daemon.start()
        assert "running" in daemon.virsh("list", uri="test:///default").stdout
        refused = daemon.virsh("list", check=False)
        assert refused.returncode != 0 and "vz:///system" in refused.stderr
        assert len(errors_of_driver(daemon)) == 1, daemon.log()
        daemon.check()
    finally:
        daemon.close()


def test_timeout_daemon_lives_exactly_while_guests_run(tmp_path):
    daemon = PrivateDaemon(arguments=["--timeout", "1"])
    try:
        daemon.start()
        guest = Guest(daemon, str(tmp_path), "ct").define().start().ready()
        time.sleep(3)
        assert daemon.running()
        assert guest.state().startswith("running")
        daemon.virsh("destroy", "ct")
        daemon.virsh("undefine", "ct")
        wait_for(lambda: not daemon.running(), 15, "the end of an idle libvirtd")
        assert daemon.wait() == 0
    finally:
        daemon.close()


def test_timeout_daemon_that_finds_guests_running_stays(tmp_path):
    daemon = PrivateDaemon(arguments=["--timeout", "1"])
    try:
        daemon.start()
        Guest(daemon, str(tmp_path), "ct").define().start().ready()
        daemon.restart()
        time.sleep(3)
        assert daemon.running()
        daemon.virsh("destroy", "ct")
        wait_for(lambda: not daemon.running(), 15, "the end of an idle libvirtd")
    finally:
        daemon.close()


def test_bad_settings_file_is_one_clear_error():
    daemon = PrivateDaemon(vz_settings={"autostart": "perhaps"})
    try:
        daemon.start()
        assert "running" in daemon.virsh("list", uri="test:///default").stdout
        assert "vz.conf" in daemon.log() and "autostart" in daemon.log()
        daemon.check()
    finally:
        daemon.close()


def test_reload_keeps_guests(daemon, running):
    daemon.signal(1)
    assert running.state().startswith("running")
    assert daemon.virsh("list", "--name").stdout.split() == ["ct"]


def test_other_drivers_share_their_objects(daemon):
    assert daemon.virsh("pool-list", "--all").returncode == 0
    assert daemon.virsh("net-list", "--all").returncode == 0
    assert daemon.virsh("nodedev-list").returncode == 0
    assert daemon.virsh("secret-list").returncode == 0


def test_slot_table_names_are_resolved():
    """The object binds every symbol at load time: nothing is left to fail in the middle of a call."""
    flags = subprocess.run(["readelf", "-d", build.driver()], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" in flags
    undefined = subprocess.run(["ldd", "-r", build.driver()], capture_output=True, text=True, check=False)
    assert "undefined symbol" not in undefined.stdout + undefined.stderr
