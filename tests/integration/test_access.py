# SPDX-License-Identifier: LGPL-2.1-or-later
"""Access control: where libvirtd asks polkit about each call, ours are asked about too."""

import libvirt
import pytest
from harness.private_daemon import PrivateDaemon


@pytest.fixture
def asking():
    """A daemon that asks a polkit which is not there: everything that is asked is refused."""
    daemon = PrivateDaemon(settings={"access_drivers": ["polkit"]})
    daemon.start()
    yield daemon
    daemon.close()


def test_nothing_is_allowed_without_an_answer(asking):
    done = asking.virsh("list", "--all", check=False)
    assert done.returncode != 0
    assert "polkit" in done.stderr or "uthenticat" in done.stderr or "denied" in done.stderr


def test_calls_are_refused_with_the_code_for_it(asking):
    with pytest.raises(libvirt.libvirtError) as error:
        connection = asking.connect()
        connection.getCapabilities()
    assert error.value.get_error_code() in (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_ACCESS_DENIED,
                                            libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_AUTH_UNAVAILABLE,
                                            libvirt.VIR_ERR_DBUS_SERVICE, libvirt.VIR_ERR_INTERNAL_ERROR)
