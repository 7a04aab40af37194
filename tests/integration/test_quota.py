# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a container's root folder may hold."""

import os
import re
import subprocess

import pytest
from harness import roots

from test_resources import config, refused

URI = "urn:libvirt-vz:domain:1.0"
MIB = 1 << 20


def quota(space=None, inodes=None, soft=None):
    soft = f" soft='{soft}'" if soft else ""
    inner = f"<vz:space hard='{space}'{soft}/>" if space is not None else ""
    inner += f"<vz:inodes hard='{inodes}'/>" if inodes is not None else ""
    return f"<vz:container xmlns:vz='{URI}'><vz:quota>{inner}</vz:quota></vz:container>"


def set_quota(daemon, inner, *flags, check=True):
    return daemon.virsh("metadata", "ct", URI, "--key", "vz", *(flags or ("--live",)), "--set",
                        f"<container><quota>{inner}</quota></container>", check=check)


@pytest.mark.host
def test_a_file_system_without_project_quota_is_refused(daemon, make_guest):
    guest = make_guest(top=quota(space=64 * MIB)).define()
    text = refused(daemon, "start", "ct")
    assert "project quota" in text and "prjquota" in text
    assert guest.state().startswith("shut off")
    guest.define(top="").start().ready()
    before = guest.live_xml()
    assert "project quota" in set_quota(daemon, f"<space hard='{MIB}'/>", check=False).stderr
    assert guest.live_xml() == before


@pytest.mark.parametrize("inner", ["<space/>", "<space hard='-1'/>", "<space hard='much'/>", "<files hard='1'/>"])
def test_bad_quotas_are_refused(daemon, guest, inner):
    before = config(guest)
    refusal = set_quota(daemon, inner, "--config", check=False)
    assert refusal.returncode and "quota" in refusal.stderr or "space" in refusal.stderr
    assert config(guest) == before


@pytest.fixture
def file_system(daemon, tmp_path):
    """A folder on an ext4 with project quota."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(256 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", image], check=True)
    subprocess.run(["mount", "-o", "loop,prjquota", image, folder], check=True)
    os.chmod(tmp_path, 0o755)
    try:
        yield str(folder)
    finally:
        daemon.virsh("destroy", "ct", check=False)
        subprocess.run(["umount", folder], check=True)


@pytest.mark.host_only
def test_a_quota_holds_and_is_changed_live(daemon, make_guest, file_system):
    root = roots.clone("busybox", os.path.join(file_system, "ct"))
    guest = make_guest(root=root, top=quota(space=32 * MIB, inodes=200)).define().start().ready()

    def write(mib):
        """What a command inside says that writes that much."""
        return guest.inside("/bin/sh", "-c", f"rm -f /big; head -c {mib * MIB} /dev/zero >/big; wc -c </big", check=False)

    assert int(write(16).split()[-1]) == 16 * MIB
    assert int(write(64).split()[-1]) < 32 * MIB
    # The container sees what it may have as the size of its file system.
    size = re.search(r"^\S+ +(\d+) ", guest.inside("/bin/busybox", "df", "-k", "/").splitlines()[-1])
    assert int(size.group(1)) == 32 * 1024
    set_quota(daemon, f"<space hard='{80 * MIB}'/>", "--live", "--config")
    assert int(write(64).split()[-1]) == 64 * MIB
    assert f"<vz:space hard='{80 * MIB}'/>" in config(guest) and "<vz:inodes hard='200'/>" in config(guest)
    guest.inside("/bin/rm", "/big")
    made = guest.inside("/bin/sh", "-c", "mkdir /many; i=0; while [ $i -lt 250 ] && (: >/many/$i) 2>/dev/null; "
                        "do i=$((i+1)); done; echo $i", check=False)
    assert 0 < int(made.split()[-1]) < 200
    # Others on the same file system are not meant.
    with open(os.path.join(file_system, "other"), "wb") as file:
        file.write(bytes(100 * MIB))
    os.unlink(os.path.join(file_system, "other"))
    # Without the element there is none, also after a start.
    daemon.virsh("destroy", "ct")
    guest.define(top="").start().ready()
    assert int(write(100).split()[-1]) == 100 * MIB
