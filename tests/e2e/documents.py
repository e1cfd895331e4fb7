#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Holds the documents against the source.

  - links lead to files of the repository, and to headings that are there
  - `Class::function` and `function()` in backticks exist in the source: that class has that
    function
  - the tables of docs/format.md give each structure of overlay/upper/upper_format.h, with
    every field's offset and size
  - the bytes that docs/format.md shows are those of the golden upper
"""

import lzma
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").glob("*.md"))]
HEADER = TOP / "overlay" / "upper" / "upper_format.h"
FORMAT = TOP / "docs" / "format.md"
GOLDEN = TOP / "tests" / "golden" / "v2-layer.img.xz"
SOURCES = ("fsparse", "overlay", "plugin", "tools")
FIELD = r"(std::array<\s*(\w+),\s*(\w+)>|\w+) (\w+);"
SIZES = {"char": 1, "uint8_t": 1, "Le16": 2, "Le32": 4, "Le64": 8}

complaints = []


def complain(place, text):
    complaints.append(f"{place.relative_to(TOP)}: {text}")


def anchors_of(document):
    """What a link may name behind "#", for each heading."""
    anchors = set()
    for heading in re.findall(r"^#+ (.*)$", document.read_text(), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchors.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return anchors


def check_links():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            place = document.parent / name if name else document
            if not place.exists():
                complain(document, f"links to {target}, which is not there")
            elif anchor and place.suffix == ".md" and anchor not in anchors_of(place):
                complain(document, f"links to {target}, and there is no such heading")


def members_by_class(source):
    """{class: the names of functions in its body or defined behind it}"""
    members = {}
    for name, body in re.findall(
        r"^ *(?:class|struct) (?:\[\[\w+\]\] )?(?:\w+\([^)]*\) )?(\w+)[^;{]*\{(.*?)^ *\};", source, re.S | re.M
    ):
        members.setdefault(name, set()).update(re.findall(r"(\w+)\(", body))
    for name, function in re.findall(r"(\w+)::(\w+)\(", source):
        members.setdefault(name, set()).add(function)
    return members


def check_names():
    source = "\n".join(
        path.read_text()
        for folder in SOURCES
        for path in sorted((TOP / folder).rglob("*"))
        if path.suffix in (".h", ".cc")
    )
    members = members_by_class(source)
    functions = set(re.findall(r"(\w+)\(", source))
    found = 0
    for document in DOCUMENTS:
        for quoted in re.findall(r"`([^`\n]+)`", document.read_text()):
            match = re.fullmatch(r"(?:(\w+)::)?(\w+)(\(\))?", quoted)
            if not match or not (match[1] or match[3]):
                continue
            found += 1
            if match[2] not in (members.get(match[1], ()) if match[1] else functions):
                complain(document, f"`{quoted}` is not in the source")
    if found < 20:
        complain(TOP / "HACKING.md", f"only {found} names of functions: is this test still awake?")


def structures_of_header():
    """{structure: [(offset, size, field)]}, and the size of each as a field."""
    text = re.sub(r"//[^\n]*", "", HEADER.read_text())
    structures, sizes = {}, dict(SIZES)
    for name, element, count in re.findall(r"using (\w+) = std::array<(\w+), (\w+)>;", text):
        sizes[name] = sizes[element] * int(count, 0)
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


def check_bytes():
    upper = lzma.open(GOLDEN).read()
    lines = re.findall(r"^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?)+)$", FORMAT.read_text(), re.M)
    if len(lines) < 30:
        complain(FORMAT, f"only {len(lines)} lines of bytes: is this test still awake?")
    for place, digits in lines:
        wanted, offset = bytes.fromhex(digits), int(place, 16)
        found = upper[offset : offset + len(wanted)]
        if wanted != found:
            complain(FORMAT, f"{place}: says {wanted.hex(' ')}, but the upper has {found.hex(' ')}")


check_links()
check_names()
check_bytes()
check_tables()
for line in complaints:
    print(line, file=sys.stderr)
sys.exit(1 if complaints else 0)
