# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images as block devices: mounted, changed while they are, and after the death of what serves them."""

import errno
import fcntl
import hashlib
import os
import stat
import struct
import subprocess
import threading
import zlib

import pytest
from harness import build
from harness.guest import wait_for
from harness.images import TOP, checked, e2fsck, may_grow_mounted, size_of, sync_file_system

pytestmark = pytest.mark.usefixtures("private_mounts")
SNAPSHOT = "{11111111-1111-4111-8111-111111111111}"
MIB = 1 << 20


@pytest.fixture
def images(tmp_path):
    with checked(tmp_path) as made:
        yield made


def write(path, size, seed=0):
    """A file of reproducible bytes, flushed; their hash."""
    data = hashlib.shake_128(str(seed).encode()).digest(size)
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def check_clean(images, image):
    assert "leaked" in images.ploop("check", image)
    images.ploop("mount", image)
    assert e2fsck(images.device(image)[1]) == 0
    images.ploop("umount", image)


@pytest.mark.parametrize("kind", ["expanded", "preallocated", "raw"])
def test_files_outlive_umount(images, kind):
    image = images.make("ct", "48M", "-f", kind)
    folder = images.mount(image)
    written = write(os.path.join(folder, "file"), 8 * MIB)
    device, partition = images.device(image)
    assert images.ploop("list") == f"{device}\t{images.path('ct/root.hds')}\n"
    assert partition == device + "p1"
    # Images in one piece have the kernel's own path to the disk.
    with open(f"/sys/block/{os.path.basename(device)}/loop/backing_file", encoding="utf-8") as file:
        assert (file.read().strip() == images.path("ct/root.hds")) == (kind != "expanded")
    with open(f"/sys/block/{os.path.basename(device)}/loop/dio", encoding="utf-8") as file:
        assert file.read().strip() == "1"
    images.ploop("umount", image)
    images.check()
    assert images.ploop("list") == ""

    folder = images.mount(image, "mnt", "-r")
    assert digest(os.path.join(folder, "file")) == written
    with pytest.raises(OSError) as refused:
        write(os.path.join(folder, "other"), 1)
    assert refused.value.errno == errno.EROFS
    # The mount is all that keeps it.
    subprocess.run(["umount", folder], check=True)
    images.check()
    check_clean(images, image)


def test_second_user_is_refused(images):
    image = images.make(size="16M")
    folder = images.mount(image)
    assert "in use" in images.ploop("mount", "-m", folder, image, status=37)
    assert "in use" in images.ploop("mount", "-r", "-m", folder, image, status=23)
    assert "in use" in images.ploop("snapshot-switch", "-u", TOP, image, status=38)
    # What is in use cannot be deleted from under it.
    refused = subprocess.run([build.ploop(), "snapshot-delete", "-u", TOP, image], env=images.environment(),
                             capture_output=True, text=True, check=False)
    assert refused.returncode and "in use" in refused.stderr + refused.stdout
    write(os.path.join(folder, "file"), MIB)
    qemu = subprocess.run(["qemu-io", "-f", "parallels", "-c", "write 0 4k", images.path("ct/root.hds")],
                          capture_output=True, text=True, check=False)
    assert qemu.returncode != 0 and "lock" in qemu.stderr
    images.ploop("umount", "-m", folder)
    assert "not mounted" in images.ploop("umount", image, status=40)
    assert "not mounted" in images.ploop("umount", "-m", folder, status=40)


def test_umount_of_what_is_in_use_changes_nothing(images):
    image = images.make(size="16M")
    folder = images.mount(image)
    with open(os.path.join(folder, "file"), "w", encoding="utf-8") as file:
        images.ploop("umount", image, status=46)
        file.write("still there")
    with open(os.path.join(folder, "file"), encoding="utf-8") as file:
        assert file.read() == "still there"
    images.ploop("umount", image)


def test_device_without_mount(images):
    image = images.make(size="16M")
    images.ploop("mount", image)
    device, partition = images.device(image)
    assert size_of(device) == 16 * MIB and size_of(partition) == 14 * MIB
    with open(device, "rb") as file:
        file.seek(512)
        assert file.read(8) == b"EFI PART"
        assert "in use" in images.ploop("mount", "-d", device, image, status=37)
    images.ploop("umount", "-d", device)
    images.check()


class Writer(threading.Thread):
    """Writes files, one after the other, each flushed."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.hashes, self.stopped = folder, [], False

    def run(self):
        while not self.stopped:
            number = len(self.hashes)
            self.hashes.append(write(os.path.join(self.folder, f"file{number % 40}"), 300000, number))

    def last_hashes(self):
        """The newest of each file name."""
        return {number % 40: value for number, value in enumerate(self.hashes)}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.join()


def test_snapshots_under_a_writer(images):
    image = images.make(size="96M")
    folder = images.mount(image)
    keep = write(os.path.join(folder, "keep"), 3 * MIB, "keep")
    with Writer(folder) as writer:
        wait_for(lambda: len(writer.hashes) > 5, what="the writer")
        images.ploop("snapshot", "-u", SNAPSHOT, image)
        before = len(writer.hashes)
        wait_for(lambda: len(writer.hashes) > before + 5, what="the writer after a snapshot")
        # What is frozen needs no repair, also where nothing can be written.
        frozen = images.mount(image, "frozen", "-u", SNAPSHOT)
        assert digest(os.path.join(frozen, "keep")) == keep
        assert digest(os.path.join(frozen, "file0")) in writer.hashes
        assert len(os.listdir(frozen)) <= before + 4
        # It is in use, and stays.
        assert "in use" in images.ploop("snapshot-delete", "-u", SNAPSHOT, image, status=23)
        subprocess.run(["umount", frozen], check=True)
        assert "in use as /dev/loop" in images.ploop("check", image)
        wait_for(lambda: len(images.processes()) == 1, what="the end of the snapshot's vz-ploopd")
        images.ploop("snapshot-delete", "-u", SNAPSHOT, image)
        before = len(writer.hashes)
        wait_for(lambda: len(writer.hashes) > before + 5, what="the writer after a merge")
    assert images.ploop("snapshot-list", "-H", image).count("\n") == 1
    sync_file_system(folder)
    with open("/proc/sys/vm/drop_caches", "w", encoding="utf-8") as drop:
        drop.write("1")
    for number, expected in writer.last_hashes().items():
        assert digest(os.path.join(folder, f"file{number}")) == expected
    images.ploop("umount", image)
    check_clean(images, image)


def test_raw_image_has_no_snapshots_while_it_is_on_a_plain_loop_device(images):
    image = images.make("ct", "16M", "-f", "raw")
    folder = images.mount(image)
    assert "plain loop device" in images.ploop("snapshot", image, status=38)
    images.ploop("umount", image)
    images.mount(image, "mnt", "--export", "fuse")
    write(os.path.join(folder, "file"), MIB)
    images.ploop("snapshot", image)
    images.ploop("snapshot-merge", image)
    images.ploop("umount", image)
    check_clean(images, image)


def test_grow_while_mounted(images):
    image = images.make(size="32M")
    folder = images.mount(image)
    written = write(os.path.join(folder, "file"), 5 * MIB)
    blocks = os.statvfs(folder).f_blocks
    device, partition = images.device(image)
    if may_grow_mounted():
        images.ploop("resize", "-s", "96M", image)
        assert os.statvfs(folder).f_blocks > 2 * blocks
    else:
        assert "grow the file system" in images.ploop("resize", "-s", "96M", image, status=26)
    assert size_of(device) == 96 * MIB and size_of(partition) == 94 * MIB
    assert "size:\t\t196608\n" in images.ploop("info", "-s", image)
    assert "made smaller" in images.ploop("resize", "-s", "32M", image, status=38)
    images.ploop("umount", image)
    images.ploop("resize", "-s", "96M", image)
    check_clean(images, image)
    folder = images.mount(image)
    assert os.statvfs(folder).f_blocks > 2 * blocks
    assert digest(os.path.join(folder, "file")) == written
    images.ploop("umount", image)


def write_gpt(device, parts):
    """The first copy of a table (UEFI 2.10, chapter 5) with partitions of Linux: first sector and number of sectors."""
    sectors = size_of(device) // 512
    linux = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
    entries = b"".join(linux + os.urandom(16) + struct.pack("<QQQ72x", first, first + count - 1, 0)
                       for first, count in parts).ljust(128 * 128, b"\0")

    def header(crc):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, 1, sectors - 1, 34, sectors - 34,
                           b"\1" * 16, 2, 128, 128, zlib.crc32(entries))

    with open(device, "r+b") as disk:
        disk.seek(512)
        disk.write(header(zlib.crc32(header(0))).ljust(512, b"\0") + entries)
        os.fsync(disk.fileno())


def test_last_partition_grows_whichever_it_is(images):
    image = images.make("ct", "16M", "-t", "none")
    images.ploop("mount", image)
    device = images.device(image)[0]
    write_gpt(device, [(2048, 8192), (10240, 20480)])
    images.ploop("umount", image)
    images.ploop("mount", image)
    device = images.device(image)[0]
    if not os.path.exists(device + "p2"):  # the kernel need not know such tables
        subprocess.run(["addpart", device, "2", "10240", "20480"], check=True)
    with open(device + "p2", "rb") as user:
        images.ploop("resize", "-s", "32M", image)
        assert user.seek(0, os.SEEK_END) > 24 * MIB
    assert size_of(device + "p1") == 4 * MIB
    images.ploop("umount", image)


def test_smaller_and_larger_when_not_mounted(images):
    image = images.make(size="96M")
    folder = images.mount(image)
    written = write(os.path.join(folder, "file"), 5 * MIB)
    images.ploop("umount", image)
    images.ploop("resize", "-s", "48M", image)
    assert "size:\t\t98304\n" in images.ploop("info", "-s", image)
    check_clean(images, image)
    # Too small for what is in it: all stays as it was.
    images.ploop("resize", "-s", "6M", image, status=26)
    assert "size:\t\t98304\n" in images.ploop("info", "-s", image)
    images.ploop("resize", "-s", "64M", image)
    check_clean(images, image)
    folder = images.mount(image)
    assert digest(os.path.join(folder, "file")) == written
    images.ploop("umount", image)


def test_space_is_given_back(images):
    image = images.make(size="64M")
    folder = images.mount(image)
    used = lambda: os.stat(images.path("ct/root.hds")).st_blocks * 512  # noqa: E731
    empty = used()
    write(os.path.join(folder, "file"), 20 * MIB)
    assert used() > empty + 20 * MIB
    os.unlink(os.path.join(folder, "file"))
    sync_file_system(folder)
    assert "bytes discarded" in images.ploop("balloon", "discard", "--defrag", image)
    assert used() < empty + 4 * MIB
    assert os.stat(images.path("ct/root.hds")).st_size < empty + 8 * MIB
    assert images.ploop("balloon", "show", image) == "Current size of hidden balloon is 0 bytes\n"
    images.ploop("umount", image)
    check_clean(images, image)


def test_death_gives_errors_and_loses_nothing_that_was_flushed(images):
    image = images.make(size="96M")
    folder = images.mount(image)
    writer = Writer(folder)
    failure = []

    def run():
        try:
            writer.run()
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: len(writer.hashes) > 10, what="the writer")
    images.kill()
    thread.join(20)
    assert not thread.is_alive(), "a write hangs"
    assert failure and failure[0].errno in (errno.EIO, errno.EROFS)
    with pytest.raises(OSError):
        write(os.path.join(folder, "after"), MIB)
        sync_file_system(folder)
    # Nobody keeps the dead device from being taken away, and the image from being used.
    assert len(images.ploop("list").splitlines()) == 1
    images.ploop("umount", image)
    images.check()
    assert "was not closed" in images.ploop("check", "-r", image, status=11)
    folder = images.mount(image)
    # The file that was being replaced may be any of its versions.
    last = writer.last_hashes()
    last.pop(len(writer.hashes) % 40, None)
    for number, expected in last.items():
        assert digest(os.path.join(folder, f"file{number}")) == expected
    images.ploop("umount", image)
    check_clean(images, image)


def test_image_whose_server_died_can_be_mounted_beside_the_dead_device(images):
    image = images.make(size="16M")
    folder = images.mount(image)
    write(os.path.join(folder, "file"), 1000)
    images.kill()
    other = images.mount(image, "other")
    assert os.path.getsize(os.path.join(other, "file")) == 1000
    write(os.path.join(other, "second"), 1000)
    subprocess.run(["umount", folder], check=True)
    images.ploop("umount", image)
    check_clean(images, image)


def test_plain_loop_device_outlives_its_server_and_keeps_the_lock(images):
    image = images.make("ct", "16M", "-f", "preallocated")
    folder = images.mount(image)
    images.kill()
    written = write(os.path.join(folder, "file"), MIB)
    assert "in use" in images.ploop("mount", "-m", images.folder, image, status=37)
    qemu = subprocess.run(["qemu-io", "-f", "parallels", "-c", "write 0 4k", images.path("ct/root.hds")],
                          capture_output=True, text=True, check=False)
    assert qemu.returncode != 0 and "lock" in qemu.stderr
    images.ploop("umount", image)
    images.check()
    folder = images.mount(image)
    assert digest(os.path.join(folder, "file")) == written
    images.ploop("umount", image)
    check_clean(images, image)


def test_failed_mount_leaves_nothing(images):
    image = images.make("ct", "16M", "-t", "none")
    folder = images.path("mnt")
    os.mkdir(folder)
    images.ploop("mount", "-m", folder, image, status=21)
    images.check()
    images.ploop("mount", "-u", SNAPSHOT, "-m", folder, image, status=43)
    images.ploop("mount", "-m", images.path("nowhere"), image, status=12)
    images.ploop("mount", "-m", folder, images.path("nowhere/DiskDescriptor.xml"), status=4)
    images.check()


def tree(folder):
    """What a folder holds: owner, mode, kind, links and content of everything in it."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            full = os.path.join(path, name)
            state = os.lstat(full)
            found[os.path.relpath(full, folder)] = (
                state.st_mode, state.st_uid, state.st_gid, state.st_rdev if stat.S_ISCHR(state.st_mode) else 0,
                state.st_nlink if stat.S_ISREG(state.st_mode) else 0,
                {key: os.getxattr(full, key, follow_symlinks=False) for key in os.listxattr(full, follow_symlinks=False)},
                digest(full) if stat.S_ISREG(state.st_mode) else os.readlink(full) if stat.S_ISLNK(state.st_mode) else "")
    return {name: what for name, what in found.items() if name != "lost+found" and not name.startswith(".balloon-")}


@pytest.fixture
def source(images):
    """A folder with everything that is easily lost when it is copied."""
    folder = images.path("source")
    os.makedirs(os.path.join(folder, "sub"))
    write(os.path.join(folder, "file"), 3 * MIB)
    os.link(os.path.join(folder, "file"), os.path.join(folder, "sub/other"))
    os.symlink("/etc/passwd", os.path.join(folder, "link"))
    os.mknod(os.path.join(folder, "null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    write(os.path.join(folder, "sub/owned"), 100)
    os.chown(os.path.join(folder, "sub/owned"), 1234, 70000)
    os.chmod(os.path.join(folder, "sub/owned"), 0o4751)
    os.setxattr(os.path.join(folder, "file"), "user.note", b"kept")
    os.setxattr(os.path.join(folder, "sub/owned"), "security.capability",
                struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    return folder


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_import(images, source, kind):
    image = images.make("ct", "32M")
    given = source
    if kind == "archive":
        given = images.path("source.tar.gz")
        subprocess.run(["tar", "-czf", given, "--xattrs", "--xattrs-include=*", "-C", source, "."], check=True)
    images.ploop("import", given, image)
    images.check()
    folder = images.mount(image, "mnt", "-r")
    assert tree(folder) == tree(source)
    assert "in use" in images.ploop("import", source, image, status=23)
    images.ploop("umount", image)


def test_import_that_does_not_fit(images, source):
    image = images.make("ct", "16M")
    write(os.path.join(source, "large"), 20 * MIB)
    refused = subprocess.run([build.ploop(), "import", source, image], env=images.environment(), capture_output=True,
                             text=True, check=False)
    assert refused.returncode and "No space left" in refused.stderr
    images.check()
    check_clean(images, image)


def test_killed_import_leaves_nothing(images, source):
    image = images.make("ct", "32M")
    fifo = images.path("endless.tar")
    os.mkfifo(fifo)
    with subprocess.Popen([build.ploop(), "import", fifo, image], env=images.environment()) as process:
        with open(fifo, "wb"):  # it is reading now, with the image mounted
            assert images.processes()
            process.kill()
            process.wait()
    images.check()
    images.ploop("import", source, image)


def test_killed_resize_leaves_no_device(images):
    """It attaches the image to work on its file system; whatever it was just doing, the image is free afterwards."""
    image = images.make(size="32M")
    for size in ("64M", "96M", "48M"):
        command = subprocess.Popen([build.ploop(), "resize", "-s", size, image], env=images.environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: images.processes() or command.poll() is not None, what="the device of a resize")  # noqa: B023
        command.kill()
        command.wait()
        images.check()
        images.ploop("resize", "-s", size, image)
        check_clean(images, image)


def test_list_knows_the_files_of_new_snapshots(images):
    image = images.make(size="16M")
    images.mount(image)
    assert images.ploop("list", "-f").count("root.hds") == 1
    images.ploop("snapshot", "-u", SNAPSHOT, image)
    assert images.ploop("list", "-f").count("root.hds") == 2
    images.ploop("snapshot-delete", "-u", SNAPSHOT, image)
    assert images.ploop("list", "-f").count("root.hds") == 1
    images.ploop("umount", image)


def test_mount_in_a_namespace_that_ends(images):
    """What serves the image is not left there alone with the mount, so the device goes by itself."""
    image = images.make(size="32M")
    folder = os.path.join(os.path.dirname(os.path.dirname(image)), "inside")
    os.mkdir(folder)
    subprocess.run(["unshare", "--mount", "--propagation", "private", build.ploop(), "mount", "-m", folder, image],
                   env=images.environment(), check=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: not images.processes(), what="the end of vz-ploopd")
    images.check()
    assert "leaked" in images.ploop("check", image)


def test_connection_that_is_cut_off(images, tmp_path):
    """The administrator of the machine can end any FUSE connection; the device goes with it."""
    image = images.make(size="32M")
    images.ploop("mount", image)
    device = images.device(image)[0]
    with open(device, "rb") as file:
        status = bytearray(232)
        fcntl.ioctl(file, 0x4C05, status)  # LOOP_GET_STATUS64
    connection = os.minor(struct.unpack_from("Q", status)[0])
    control = tmp_path / "fusectl"
    control.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", control], check=True)
    try:
        (control / str(connection) / "abort").write_text("1")
    finally:
        subprocess.run(["umount", control], check=True)
    images.check()  # waits for the end of the device: another process may just be looking at all loop devices
    assert "leaked" in images.ploop("check", image)
