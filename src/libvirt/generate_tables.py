#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turns layouts/<version>.tsv and access.tsv into C++ tables (called by meson)."""

import argparse
import sys


def rows(path):
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if line and not line.startswith("#"):
                yield number, line.split("\t")


def read_layout(path):
    tables = {"hypervisor": [], "storage": []}
    for number, fields in rows(path):
        driver, index, slot = fields[:3]
        if driver not in tables or int(index) != len(tables[driver]):
            sys.exit(f"{path}:{number}: row out of order: {fields}")
        tables[driver].append(slot)
    return tables


def layout_source(tables, version):
    out = ['#include "libvirt/layout.hpp"', "", "namespace vz::abi::layout {", "", "namespace {"]
    for driver, slots in tables.items():
        out.append(f"constexpr const char* {driver}Slots[] = {{")
        out += [f'    "{slot}",' for slot in slots]
        out.append("};")
    out += ["} // namespace", "", f'const char* version() {{ return "{version}"; }}']
    for driver in tables:
        out.append(f"std::span<const char* const> {driver}() {{ return {driver}Slots; }}")
    out += ["", "} // namespace vz::abi::layout", ""]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["layout", "access"])
    parser.add_argument("layout")
    parser.add_argument("output")
    parser.add_argument("--version", default="")
    options = parser.parse_args()
    tables = read_layout(options.layout)
    text = layout_source(tables, options.version)
    with open(options.output, "w", encoding="utf-8") as output:
        output.write("// Generated; do not edit.\n" + text)


main()
