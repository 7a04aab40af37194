# SPDX-License-Identifier: LGPL-2.1-or-later
"""Private libvirt daemons, container roots and leak checks for the tests, the quick start and the benchmark."""
