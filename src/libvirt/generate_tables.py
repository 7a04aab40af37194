#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turns layouts/<version>.tsv and access.tsv into C++ tables (called by meson)."""

import argparse
import sys


OBJECTS = {"connect": "Connect", "domain": "Domain", "pool": "Pool", "vol": "Volume"}


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


def read_access(path, slots):
    """Rows: slot, [filter-]connect|domain|pool|vol|nodedev|none, permission, - | [!]0xFLAGS."""
    rules, filters, seen = [], [], set()
    for number, fields in rows(path):
        if len(fields) != 4:
            sys.exit(f"{path}:{number}: four fields are needed")
        slot, what, permission, flags = fields
        if slot not in slots:
            sys.exit(f"{path}:{number}: no such slot: {slot}")
        seen.add(slot)
        if what in ("none", "nodedev"):  # Node devices are not this driver's to check.
            continue
        into = filters if what.startswith("filter-") else rules
        what = what.removeprefix("filter-")
        unless, value = flags.startswith("!"), 0 if flags == "-" else int(flags.lstrip("!"), 16)
        if what not in OBJECTS:
            sys.exit(f"{path}:{number}: the object is one of {', '.join(OBJECTS)}, not {what}")
        into.append((slot, OBJECTS[what], permission, value, unless))
    missing = [slot for slot in slots if slot not in seen]
    if missing:
        sys.exit(f"{path}: no row for {', '.join(missing)}")
    return rules, filters


def rule_function(name, rules):
    """The rules lie one after the other, sorted by slot, so that those of one slot are one span."""
    rules = sorted(rules, key=lambda rule: rule[0])
    out = [f"constexpr std::string_view {name}Slots[] = {{"]
    out += [f'    "{slot}",' for slot, *_ in rules] + ["};", f"constexpr AccessRule {name}Table[] = {{"]
    for _, what, permission, flags, unless in rules:
        out.append(f'    {{AccessObject::{what}, "{permission}", {flags:#x}, {str(unless).lower()}}},')
    out += ["};", "", f"std::span<const AccessRule> {name}(std::string_view slot) {{",
            # Not std::ranges::equal_range: clang 14, with which the fuzz targets are built, cannot compile it.
            f"    auto [from, to] = std::equal_range(std::begin({name}Slots), std::end({name}Slots), slot);",
            f"    return {{{name}Table + (from - std::begin({name}Slots)), static_cast<size_t>(to - from)}};", "}", ""]
    return out


def access_source(tables, path):
    rules, filters = read_access(path, tables["hypervisor"][1:] + tables["storage"][1:])
    out = ['#include "libvirt/access.hpp"', "", "#include <algorithm>", "#include <iterator>", "", "namespace vz::abi {", ""]
    out += rule_function("accessRules", rules) + rule_function("accessFilters", filters)
    return "\n".join(out + ["} // namespace vz::abi", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["layout", "access"])
    parser.add_argument("layout")
    parser.add_argument("output")
    parser.add_argument("--version", default="")
    parser.add_argument("--access")
    options = parser.parse_args()
    tables = read_layout(options.layout)
    if options.kind == "layout":
        text = layout_source(tables, options.version)
    else:
        text = access_source(tables, options.access)
    with open(options.output, "w", encoding="utf-8") as output:
        output.write("// Generated; do not edit.\n" + text)


main()
