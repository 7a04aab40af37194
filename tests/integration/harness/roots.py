# SPDX-License-Identifier: LGPL-2.1-or-later
"""Root file systems for containers: made once, cloned for each."""

import os
import subprocess

from . import build

MAKE = os.path.join(build.TOP, "tools/make-root")


def cached(kind):
    """The folder of the pristine root of this kind ("debian", "busybox"); never start a container on it."""
    ready = os.path.join("/var/lib/vz-test", kind)  # baked into the image of the host tests
    if os.path.isdir(ready):
        return ready
    folder = os.path.join(build.CACHE, "roots", kind)
    if not os.path.isdir(folder):
        subprocess.run([MAKE, kind, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def clone(kind, target):
    """A root of its own at `target`, for one container."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", cached(kind), target], check=True)
    return target
