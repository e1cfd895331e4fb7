#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""count-tests.py LOG.json...

Sums up meson's test logs.  Prints why tests were skipped, which ones failed, and
last the counts alone on a line.  Fails if a test failed or there was none.
"""

import json
import os
import sys

PASSED = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP"}


def reason_of(test):
    """What the test said before it gave up: its last line that begins with SKIP."""
    said = (test.get("stderr") or "") + "\n" + (test.get("stdout") or "")
    reasons = [line for line in said.splitlines() if line.startswith("SKIP")]
    return reasons[-1].removeprefix("SKIP:").strip() if reasons else "gave no reason"


def main():
    passed, failed, skipped = 0, [], []
    for path in sys.argv[1:]:
        build = os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(path))))
        with open(path, encoding="utf-8") as log:
            tests = [json.loads(line) for line in log if line.strip()]
        for test in tests:
            title = f"{build}: {test['name']}"
            if test["result"] in PASSED:
                passed += 1
            elif test["result"] in SKIPPED:
                skipped.append(f"{title}: {reason_of(test)}")
            else:
                failed.append(f"{title}: {test['result']}")
    print()
    for line in skipped:
        print(f"skipped: {line}")
    for line in failed:
        print(f"failed:  {line}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
