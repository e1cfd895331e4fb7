# SPDX-License-Identifier: BSD-3-Clause
"""Whether io_uring earns its place: cold reads of a fragmented disk, with the ring and with
preadv alone, on a disk and with a slow lower."""

import contextlib
from dataclasses import dataclass

import fio_workloads
import host
import images
import peers
import report

_SYSTEM_CALL_IO_URING_SETUP = 425
_SYSTEM_CALL_UNUSED = 100_000
_DELAY = "2ms"
PREADV = "preadv"


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    pattern: str
    block_kib: int
    depth: int
    is_slow: bool = False  # the lower answers each read after a delay
    in_short: bool = False


WORKLOADS = (
    Workload("cold-4k", "4k random, 32 at once", "randread", 4, 32),
    Workload("cold-64k", "64k random, one at a time", "randread", 64, 1),
    Workload("cold-256k", "256k random, one at a time", "randread", 256, 1, in_short=True),
    Workload("cold-256k-deep", "256k sequential, 32 at once", "read", 256, 32),
    Workload("slow-4k", "slow lower, 4k random, 32 at once", "randread", 4, 32, is_slow=True),
    Workload("slow-64k", "slow lower, 64k random, one at a time", "randread", 64, 1,
             is_slow=True),
    Workload("slow-256k", "slow lower, 256k random, one at a time", "randread", 256, 1,
             is_slow=True, in_short=True),
)


def _served(disk, lower, mode):
    """A sandbox around the server refuses the ring; with the ring it refuses a call that nobody
    makes, so that it costs the same."""
    refused = _SYSTEM_CALL_IO_URING_SETUP if mode == PREADV else _SYSTEM_CALL_UNUSED
    server = peers.Disk("ours", disk.directory, lower, disk.size_bytes)
    return peers.served(server, refused_system_call=refused)


@contextlib.contextmanager
def slow_lower(directory, lower):
    """The lower as a file whose every read takes a while: nbdkit's delay filter, as a file
    again by nbdfuse. A new one has nothing in its cache."""
    slow = peers.Disk("file", directory / "slow", lower, lower.stat().st_size,
                      flags=("--readonly", "--filter=delay"), parameters=(f"delay-read={_DELAY}",))
    slow.make(is_link=True)
    try:
        with peers.served(slow) as server, host.fuse_file(
            server.socket, slow.directory / "fuse"
        ) as file:
            yield file
    finally:
        slow.delete()


def _measure(workload, disk, mode, area, settings):
    host.forget_cached(disk.lower, disk.upper)
    with contextlib.ExitStack() as stack:
        lower = disk.lower
        if workload.is_slow:
            lower = stack.enter_context(slow_lower(disk.directory, lower))
        server = stack.enter_context(_served(disk, lower, mode))
        # No loops: what was read once is warm.
        figures = fio_workloads.fio(
            server, workload.pattern, workload.block_kib, area.offset, area.length,
            depth=workload.depth, seconds=settings.seconds,
        )
    return figures["bytes"] / host.MIB


def _make_mixture(directory, settings):
    area = fio_workloads.Area.of(settings.disk_area_bytes)
    lower = images.make_data_lower(directory / "lower.img", area.disk, area.disk - 24 * host.MIB)
    disk = peers.Disk("ours", directory / "ours", lower, area.disk)
    disk.make()
    with peers.served(disk) as server:
        fio_workloads.prepare(server, "mixture", area)
    return disk, area


def run_part(directory, settings, missing):
    fio_workloads.require_fio()
    peers.present(("file", "ours"), missing)
    settings.progress("making the mixture")
    disk, area = _make_mixture(directory, settings)
    notes = ["preadv alone: a sandbox (seccomp) refuses the ring", f"slow lower: nbdkit's delay filter, {_DELAY} a read, through nbdfuse",
             "the files' cached pages are dropped before each figure"]
    results = []
    for workload in settings.chosen(WORKLOADS):
        if workload.is_slow:
            try:
                host.require_fuse()
            except host.Missing as lack:
                missing[workload.name] = str(lack)
                continue
        values = {PREADV: [], report.OURS: []}
        for number in range(settings.rounds):
            for mode in report.in_turn([PREADV, report.OURS], number):
                settings.progress(f"{workload.title}: round {number + 1}, {mode}")
                values[mode].append(_measure(workload, disk, mode, area, settings))
        results.append(report.comparison(workload.name, workload.title, "MiB/s", values,
                                         limit=PREADV, aims={PREADV: 1.0}))
    return {"comparisons": results, "notes": notes}
