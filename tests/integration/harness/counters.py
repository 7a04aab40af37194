# SPDX-License-Identifier: LGPL-2.1-or-later
"""Beancounters of containers, set and read as any client does."""

import re

COUNTERS = ("kmemsize lockedpages privvmpages shmpages numproc physpages vmguarpages oomguarpages numtcpsock numflock "
            "numpty numsiginfo tcpsndbuf tcprcvbuf othersockbuf dgramrcvbuf numothersock dcachesize numfile numiptent "
            "swappages").split()
UNLIMITED = 2**63 - 1


def ubc(**limits):
    """Our extension element with these beancounters, each with one value for barrier and limit, or with both."""
    values = {name: value if isinstance(value, tuple) else (value, value) for name, value in limits.items()}
    inner = "".join(f"<vz:{name} barrier='{barrier}' limit='{limit}'/>" for name, (barrier, limit) in values.items())
    return f"<vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'><vz:ubc>{inner}</vz:ubc></vz:container>"


def counters(daemon, name="ct"):
    """domstats --vm, as {counter: {field: value}}."""
    found = {}
    for line in daemon.virsh("domstats", "--vm", name).stdout.splitlines():
        match = re.match(r" *vm\.ubc\.(\w+)\.(\w+)=(.*)", line)
        if match:
            counter, field, value = match.groups()
            found.setdefault(counter, {})[field] = int(value) if value.isdigit() else value
    return found


def set_counters(daemon, inner, *flags, check=True):
    return daemon.virsh("metadata", "ct", "urn:libvirt-vz:domain:1.0", "--key", "vz", "--set",
                        f"<container><ubc>{inner}</ubc></container>", *flags, check=check)
