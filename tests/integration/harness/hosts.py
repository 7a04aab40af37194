# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two private daemons that take each other for two machines: for migration."""

from .private_daemon import PrivateDaemon


class TwoHosts:
    """
    `first` and `second` have a hostname, a host UUID and a network of their own, and a cable between the two networks.
    The file system is the same one: the storage that they share, and the way to the other's socket.
    """

    ADDRESSES = ("10.77.0.1", "10.77.0.2")

    def __init__(self, **settings):
        self.first = PrivateDaemon(own_uts=True, **settings)
        try:
            self.second = PrivateDaemon(own_uts=True, **settings)
        except Exception:
            self.first.close()
            raise
        self.both = (self.first, self.second)

    def start(self):
        for daemon, name in zip(self.both, ("first", "second")):
            daemon.run("hostname", f"vzt-{name}")
        self.first.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable",
                       "netns", self.second.namespace.pid)
        for daemon, address in zip(self.both, self.ADDRESSES):
            daemon.run("ip", "address", "add", f"{address}/24", "dev", "cable")
            daemon.run("ip", "link", "set", "cable", "up")
            daemon.start()
            daemon.virsh("list")
        return self

    def other(self, daemon):
        return self.second if daemon is self.first else self.first

    def address(self, daemon):
        """Its address on the cable."""
        return self.ADDRESSES[self.both.index(daemon)]

    def check(self):
        for daemon in self.both:
            daemon.check()

    def close(self):
        try:
            self.first.close()
        finally:
            self.second.close()
