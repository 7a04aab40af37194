#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turns the rows of api_support.tsv that containers do not have into a C++ table (called by meson)."""

import sys


def rows(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                yield line.rstrip("\n").split("\t")


def main():
    support, layout, output = sys.argv[1:]
    apis = {row[2]: row[3] for row in rows(layout) if row[0] == "hypervisor"}
    refused = sorted((row[0], row[2] if len(row) > 2 else "") for row in rows(support) if row[1] in ("later", "never"))
    out = ["// Generated; do not edit.", '#include "driver/refusals.hpp"', "", "#include <algorithm>", "",
           "namespace vz::driver {", "", "static constexpr Refusal refusals[] = {"]
    for slot, words in refused:
        words = words.replace("`", "").replace("\\", "\\\\").replace('"', '\\"')
        out.append(f'    {{"{slot}", "{apis.get(slot, slot)}", "{words}"}},')
    out += ["};", "", "Refusal refusalOf(std::string_view slot) {",
            "    auto* found = std::ranges::lower_bound(refusals, slot, {}, &Refusal::slot);",
            "    return found != std::end(refusals) && found->slot == slot ? *found : Refusal{slot, slot, {}};", "}", "",
            "} // namespace vz::driver", ""]
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(out))


main()
