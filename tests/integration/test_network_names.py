# SPDX-License-Identifier: LGPL-2.1-or-later
"""Host name and name servers of <vz:network>, in the root as its distribution keeps them."""

import os

import pytest

NAMES = """<vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'><vz:network>
  <vz:hostname>web.example.org</vz:hostname><vz:nameservers>192.0.2.53 2001:db8::53</vz:nameservers>
  <vz:search>example.org example.net</vz:search></vz:network></vz:container>"""
RESOLVER = "search example.org example.net\nnameserver 192.0.2.53\nnameserver 2001:db8::53"
URI = "urn:libvirt-vz:domain:1.0"


def write(guest, path, text):
    os.makedirs(os.path.dirname(guest.path(path)), exist_ok=True)
    with open(guest.path(path), "w", encoding="utf-8") as file:
        file.write(text)


@pytest.mark.host
def test_plain_files(daemon, make_guest):
    guest = make_guest(top=NAMES)
    write(guest, "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 old.example.org old\n10.0.0.1 other\n")
    guest.define().start().ready()
    assert guest.inside("/bin/hostname").strip() == "web.example.org"
    assert guest.read("/etc/hostname") == "web.example.org"
    assert guest.read("/etc/hosts") == "127.0.0.1 localhost\n127.0.1.1\tweb.example.org\tweb\n10.0.0.1 other"
    assert guest.read("/etc/resolv.conf") == RESOLVER
    # As the container's own root would write them.
    owner = os.stat(guest.path("/etc/hostname"))
    assert owner.st_mode & 0o777 == 0o644
    assert guest.inside("/bin/stat", "-c", "%u:%g", "/etc/hostname", "/etc/resolv.conf").split() == ["0:0", "0:0"]
    # Written at each boot: a change inside does not last, nor do files pile up.
    listed = sorted(os.listdir(guest.path("/etc")))
    daemon.virsh("destroy", "ct")
    guest.start()
    assert sorted(os.listdir(guest.path("/etc"))) == listed
    done = daemon.virsh("metadata", "ct", URI, "--key", "vz", "--live", "--set",
                        "<container><network><hostname>new</hostname></network></container>", check=False)
    assert done.returncode and "take effect when a container starts" in done.stderr


def test_without_names_the_root_stays_as_it_is(make_guest):
    guest = make_guest()
    before = sorted(os.listdir(guest.path("/etc")))
    guest.define().start().ready()
    assert sorted(os.listdir(guest.path("/etc"))) == before


def test_resolved_and_red_hat(daemon, make_guest):
    guest = make_guest(top=NAMES)
    write(guest, "/etc/sysconfig/network", "NETWORKING=yes\nHOSTNAME=old\nGATEWAY=192.0.2.1\n")
    os.symlink("../run/systemd/resolve/stub-resolv.conf", guest.path("/etc/resolv.conf"))
    guest.define().start().ready()
    assert guest.read("/etc/sysconfig/network") == "NETWORKING=yes\nHOSTNAME=web.example.org\nGATEWAY=192.0.2.1"
    assert not os.path.exists(guest.path("/etc/hostname"))
    assert os.path.islink(guest.path("/etc/resolv.conf"))
    assert guest.read("/etc/systemd/resolved.conf.d/50-libvirt-vz.conf") == (
        "[Resolve]\nDNS=192.0.2.53 2001:db8::53\nDomains=example.org example.net")


@pytest.mark.host
def test_links_do_not_lead_out(daemon, make_guest, tmp_path):
    """A root whose files are links to the host's: they are replaced, or the start says why not."""
    victim = tmp_path / "victim"
    victim.write_text("127.0.1.1 untouched\n", encoding="utf-8")
    os.chmod(victim, 0o666)
    guest = make_guest(top=NAMES)
    for name in ("hostname", "hosts"):
        if os.path.lexists(guest.path(f"/etc/{name}")):
            os.remove(guest.path(f"/etc/{name}"))
        os.symlink(victim, guest.path(f"/etc/{name}"))
    os.symlink(tmp_path, guest.path("/etc/systemd"))
    guest.define().start().ready()
    daemon.virsh("destroy", "ct")
    os.remove(guest.path("/etc/resolv.conf"))
    os.symlink("/run/systemd/resolve/resolv.conf", guest.path("/etc/resolv.conf"))
    daemon.virsh("start", "ct", check=False)
    daemon.virsh("destroy", "ct", check=False)
    os.remove(guest.path("/etc/resolv.conf"))
    os.symlink("/elsewhere", guest.path("/etc/resolv.conf"))
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode and "/elsewhere" in done.stderr
    assert victim.read_text(encoding="utf-8") == "127.0.1.1 untouched\n"
    assert sorted(os.listdir(tmp_path)) == ["victim"]


def test_bad_names_are_refused(daemon, make_guest):
    for bad in ("<vz:hostname>a b</vz:hostname>", "<vz:hostname>-x</vz:hostname>",
                f"<vz:hostname>{'x' * 65}</vz:hostname>", "<vz:nameservers>10.0.0.300</vz:nameservers>",
                "<vz:search>..</vz:search>", "<vz:anti-spoofing>maybe</vz:anti-spoofing>"):
        guest = make_guest(top=f"<vz:container xmlns:vz='{URI}'><vz:network>{bad}</vz:network></vz:container>")
        done = daemon.virsh("define", guest.file(), check=False)
        assert done.returncode and ("vz-container.rng" in done.stderr or "10.0.0.300" in done.stderr), bad
