# SPDX-License-Identifier: BSD-3-Clause
"""Ten sealed layers below an upper beside one, where both own the same blocks: does the number of
levels cost anything?"""

import os
import shutil
import statistics
import time
from dataclasses import replace

import clients
import fio_workloads
import host
import images
import mount_workloads
import peers
import report

_LEVELS = 10
_BLOCKS, _RUNS = 4 * host.KIB, 64 * host.KIB  # pieces that a layer owns every tenth of
_ONE, _TEN = "one", report.OURS
NOTES = (
    "ours: ten sealed layers, each of which owns every tenth block of a file, or every tenth run "
    "of 64 KiB; beside it one layer that owns all of them; an empty upper over both",
    "open: from the start of nbdkit to the first answer",
    "squash: unionfs-img makes one sealed layer of the ten, with its proof; beside it cp of the ten "
    "files; both durable, in MiB of what the ten take on the disk",
)
_WORKLOADS = {
    _BLOCKS: (
        fio_workloads.Workload("stack-read", "4k random read", "randread"),
        fio_workloads.Workload("stack-read-256k", "256k random read, blocks", "randread", 256,
                               in_short=True),
        fio_workloads.Workload("stack-write-first", "4k random write, first touch", "randwrite",
                               touches=True),
    ),
    _RUNS: (
        fio_workloads.Workload("stack-read-256k-runs", "256k random read, runs", "randread", 256,
                               in_short=True),
    ),
}
_AIM = 0.95


def _write_share(disk, piece_bytes, first, step):
    """Every `step`th piece of the file, from `first` on, through a mount."""
    with mount_workloads.mounted_export(disk) as top:
        piece = os.urandom(piece_bytes)
        with open(top / "data", "r+b", buffering=0) as file:
            size = os.path.getsize(top / "data")
            for offset in range(first * piece_bytes, size, step * piece_bytes):
                os.pwrite(file.fileno(), piece[:size - offset], offset)


def _sealed(disk, piece_bytes, first, step):
    """The disk's upper, with this share, sealed."""
    disk.directory.mkdir(parents=True)
    _write_share(disk, piece_bytes, first, step)
    levels = [option for level in (disk.lower, *disk.levels) for option in ("-b", level)]
    host.run([peers.unionfs_img(), "seal", *levels, disk.upper])
    return disk.upper


def _make_levels(directory, lower, size_bytes, piece_bytes, settings):
    """For both the disk of an upper that is not there yet."""
    def disk(name, levels=()):
        return peers.Disk(report.OURS, directory / name, lower, size_bytes, levels=tuple(levels))

    settings.progress("one layer")
    one = disk(_ONE, [_sealed(disk("one.layer"), piece_bytes, 0, 1)])
    layers = []
    for number in range(_LEVELS):
        settings.progress(f"layer {number + 1} of {_LEVELS}")
        layers.append(
            _sealed(disk(f"layer{number}", layers), piece_bytes, number, _LEVELS))
    return {_ONE: one, _TEN: disk(_TEN, layers)}


def _figures(workload, disks, area, settings):
    values = {peer: [] for peer in disks}
    for number in range(settings.rounds):
        for peer in report.in_turn(list(disks), number):
            settings.progress(f"{workload.title}: round {number + 1}, {peer}")
            shutil.rmtree(disks[peer].directory, ignore_errors=True)
            with peers.served(disks[peer]) as server:
                if workload.is_read:
                    fio_workloads.fio(server, "read", 256, area.offset, area.length)
                values[peer].append(
                    fio_workloads.measure(server, workload, area, settings.seconds))
    return values


def _opens(disks, settings):
    values = {peer: [] for peer in disks}
    for number in range(settings.rounds):
        for peer in report.in_turn(list(disks), number):
            settings.progress(f"open: round {number + 1}, {peer}")
            values[peer].append(clients.open_milliseconds(disks[peer]))
    return values


def _speed(workload, values):
    return report.comparison(
        workload.name, workload.title, "requests/s" if workload.counts_requests else "MiB/s",
        {peer: [figures.speed for figures in values[peer]] for peer in values},
        limit=_ONE, aims={_ONE: _AIM})


def _cost(workload, values):
    what = "request" if workload.counts_requests else "MiB"
    return report.comparison(
        workload.name, workload.title, f"us/{what}",
        {peer: [figures.cost for figures in values[peer]] for peer in values},
        limit=_ONE, is_time=True)


def _squash(disk, directory):
    output = directory / "squashed.layer"
    levels = [option for level in (disk.lower, *disk.levels) for option in ("-b", level)]
    host.run([peers.unionfs_img(), "squash", *levels, output])
    output.unlink()


def _copy(disk, directory):
    place = directory / "copies"
    place.mkdir()
    for number, level in enumerate(disk.levels):
        copy = place / f"copy{number}"
        host.run(["cp", "--sparse=always", "--reflink=never", level, copy])
        host.run(["sync", copy])
    shutil.rmtree(place)


def _squash_facts(disk, directory, settings):
    """Both ways in each round, and who comes first changes."""
    ways = {"squash": _squash, "cp": _copy}
    mib = sum(os.stat(level).st_blocks * 512 for level in disk.levels) / host.MIB
    speeds = {name: [] for name in ways}
    for number in range(settings.rounds):
        for name in report.in_turn(list(ways), number):
            settings.progress(f"{name} of {_LEVELS} layers: round {number + 1}")
            begin = time.monotonic()
            ways[name](disk, directory)
            speeds[name].append(mib / (time.monotonic() - begin))
    titles = {"squash": f"squash of {_LEVELS} layers", "cp": f"cp of the same {_LEVELS} files"}
    return [report.fact(f"stack-{name}", titles[name], "MiB/s", statistics.median(values))
            for name, values in speeds.items()]


def run_part(directory, settings, missing):
    del missing
    fio_workloads.require_fio()
    host.require_mounts()
    clients.require_libnbd()
    area = fio_workloads.Area.of(min(settings.area_bytes, 128 * host.MIB))
    lower = images.make_data_lower(directory / "lower.img", area.disk, area.length)
    disks = {
        piece_bytes: _make_levels(directory / f"{piece_bytes}", lower, area.disk, piece_bytes,
                                  settings)
        for piece_bytes in _WORKLOADS
    }
    # The file's blocks lie behind the tables of the first group, or of the next ones.
    area = replace(area, length=area.length - 16 * host.MIB)
    speeds, costs = [], []
    for piece_bytes, workloads in _WORKLOADS.items():
        for workload in settings.chosen(workloads):
            values = _figures(workload, disks[piece_bytes], area, settings)
            speeds.append(_speed(workload, values))
            costs.append(_cost(workload, values))
    speeds.append(report.comparison("stack-open", "open", "ms", _opens(disks[_BLOCKS], settings),
                                    limit=_ONE, aims={_ONE: _AIM}, is_time=True))
    facts = _squash_facts(disks[_BLOCKS][_TEN], directory, settings)
    return {"comparisons": speeds, "costs": costs, "facts": facts, "notes": NOTES}
