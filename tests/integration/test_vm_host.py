# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines on a host where KVM works, which a development machine need not be."""

import re
import xml.etree.ElementTree as ET

import pytest
from harness import vm as vms

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
ACCELERATOR = "{urn:libvirt-vz:capabilities:1.0}accelerator"


@pytest.mark.host_only
def test_machine_runs_on_kvm(make_vm, daemon):
    accelerator = ET.fromstring(daemon.virsh("capabilities").stdout).find(f".//{ACCELERATOR}")
    assert accelerator.get("type") == "kvm", accelerator.get("reason")
    vm = make_vm().define().start().ready()
    assert ET.fromstring(vm.live_xml()).get("type") == vms.TYPE
    assert ET.fromstring(daemon.virsh("dumpxml", vm.name, uri="qemu:///system").stdout).get("type") == "kvm"
    assert re.search("kvm support: enabled", vm.virsh("qemu-monitor-command", "--hmp", "info kvm").stdout)
    assert vm.inside("uname -s") == "Linux"
    assert vm.id() > 4194304
