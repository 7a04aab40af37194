# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers whose root is a ploop image: their life, and what is left when one of the processes is killed."""

import glob
import os
import re
import signal
import stat

import pytest
from harness import roots
from harness.guest import wait_for
from harness.images import e2fsck, filesystem

pytestmark = pytest.mark.usefixtures("private_mounts", "images")


@pytest.fixture
def guest(images, make_guest):
    return make_guest(root=images.make_root(), filesystem=filesystem(images.path("ct"))).define()


def booted(guest, times=1):
    """Waits until init is ready: what it counts is in the image, so it is asked inside."""
    def count():
        done = guest.daemon.enter(guest.name, "/bin/cat", "/boots", check=False)
        return done.returncode == 0 and int(done.stdout or 0) >= times
    wait_for(count, what=f"boot {times} of {guest.name}")
    return guest


def ploopds(guest):
    """The processes that serve images of this daemon's containers."""
    found = []
    for path in glob.glob(os.path.join(guest.daemon.ploop_folder, "*.state")):
        with open(path, encoding="utf-8") as file:
            found.append(int(file.read().split("\0")[4]))
    return found


@pytest.mark.host
def test_start_stop_start(daemon, guest, images):
    booted(guest.start())
    assert re.search("^/dev/loop.* / ext4 ", guest.inside("/bin/cat", "/proc/mounts"), re.M)
    guest.inside("/bin/sh", "-c", "echo kept > /mark && chown 33:44 /mark")
    assert guest.inside("/bin/stat", "-c", "%u:%g", "/mark") == "33:44\n"
    daemon.virsh("destroy", guest.name)
    # Nothing has to be waited for: the image is closed.
    assert not ploopds(guest)
    assert "leaked" in images.ploop("check", images.path("ct"))
    folder = images.mount(images.path("ct/DiskDescriptor.xml"))
    assert os.stat(os.path.join(folder, "mark")).st_uid == 33, "owners in the image are those inside"
    images.ploop("umount", images.path("ct/DiskDescriptor.xml"))
    booted(guest.start(), 2)
    assert guest.inside("/bin/cat", "/mark") == "kept\n"


def test_processes_are_in_the_supervisors_group(guest):
    booted(guest.start())
    (pid,) = ploopds(guest)
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        assert f"/vz-{guest.name}/supervisor\n" in file.read()


@pytest.mark.parametrize("victim", ["supervisor", "ploopd", "daemon and supervisor"])
def test_kill(daemon, guest, victim):
    booted(guest.start())
    guest.inside("/bin/sync")
    (served,) = ploopds(guest)
    if victim == "ploopd":
        os.kill(served, signal.SIGKILL)
        # Its file system is dead, too: the container is ended as one that hangs.
        daemon.virsh("destroy", guest.name)
    else:
        pid = guest.supervisor()
        if victim != "supervisor":
            daemon.kill9()
        os.kill(pid, signal.SIGKILL)
        if victim != "supervisor":
            daemon.start()
    guest.wait_state("shut off")
    assert not ploopds(guest)
    booted(guest.start(), 2)


@pytest.mark.host
def test_killed_daemon_finds_it_again(daemon, guest):
    booted(guest.start())
    before = guest.id()
    daemon.kill9()
    daemon.start()
    assert guest.id() == before
    guest.inside("/bin/sh", "-c", "echo still > /mark && sync")
    daemon.virsh("destroy", guest.name)
    assert not ploopds(guest)


def test_reboot_keeps_the_image(guest):
    booted(guest.start())
    (before,) = ploopds(guest)
    guest.inside("/bin/reboot", "-f", check=False)
    booted(guest, 2)
    assert ploopds(guest) == [before]


def test_image_in_use_is_refused(daemon, guest, images, make_guest):
    other = make_guest("other", root=guest.root, filesystem=filesystem(images.path("ct/DiskDescriptor.xml"))).define()
    booted(guest.start())
    done = daemon.virsh("start", other.name, check=False)
    assert done.returncode and "in use" in done.stderr and images.path("ct") in done.stderr
    booted(guest)


@pytest.mark.parametrize("source, message", [("missing", "cannot be used"), ("empty", "without a DiskDescriptor.xml")])
def test_bad_source(daemon, images, make_guest, source, message):
    os.makedirs(images.path("empty"))
    guest = make_guest(root="/", filesystem=filesystem(images.path(source))).define()
    done = daemon.virsh("start", guest.name, check=False)
    assert done.returncode and message in done.stderr and images.path(source) in done.stderr


def test_failed_start_gives_the_image_back(daemon, images, make_guest):
    """An empty file system has no init."""
    images.make("blank", "32M")
    guest = make_guest(root="/", filesystem=filesystem(images.path("blank"))).define()
    for _ in range(3):
        done = daemon.virsh("start", guest.name, check=False)
        assert done.returncode and "/sbin/init" in done.stderr
        assert not ploopds(guest)


@pytest.mark.host
def test_debian(daemon, images, make_guest):
    """A whole system, made as docs/storage.md says."""
    image = images.make("debian", "2G")
    images.ploop("import", roots.cached("debian"), image)
    guest = make_guest("debian", root="/", memory=512, filesystem=filesystem(images.path("debian"))).define().start()
    wait_for(lambda: guest.inside("/bin/systemctl", "is-system-running", check=False).strip() in ("running", "degraded"),
             60, "the end of systemd's start")
    assert guest.inside("/bin/stat", "-c", "%u %a", "/usr/bin/passwd") == "0 4755\n"
    daemon.virsh("shutdown", "debian")
    guest.wait_state("shut off", 90)
    assert not ploopds(guest)
    images.mount(image)
    assert e2fsck(images.device(image)[1]) == 0, "it was unmounted in order"
    images.ploop("umount", image)


def test_device_nodes_in_an_image_are_dead(images, make_guest):
    source = roots.clone("busybox", images.path("source"))
    os.mknod(os.path.join(source, "trap"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    image = images.make("ct", "64M")
    images.ploop("import", source, image)
    guest = booted(make_guest(root="/", filesystem=filesystem(images.path("ct"))).define().start())
    assert "ermission denied" in guest.inside("/bin/sh", "-c", "cat /trap 2>&1; true")
    assert guest.inside("/bin/cat", "/dev/null") == ""
