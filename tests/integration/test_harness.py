# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself, on a stock daemon: what it hides from the machine and what it notices."""

import os
import signal

import pytest
from harness import leaks
from harness.guest import wait_for
from harness.private_daemon import DaemonDied, PrivateDaemon


@pytest.fixture
def stock():
    daemon = PrivateDaemon(shim="", uri="test:///default")
    daemon.start()
    daemon.virsh("list")  # It listens before it has opened everything.
    yield daemon
    if daemon.namespace:
        daemon.close()


def host_mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return table.read()


def test_daemon_is_private_and_leaves_nothing():
    mounts = host_mounts()
    daemon = PrivateDaemon(shim="", uri="test:///default")
    daemon.start()
    assert "running" in daemon.virsh("list").stdout
    assert "net-fresh" not in daemon.virsh("net-list", "--all").stdout
    assert daemon.run("ls", "/sys/class/net").stdout.split() == ["lo"]
    assert host_mounts() == mounts
    daemon.close()
    assert host_mounts() == mounts
    assert not os.path.exists(daemon.folder)


def test_daemon_restarts_into_the_same_folders(stock):
    stock.run("touch", "/run/libvirt/mark")
    first = stock.pid
    stock.restart()
    assert stock.pid != first
    stock.run("test", "-e", "/run/libvirt/mark")
    stock.kill9()
    stock.start()
    stock.run("test", "-e", "/run/libvirt/mark")


def test_leak_check_notices(stock):
    before = leaks.snapshot(stock)
    stock.run("ip", "link", "add", "vzleak", "type", "bridge")
    with pytest.raises(AssertionError, match="left behind, links: vzleak"):
        leaks.check(stock, before, seconds=0)
    stock.run("ip", "link", "del", "vzleak")
    stock.run("mount", "-t", "tmpfs", "none", "/mnt")
    with pytest.raises(AssertionError, match="left behind, mounts of the daemon"):
        leaks.check(stock, before, seconds=0)
    stock.run("umount", "/mnt")
    connection = stock.connect()
    with pytest.raises(AssertionError, match="left behind, daemon's files: socket"):
        leaks.check(stock, before, seconds=0)
    connection.close()
    leaks.check(stock, before)


def test_crash_is_noticed(stock):
    stock.signal(signal.SIGSEGV)
    wait_for(lambda: not stock.running(), what="end of libvirtd")
    with pytest.raises(DaemonDied, match="status -11"):
        stock.check()


def test_lasting_daemon_is_found_again():
    daemon = PrivateDaemon(shim="", uri="test:///default", lasting=True)
    daemon.start()
    again = PrivateDaemon.adopt(daemon.folder)
    assert again.pid == daemon.pid and again.running()
    assert "running" in again.virsh("list").stdout
    daemon.close()
    assert not again.running()
