# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records the domain events that only virtual machines have."""

import libvirt

from .events import Recorder


class VmRecorder(Recorder):
    """
    Also ("block-job", domain, disk, type, status), ("balloon", domain, kib), ("agent", domain, state, reason),
    ("tunable", domain, settings), ("job-completed", domain, statistics), ("graphics", domain, phase),
    ("threshold", domain, disk, path, threshold), ("tray", domain, alias, reason).
    """

    def __init__(self, daemon):
        super().__init__(daemon)
        add = self._register
        add(libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
            lambda c, dom, disk, kind, status, o: self._add("block-job", dom, disk, kind, status))
        add(libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, lambda c, dom, kib, o: self._add("balloon", dom, kib))
        add(libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
            lambda c, dom, state, reason, o: self._add("agent", dom, state, reason))
        add(libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE, lambda c, dom, params, o: self._add("tunable", dom, params))
        add(libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED,
            lambda c, dom, params, o: self._add("job-completed", dom, params))
        add(libvirt.VIR_DOMAIN_EVENT_ID_GRAPHICS,
            lambda c, dom, phase, local, remote, scheme, subject, o: self._add("graphics", dom, phase))
        add(libvirt.VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD,
            lambda c, dom, disk, path, limit, excess, o: self._add("threshold", dom, disk, path, limit))
        add(libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
            lambda c, dom, alias, reason, o: self._add("tray", dom, alias, reason))
