#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two types of one name in one namespace are a program that overwrites memory, and no
compiler says so.  Looks at what stands at the left margin of the sources outside
nameless namespaces, and complains of names that two headers define."""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
DEFINITION = re.compile(
    r"(?:struct|class|enum class) (?:\[\[nodiscard\]\] |UNIONFS_\w+(?:\((?:[^()]|\([^()]*\))*\))? )*"
    r"(\w+)[^;]*$")

places = {}
for folder in ("fsparse", "overlay", "plugin", "tools", "tests/unit"):
    for path in sorted((TOP / folder).rglob("*.h")):
        namespace = []
        for line in path.read_text().splitlines():
            opened = re.match(r"namespace ([\w:]*) ?\{", line)
            if opened:
                namespace.append(opened[1])
            elif re.match(r"\}  // namespace", line) and namespace:
                namespace.pop()
            found = DEFINITION.match(line)
            if found and namespace:
                places.setdefault(("::".join(namespace), found[1]), []).append(path)

complaints = 0
for (namespace, name), paths in sorted(places.items()):
    if len(paths) > 1:
        complaints += 1
        print(f"{namespace}::{name} is defined in " + " and in ".join(
            str(path.relative_to(TOP)) for path in paths))
if len(places) < 100:
    print(f"only {len(places)} types found: is this still awake?")
    complaints += 1
sys.exit(1 if complaints else 0)
