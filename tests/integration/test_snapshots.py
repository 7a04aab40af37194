# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of containers whose root and data are ploop images: through virsh, and through the C API."""

import os
import re
import signal
import threading
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness.guest import wait_for
from harness.images import Images, own_mounts

VZ = "{urn:libvirt-vz:domain:1.0}"


def filesystem(source, target="/", inner=""):
    return (f"<filesystem type='file'><driver type='ploop' format='ploop'/><source file='{source}'/>"
            f"<target dir='{target}'/>{inner}</filesystem>")


@pytest.fixture(scope="module", autouse=True)
def mounts():
    with own_mounts():
        yield


@pytest.fixture
def images(daemon, tmp_path):
    made = Images(tmp_path, daemon.ploop_folder)
    try:
        yield made
        made.check()
    finally:
        made.close()


class Subject:
    """A container on images, and what is in them."""

    def __init__(self, guest, images):
        self.guest, self.images, self.daemon, self.name = guest, images, guest.daemon, guest.name

    def virsh(self, command, *words, **how):
        return self.daemon.virsh(command, self.name, *words, **how)

    def make(self, name, *words, **how):
        return self.virsh("snapshot-create-as", name, *words, **how)

    def names(self, *words):
        return self.virsh("snapshot-list", "--name", *words).stdout.split()

    def current(self):
        return self.virsh("snapshot-current", "--name").stdout.strip()

    def write(self, text, image="ct", file="mark"):
        """Puts a text into a file of an image that is not in use."""
        folder = self.images.mount(self.images.path(image, "DiskDescriptor.xml"))
        with open(os.path.join(folder, file), "w", encoding="utf-8") as out:
            out.write(text)
        self.images.ploop("umount", self.images.path(image, "DiskDescriptor.xml"))

    def read(self, image="ct", file="mark"):
        """The text in a file of an image that is not in use; None if it is not there."""
        folder = self.images.mount(self.images.path(image, "DiskDescriptor.xml"))
        try:
            with open(os.path.join(folder, file), encoding="utf-8") as text:
                return text.read()
        except FileNotFoundError:
            return None
        finally:
            self.images.ploop("umount", self.images.path(image, "DiskDescriptor.xml"))

    def states(self, image="ct"):
        """GUIDs of the states of an image but for the present one."""
        listed = self.images.ploop("snapshot-list", "-H", "-s", "-o", "uuid", self.images.path(image, "DiskDescriptor.xml"))
        return set(listed.split())

    def guid(self, name):
        return self.xml(name).find(f"{VZ}images").get("guid")

    def xml(self, name):
        return ET.fromstring(self.virsh("snapshot-dumpxml", name).stdout)

    def folder(self):
        return os.path.join(self.daemon.folder, "lib/vz/snapshot", self.guest.uuid)

    def booted(self, times=1):
        def count():
            done = self.daemon.enter(self.name, "/bin/cat", "/boots", check=False)
            return done.returncode == 0 and int(done.stdout or 0) >= times
        wait_for(count, what=f"boot {times} of {self.name}")
        return self

    def inside(self, line):
        return self.guest.inside("/bin/sh", "-c", line)


@pytest.fixture
def subject(images, make_guest):
    """A container with a root on an image, defined."""
    made = make_guest(root=images.make_root(), filesystem=filesystem(images.path("ct"))).define()
    yield Subject(made, images)
    made.daemon.virsh("destroy", made.name, check=False)
    made.daemon.virsh("undefine", made.name, "--snapshots-metadata", check=False)


@pytest.fixture
def pair(images, make_guest):
    """A container with two images."""
    images.make_root()
    images.make("data", "32M")
    folder = images.mount(images.path("data/DiskDescriptor.xml"))
    os.chmod(folder, 0o755)
    images.ploop("umount", images.path("data/DiskDescriptor.xml"))
    made = make_guest(root=images.path("ct"), filesystem=filesystem(images.path("ct")) +
                      filesystem(images.path("data"), "/data")).define()
    yield Subject(made, images)
    made.daemon.virsh("destroy", made.name, check=False)
    made.daemon.virsh("undefine", made.name, "--snapshots-metadata", check=False)


def test_back_and_forth(subject):
    subject.write("zero")
    subject.make("one", "first words")
    subject.write("one")
    subject.make("two")
    subject.write("two")
    assert subject.names() == ["one", "two"] and subject.current() == "two"
    assert subject.states() == {subject.guid("one"), subject.guid("two")}
    subject.virsh("snapshot-revert", "one")
    assert subject.read() == "zero" and subject.current() == "one"
    subject.virsh("snapshot-revert", "two")
    assert subject.read() == "one" and subject.current() == "two"
    subject.virsh("snapshot-revert", "two")
    assert subject.read() == "one"
    assert subject.virsh("snapshot-parent", "two").stdout.strip() == "one"
