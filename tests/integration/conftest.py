# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures of the integration tests: a private daemon per test file, containers, and a leak check per test."""

import gc
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import leaks, private_daemon, system_daemon  # noqa: E402
from harness.guest import Guest  # noqa: E402
from harness.images import Images, own_mounts  # noqa: E402
from harness.private_daemon import PrivateDaemon  # noqa: E402


LONGEST = ["test_snapshots", "test_vm_ploop", "test_vm_state", "test_ploop_mount", "test_systemd",
           "test_container_disks", "test_resources", "test_storage_volumes", "test_lifecycle", "test_ploop_container"]


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="the long loops at full length")
    parser.addoption("--system", action="store_true",
                     help="use the libvirtd of this machine (tests marked host only; in a throw-away machine)")


def pytest_configure(config):
    config.addinivalue_line("markers", "host: also runs against an installed driver in a machine with systemd")
    config.addinivalue_line("markers", "host_only: runs in such a machine only")
    config.addinivalue_line("markers", "leaks_allowed: leaves things behind on purpose")


def pytest_collection_modifyitems(config, items):
    def wanted(item):
        if config.getoption("--system"):
            return item.get_closest_marker("host") or item.get_closest_marker("host_only")
        return not item.get_closest_marker("host_only")

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    # The longest files first, so that no worker has one of them left at the end.
    items[:] = sorted((item for item in items if wanted(item)),
                      key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the integration tests need root", returncode=77)
    if not session.config.getoption("--system"):
        private_daemon.remove_abandoned()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows what the daemon logged meanwhile."""
    outcome = yield
    report = outcome.get_result()
    daemon = getattr(item, "funcargs", {}).get("module_daemon")
    if report.failed and daemon:
        report.sections.append(("log of libvirtd", "\n".join(daemon.log().splitlines()[-40:])))


@pytest.fixture(scope="session")
def full(request):
    """Whether the long loops run at full length."""
    return request.config.getoption("--full")


@pytest.fixture(scope="module")
def module_daemon(request):
    """The daemon of this test file, running. Use `daemon`, which also checks for leaks."""
    kind = system_daemon.SystemDaemon if request.config.getoption("--system") else PrivateDaemon
    daemon = kind(**getattr(request.module, "DAEMON", {}))
    try:
        daemon.start()
        daemon.virsh("list")
        warm_up(daemon)
        yield daemon
        daemon.check()
    finally:
        daemon.close()


def warm_up(daemon):
    """Opens what the daemon opens once and keeps, so that it does not look like a leak of the first test."""
    guest = Guest(daemon, os.path.join(daemon.folder, "roots"), "warm-up")
    daemon.virsh("create", guest.file(), check=False)
    daemon.virsh("list", ro=True)
    guest.close()


@pytest.fixture
def daemon(module_daemon, request):
    """The private daemon, running; the test fails if it crashed or if anything is left afterwards."""
    if not module_daemon.running():
        module_daemon.start()
        module_daemon.virsh("list")  # It listens before it has opened everything.
    before = leaks.snapshot(module_daemon)
    yield module_daemon
    module_daemon.check()
    if not module_daemon.running():
        module_daemon.start()
    # A domain object that a caught error still refers to keeps its connection open.
    gc.collect()
    if not request.node.get_closest_marker("leaks_allowed"):
        leaks.check(module_daemon, before)


@pytest.fixture
def make_guest(daemon, request):
    """make_guest(name="ct", kind="busybox", ...) -> Guest, undefined; all are removed after the test."""
    guests = []

    def make(name="ct", **settings):
        folder = os.path.join(daemon.folder, "roots", request.node.name.replace("/", "-"))
        guest = Guest(daemon, folder, name, **settings)
        guests.append(guest)
        return guest

    yield make
    if not daemon.running():
        daemon.start()
    for guest in guests:
        guest.close()


@pytest.fixture(scope="module")
def private_mounts():
    """Mounts of the tests that no daemon of another test takes a copy of. Before all else of the file."""
    with own_mounts():
        yield


@pytest.fixture
def images(daemon, tmp_path):
    """
    A folder for images of the daemon's guests. A file whose guests are on them uses this fixture for all its tests,
    so that they end before their images are looked at.
    """
    made = Images(tmp_path, daemon.ploop_folder)
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.fixture
def guest(make_guest):
    """A tiny container, defined and not running."""
    return make_guest().define()


@pytest.fixture
def running(guest):
    """A tiny container whose init is ready."""
    return guest.start().ready()


@pytest.fixture
def conn(daemon):
    """A read-write connection of the libvirt Python module."""
    import libvirt  # pylint: disable=import-outside-toplevel

    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = daemon.connect()
    yield connection
    try:
        connection.close()
    except libvirt.libvirtError:
        pass


@pytest.fixture
def events(daemon):
    """A recorder of domain events on a connection of its own."""
    from harness.events import Recorder  # pylint: disable=import-outside-toplevel

    recorder = Recorder(daemon)
    yield recorder
    recorder.close()
