# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images as devices of the kernel's nbd driver, where there is one."""

import errno
import os
import subprocess
import threading

import pytest
from harness.guest import wait_for
from harness.images import Images, backend_of, e2fsck, may_grow_mounted, size_of, sync_file_system

pytestmark = [pytest.mark.host_only, pytest.mark.usefixtures("private_mounts")]
MIB = 1 << 20


@pytest.fixture
def images(tmp_path):
    made = Images(tmp_path)
    try:
        yield made
        made.check()
    finally:
        made.close()


def mount(images, image, name="mnt"):
    folder = images.mount(image, name, "--export", "nbd-device")
    assert images.device(image)[0].startswith("/dev/nbd")
    return folder


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read(path):
    with open(path, "rb") as file:
        return file.read()


def check_clean(images, image):
    assert "0 leaked" in images.ploop("check", image)
    images.ploop("mount", image)
    assert e2fsck(images.device(image)[1]) == 0
    images.ploop("umount", image)


def test_image_is_a_network_block_device(images):
    image = images.make(size="64M")
    folder = mount(images, image)
    device, partition = images.device(image)
    assert partition == device + "p1" and backend_of(device) and len(images.guards()) == 1
    content = os.urandom(20 * MIB)
    write(os.path.join(folder, "file"), content)

    # What is not used goes back, also while it is mounted.
    used = lambda: os.stat(images.path("ct/root.hds")).st_blocks * 512  # noqa: E731
    assert used() > 20 * MIB
    os.unlink(os.path.join(folder, "file"))
    sync_file_system(folder)
    images.ploop("balloon", "discard", image)
    assert used() < 5 * MIB

    # Snapshots and growth go on under it.
    write(os.path.join(folder, "kept"), content[:MIB])
    images.ploop("snapshot", image)
    write(os.path.join(folder, "kept"), content[MIB:2 * MIB])
    images.ploop("snapshot-merge", image)
    grown = 0 if may_grow_mounted() else 26
    images.ploop("resize", "-s", "96M", image, status=grown)
    assert size_of(device) == 96 * MIB and size_of(partition) == 94 * MIB

    # The last user takes it away.
    subprocess.run(["umount", folder], check=True)
    assert not backend_of(device)
    images.check()
    folder = mount(images, image)
    assert read(os.path.join(folder, "kept")) == content[MIB:2 * MIB]
    images.ploop("umount", image)
    check_clean(images, image)


def test_death_gives_errors_at_once_and_loses_nothing_that_was_flushed(images):
    image = images.make(size="64M")
    folder = mount(images, image)
    device = images.device(image)[0]
    content = os.urandom(2 * MIB)
    write(os.path.join(folder, "flushed"), content)
    written, failures = [], []

    def writer():
        try:
            while True:
                write(os.path.join(folder, "busy"), content)
                written.append(1)
        except OSError as error:
            failures.append(error.errno)

    thread = threading.Thread(target=writer)
    thread.start()
    wait_for(lambda: len(written) > 1, what="the writer")
    images.kill()
    # Long before the kernel itself would give requests up.
    thread.join(60)
    assert not thread.is_alive(), "a write hangs"
    assert failures[0] in (errno.EIO, errno.EROFS)
    wait_for(lambda: not images.guards(), what="the end of the guard")

    # The image is free at once, and the dead device when its last user goes.
    other = mount(images, image, "other")
    assert images.device(image)[0] != device
    assert read(os.path.join(other, "flushed")) == content
    subprocess.run(["umount", folder], check=True)
    assert not backend_of(device)
    images.ploop("umount", image)
    check_clean(images, image)


def test_device_without_server_and_guard_can_be_taken_away(images):
    image = images.make(size="16M")
    folder = mount(images, image)
    device = images.device(image)[0]
    sync_file_system(folder)
    images.kill(images.guards())
    images.kill()
    with pytest.raises(OSError):
        write(os.path.join(folder, "after"), b"x" * MIB)
    assert backend_of(device) and device in images.ploop("list")
    images.ploop("umount", image)
    assert not backend_of(device)
    images.check()
    check_clean(images, image)
