# SPDX-License-Identifier: BSD-3-Clause
"""The files and the measuring of memory.sh.

memory.py tree DIRECTORY COUNT TEXT             makes COUNT small files
memory.py slope WHAT MOST SMALL LARGE COMMAND   runs the command for both numbers of files
"""

import os
import resource
import sys

FILES_OF_A_DIRECTORY = 250


def make_tree(top, count, text):
    for number in range(count):
        directory = f"{top}/usr/share/part-{number // FILES_OF_A_DIRECTORY:03d}"
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/file-{number:05d}.txt", "w", encoding="ascii") as output:
            output.write(f"{text} {number}\n")


def peak_bytes(command):
    """Of its resident memory, once it has ended well."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)}: status {os.waitstatus_to_exitcode(status)}")
    # Where it begins its peak is this program's.
    if usage.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        raise SystemExit(f"{' '.join(command)}: takes no more than what has started it")
    return usage.ru_maxrss * 1024


def check_slope(what, most, counts, command):
    peaks = []
    for count in counts:
        peaks.append(peak_bytes([word.replace("N", str(count)) if word.endswith(".N") else word
                                 for word in command]))
    slope = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    print(f"{what}: {peaks[0] >> 10} KiB for {counts[0]} files, {peaks[1] >> 10} for {counts[1]}: "
          f"{slope:.0f} bytes for each")
    if slope > most:
        raise SystemExit(f"{what}: {slope:.0f} bytes for each file are more than {most}")


if sys.argv[1] == "tree":
    make_tree(sys.argv[2], int(sys.argv[3]), sys.argv[4])
else:
    check_slope(sys.argv[2], int(sys.argv[3]), [int(word) for word in sys.argv[4:6]], sys.argv[6:])
