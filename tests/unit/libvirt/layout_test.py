#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checked-in order of the driver tables is the installed libvirt's, and the comparison can fail."""

import importlib.machinery
import importlib.util
import sys
import tempfile


def load(path):
    """The tool as a module, so that the library is disassembled once only."""
    loader = importlib.machinery.SourceFileLoader("tool", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tool", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


def altered(lines, change):
    changed = list(lines)
    change(changed)
    return changed


def swap(lines):
    """Two slots with the same prototype change places: no compiler would notice."""
    first, second = (next(i for i, line in enumerate(lines) if f"\t{name}\t" in line)
                     for name in ("domainSuspend", "domainResume"))
    a, b = lines[first].split("\t"), lines[second].split("\t")
    a[2], b[2] = b[2], a[2]
    lines[first], lines[second] = "\t".join(a), "\t".join(b)


def main():
    path, layout = sys.argv[1:]
    tool = load(path)
    rows = tool.installed()
    if tool.compare(rows, layout) != 0:
        return 1
    with open(layout, encoding="utf-8") as file:
        lines = file.readlines()
    for name, change in (("swapped rows", swap), ("a row missing", lambda rows: rows.pop(100)),
                         ("the last row missing", lambda rows: rows.pop())):
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as copy:
            copy.writelines(altered(lines, change))
            copy.flush()
            if tool.compare(rows, copy.name) != 1:
                print(f"{name}: the comparison did not notice")
                return 1
    return 0


sys.exit(main())
