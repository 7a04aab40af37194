#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes a text file as a C++ string: embed_schema.py IN OUT HEADER NAMESPACE NAME."""
import os
import sys

source_path, out_path, header, namespace, name = sys.argv[1:]
with open(source_path, encoding="utf-8") as source:
    text = source.read()
with open(out_path, "w", encoding="utf-8") as out:
    out.write(f'// Made from xml-schemas/{os.path.basename(source_path)} by embed_schema.py.\n')
    out.write(f'#include "{header}"\n\n')
    out.write(f'namespace {namespace} {{\n\nconst char* const {name} = R"vz(')
    out.write(text)
    out.write(f')vz";\n\n}} // namespace {namespace}\n')
