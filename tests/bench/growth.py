# SPDX-License-Identifier: BSD-3-Clause
"""What a read, a write, an opening and a checkpoint cost as the image, the layer and the
session grow; memory and the upper's space beside them."""

import os
from dataclasses import dataclass

import clients
import fio_workloads
import host
import images
import mount_workloads
import peers
import report

_DATA_BYTES = 64 * host.MIB  # of noise in each lower
_READS_FROM = 16 * host.MIB  # an offset well inside that
NOTES = (
    "open and create: from the start of nbdkit to the first answer, with an upper that exists "
    "and one that is made",
    "read and write (first touch): 4 KiB, random, 32 at once, in one place or all over the image",
    "checkpoint: unionfs-img, from its start to its end",
)


@dataclass
class Point:
    """One row: figures of each curve, a value a round."""

    x: float
    figures: dict

    def add(self, curve, value):
        self.figures.setdefault(curve, []).append(value)


def _files_of_session(top, number):
    """A small session: a file of 4 MiB and fifty little ones in a directory."""
    place = top / f"session{number}"
    place.mkdir()
    images.write_noise(place / "large", 4 * host.MIB, seed=number)
    for name in range(50):
        (place / f"small{name}").write_bytes(b"x" * 1000)


def _many_files(top, count):
    for number in range(count):
        if number % 200 == 0:
            directory = top / f"layer{number}"
            directory.mkdir()
        (directory / f"file{number}").write_bytes(b"%d\n" % number * 64)


def _session_of(disk, change, *arguments):
    with mount_workloads.mounted_export(disk) as top:
        change(top, *arguments)


def _microseconds(server, pattern, offset, length, settings, loops):
    more = ("--norandommap", "--random_generator=tausworthe64")
    figures = fio_workloads.fio(server, pattern, 4, offset, length,
                                seconds=settings.seconds / 2, loops=loops,
                                more=more if loops else ())
    return 1e6 / figures["requests"]


def _measure_requests(point, disk, settings, offset, length):
    """Reads where there is something, and first touches: each round in its own place."""
    share = length // settings.rounds // host.MIB * host.MIB
    with peers.served(disk) as server:
        for _ in range(settings.rounds):
            point.add("read", _microseconds(server, "randread", offset, length, settings, True))
        _measure_memory(point, server, "server", disk)
        for number in range(settings.rounds):
            start = offset + number * share
            point.add("write", _microseconds(server, "randwrite", start, share, settings, False))


def _measure_memory(point, server, curve, disk):
    point.add(f"{curve} (private)", host.smaps(server.process.pid)["private"] / host.MIB)
    if curve == "server":
        point.add("upper on disk", os.stat(disk.upper).st_blocks * 512 / host.MIB)


def _measure_opening(point, disk, settings):
    for _ in range(settings.rounds):
        point.add("open", clients.open_milliseconds(disk))


# ---- image -----------------------------------------------------------------------


def _measure_all_over(point, disk, settings):
    with peers.served(disk) as server:
        for _ in range(settings.rounds):
            point.add("read all over", _microseconds(server, "randread", 0, disk.size_bytes,
                                                     settings, True))
        for _ in range(settings.rounds):
            point.add("write all over", _microseconds(server, "randwrite", 0, disk.size_bytes,
                                                      settings, True))
        _measure_memory(point, server, "after writing all over", disk)


def _measure_plain(point, directory, lower, size, settings):
    """nbdkit file over the same image, to hold the growth against."""
    disk = peers.Disk("file", directory / "plain", lower, size, flags=("--readonly",))
    disk.make(is_link=True)
    for _ in range(settings.rounds):
        point.add("nbdkit file: open", clients.open_milliseconds(disk))
    with peers.served(disk) as server:
        for _ in range(settings.rounds):
            point.add("nbdkit file: read", _microseconds(
                server, "randread", _READS_FROM, _DATA_BYTES // 2, settings, True))
        _measure_memory(point, server, "nbdkit file", disk)
    disk.delete()


def _image_point(directory, gibibytes, settings):
    point = Point(gibibytes, {})
    size = gibibytes * host.GIB
    lower = images.make_data_lower(directory / "lower.img", size, _DATA_BYTES,
                                   inode_count=max(4096, size // host.MIB))
    disk = peers.Disk("ours", directory / "ours", lower, size)
    for number in range(settings.rounds):
        disk.make()
        point.add("create", clients.open_milliseconds(disk))
        _session_of(disk, _files_of_session, number)
        point.add("checkpoint", mount_workloads.checkpoint(disk) * 1000)
    _measure_opening(point, disk, settings)
    _measure_requests(point, disk, settings, _READS_FROM, _DATA_BYTES // 2)
    _measure_all_over(point, disk, settings)
    disk.delete()
    _measure_plain(point, directory, lower, size, settings)
    return point


# ---- layer -----------------------------------------------------------------------


def _layer_point(directory, file_count, settings):
    point = Point(file_count, {})
    size = 2 * host.GIB
    lower = images.make_data_lower(directory / "lower.img", size, _DATA_BYTES,
                                   inode_count=file_count + file_count // 100 + 4096)
    disk = peers.Disk("ours", directory / "ours", lower, size)
    disk.make()
    _session_of(disk, _many_files, file_count)
    point.add("checkpoint that makes it", mount_workloads.checkpoint(disk) * 1000)
    for number in range(settings.rounds):
        _session_of(disk, _files_of_session, number)
        point.add("small checkpoint over it", mount_workloads.checkpoint(disk) * 1000)
    _measure_opening(point, disk, settings)
    _measure_requests(point, disk, settings, _READS_FROM, _DATA_BYTES // 2)
    disk.delete()
    return point


# ---- session ---------------------------------------------------------------------


def _one_file(top, size):
    images.write_noise(top / "session", size)


def _session_point(directory, mebibytes, settings):
    point = Point(mebibytes, {})
    session = mebibytes * host.MIB
    size = max(settings.session_sizes) * host.MIB + 2 * host.GIB
    lower = images.make_data_lower(directory / "lower.img", size, _DATA_BYTES, 4096)
    disk = peers.Disk("ours", directory / "ours", lower, size)
    for _ in range(settings.rounds):
        disk.make()
        _session_of(disk, _one_file, session)
        point.add("checkpoint", mount_workloads.checkpoint(disk) * 1000)
    disk.make()
    # Not a file system any more, but a session that has its size.
    with peers.served(disk) as server:
        fio_workloads.fio(server, "write", 256, host.GIB, session)
        for _ in range(settings.rounds):
            point.add("read of the session", _microseconds(
                server, "randread", host.GIB, session, settings, True))
        _measure_memory(point, server, "server", disk)
    _measure_opening(point, disk, settings)
    _measure_requests(point, disk, settings, _READS_FROM, _DATA_BYTES // 2)
    disk.delete()
    return point


# ---- the part --------------------------------------------------------------------

_AXES = (
    ("image", "GiB of image", "image_sizes", _image_point),
    ("layer", "files in the layer", "layer_sizes", _layer_point),
    ("session", "MiB of session", "session_sizes", _session_point),
)

# What is drawn together: title, unit, and the curves by what their names hold.
_GROUPS = (
    ("opening", "ms", ("open", "create")),
    ("requests", "microseconds", ("read", "write")),
    ("checkpoint", "ms", ("checkpoint",)),
    ("space", "MiB", ("private", "upper on disk")),
)


def _group_of(curve):
    if "private" in curve:
        return "space"
    for name, _, words in _GROUPS:
        if any(word in curve for word in words):
            return name
    raise host.Failure(f"no group for {curve}")


def _series_of(axis, label, points):
    found = []
    for group, unit, _ in _GROUPS:
        rows = [
            (point.x, {name: values for name, values in point.figures.items()
                       if _group_of(name) == group})
            for point in points
        ]
        found.append(report.series(f"{axis}-{group}", f"{group} against {label}", label, unit,
                                   rows))
    return found


def run_part(directory, settings, missing):
    fio_workloads.require_fio()
    clients.require_libnbd()
    host.require_mounts()
    peers.present(("file", "ours"), missing)
    needed = max(settings.session_sizes) * host.MIB + 2 * host.GIB
    if host.free_bytes(directory) < needed:
        raise host.Missing(f"{directory} has not {needed // host.MIB} MiB left")
    found = []
    for axis, label, sizes, measure in _AXES:
        points = []
        for number, size in enumerate(getattr(settings, sizes)):
            settings.progress(f"{size} {label}")
            place = directory / f"{axis}{number}"
            place.mkdir()
            points.append(measure(place, size, settings))
            (place / "lower.img").unlink()
        found += _series_of(axis, label, points)
    return {"series": found, "notes": NOTES}
