#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes a text file as a C++ string: embed_schema.py IN OUT."""
import sys

with open(sys.argv[1], encoding="utf-8") as source:
    text = source.read()
with open(sys.argv[2], "w", encoding="utf-8") as out:
    out.write('// Made from xml-schemas/vz-container.rng by embed_schema.py.\n')
    out.write('#include "domain/extension.hpp"\n\n')
    out.write('namespace vz::domain {\n\nconst char* const containerSchema = R"vz(')
    out.write(text)
    out.write(')vz";\n\n} // namespace vz::domain\n')
