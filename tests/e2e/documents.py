#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Holds the documents against the source.

  - links lead to files of the repository
  - `Class::function` and `function()` in backticks exist in the source
  - the tables of docs/format.md give each structure of overlay/upper/upper_format.h, with
    every field's offset and size
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted((TOP / "docs").glob("*.md"))]
HEADER = TOP / "overlay" / "upper" / "upper_format.h"
FORMAT = TOP / "docs" / "format.md"
SOURCES = ("fsparse", "overlay", "plugin", "tools")
FIELD = r"(std::array<\s*(\w+),\s*(\w+)>|\w+) (\w+);"
SIZES = {"char": 1, "uint8_t": 1, "Le16": 2, "Le32": 4, "Le64": 8}

complaints = []


def complain(place, text):
    complaints.append(f"{place.relative_to(TOP)}: {text}")


def check_links():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            if re.match(r"[a-z]+:|#", target):
                continue
            if not (document.parent / target.split("#")[0]).exists():
                complain(document, f"links to {target}, which is not there")


def check_names():
    source = "\n".join(
        path.read_text()
        for folder in SOURCES
        for path in sorted((TOP / folder).rglob("*"))
        if path.suffix in (".h", ".cc")
    )
    words = set(re.findall(r"\w+", source))
    found = 0
    for document in DOCUMENTS:
        for quoted in re.findall(r"`([^`\n]+)`", document.read_text()):
            match = re.fullmatch(r"(?:(\w+)::)?(\w+)(\(\))?", quoted)
            if not match or not (match[1] or match[3]):
                continue
            found += 1
            for name in (match[1], match[2]):
                if name and name not in words:
                    complain(document, f"`{quoted}`: the source has no {name}")
    if found < 20:
        complain(TOP / "README.md", f"only {found} names of functions: is this test still awake?")


def structures_of_header():
    """{structure: [(offset, size, field)]}, and the size of each as a field."""
    text = re.sub(r"//[^\n]*", "", HEADER.read_text())
    structures, sizes = {}, dict(SIZES)
    for name, body in re.findall(r"struct (\w+) \{(.*?)\};", text, re.S):
        fields, offset = [], 0
        for kind, element, count, field in re.findall(FIELD, body):
            size = sizes[element] * int(count, 0) if element else sizes[kind]
            fields.append((offset, size, field))
            offset += size
        structures[name] = fields
        sizes[name] = offset
    return structures


def tables_of_document():
    tables = {}
    for name, body in re.findall(r"^#+ (\w+)\n(.*?)(?=^#|\Z)", FORMAT.read_text(), re.S | re.M):
        rows = re.findall(r"^\| (0x[0-9a-f]+) \| (\d+) \| (\w+) \|", body, re.M)
        if rows:
            tables[name] = [(int(offset, 16), int(size), field) for offset, size, field in rows]
    return tables


def check_tables():
    wanted, found = structures_of_header(), tables_of_document()
    if len(wanted) < 8:
        complain(HEADER, f"only {len(wanted)} structures were understood")
    for name, fields in wanted.items():
        if name not in found:
            complain(FORMAT, f"has no table of {name}")
            continue
        for missing in sorted(set(fields) - set(found[name])):
            complain(FORMAT, f"{name}: should have {missing[2]} at {missing[0]:#x}, {missing[1]} bytes")
        for extra in sorted(set(found[name]) - set(fields)):
            complain(FORMAT, f"{name}: has {extra[2]} at {extra[0]:#x}, {extra[1]} bytes")
    for name in sorted(set(found) - set(wanted)):
        complain(FORMAT, f"has a table of {name}, which the header does not know")


check_links()
check_names()
check_tables()
for line in complaints:
    print(line, file=sys.stderr)
sys.exit(1 if complaints else 0)
