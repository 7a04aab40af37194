# SPDX-License-Identifier: LGPL-2.1-or-later
"""What machines and containers use of the host on the same connection: storage pools, and shared pages (KSM)."""

import os
import re

import pytest

KSM = "/sys/kernel/mm/ksm"


def test_volume_up_and_down(daemon):
    """The stock storage driver, with data through the connection's streams."""
    folder, first, second = (os.path.join(daemon.folder, name) for name in ("pool", "sent", "received"))
    os.mkdir(folder)
    data = os.urandom(3 << 20)
    with open(first, "wb") as file:
        file.write(data)
    daemon.virsh("pool-create-as", "p", "dir", "--target", folder)
    try:
        daemon.virsh("vol-create-as", "p", "v", "4M")
        daemon.virsh("vol-upload", "v", first, "--pool", "p", "--length", str(len(data)))
        daemon.virsh("vol-download", "v", second, "--pool", "p", "--length", str(len(data)))
        with open(second, "rb") as file:
            assert file.read() == data
        daemon.virsh("vol-delete", "v", "--pool", "p")
        assert os.listdir(folder) == []
    finally:
        daemon.virsh("pool-destroy", "p")
        for path in (first, second):
            os.remove(path)
        os.rmdir(folder)


@pytest.mark.skipif(not os.path.isdir(KSM), reason="this kernel has no KSM")
def test_shared_pages(daemon):
    def tuned():
        return dict(re.findall(r"^\s*(shm_\w+)\s+(\d+)", daemon.virsh("node-memory-tune").stdout, re.M))

    with open(f"{KSM}/pages_to_scan", encoding="utf-8") as file:
        pages = file.read().strip()
    assert tuned()["shm_pages_to_scan"] == pages
    # The host's own value: other guests of it are not to notice.
    daemon.virsh("node-memory-tune", "--shm-pages-to-scan", pages)
    assert tuned()["shm_pages_to_scan"] == pages
    refused = daemon.virsh("node-memory-tune", "--shm-pages-to-scan", "0", ro=True, check=False)
    assert refused.returncode and "read only" in refused.stderr
