# SPDX-License-Identifier: BSD-3-Clause
"""A lower that another server has, 1, 5 and 20 ms away: how well reads of it go side by side, and
what a cache on the host is worth."""

import contextlib
import pathlib
import time
from dataclasses import dataclass
from typing import Callable

import fio_workloads
import host
import images
import mount_workloads
import peers
import report

_FAR = "far"  # the server of the lower, asked itself
_COLD, _WARM = "cache-cold", "cache-warm"  # ours, with an empty cache and with a full one
_PEERS = (_FAR, report.OURS, _COLD, _WARM, "cow", "qcow2")
_LARGE_BYTES = 64 * host.MIB
NOTES = (
    "the lower: nbdkit file behind a delay for each read, asked itself by one connection; the "
    "others stand over it",
    "ours has up to 4 connections to it; nbdkit cow stands over nbdkit nbd, and the qcow2 overlay "
    "is backed by the address",
    "an empty cache is measured only where each place is read once",
    "through a mount: nbdfuse and a loop device, with the file system's own reading ahead",
)


# ---- what is measured ----------------------------------------------------------


@dataclass(frozen=True)
class _Workload:
    """Requests to the disk."""

    name: str
    title: str
    delay_ms: int
    block_kib: int
    depth: int
    in_short: bool = False

    unit = "requests/s"
    is_time = False

    @staticmethod
    def is_for(peer):
        return peer != _COLD

    def measure(self, disk, area, settings):
        with peers.served(disk) as server:
            figures = fio_workloads.fio(server, "randread", self.block_kib, area.offset,
                                        area.length, depth=self.depth, seconds=settings.seconds,
                                        loops=True)
        return figures["requests"]


def _read_file(top):
    host.run(["dd", f"if={top / 'large'}", "of=/dev/null", "bs=1M", "status=none"])


def _find(top):
    host.run(["find", top / "tree", "-printf", "%s %p\n"])


@dataclass(frozen=True)
class _MountWorkload:
    """Work in a mounted tree, from a fresh server on."""

    name: str
    title: str
    delay_ms: int
    action: Callable
    in_short: bool = False

    unit = "s"
    is_time = True

    @staticmethod
    def is_for(_):
        return True

    def measure(self, disk, _area, _settings):
        with mount_workloads.mounted_export(disk, read_only=True) as top:
            start = time.monotonic()
            self.action(top)
            return time.monotonic() - start


_WORKLOADS = (
    _Workload("remote-read-32-1ms", "1 ms: 4k random read, 32 at once", 1, 4, 32),
    _Workload("remote-read", "5 ms: 4k random read, one at a time", 5, 4, 1),
    _Workload("remote-read-32", "5 ms: 4k random read, 32 at once", 5, 4, 32, in_short=True),
    _Workload("remote-read-256k", "5 ms: 256k random read, one at a time", 5, 256, 1),
    _Workload("remote-read-256k-32", "5 ms: 256k random read, 32 at once", 5, 256, 32),
    _Workload("remote-read-32-20ms", "20 ms: 4k random read, 32 at once", 20, 4, 32),
    _MountWorkload("remote-file-1ms", "1 ms: a file of 64 MiB, mounted", 1, _read_file),
    _MountWorkload("remote-file", "5 ms: a file of 64 MiB, mounted", 5, _read_file, in_short=True),
    _MountWorkload("remote-file-20ms", "20 ms: a file of 64 MiB, mounted", 20, _read_file),
    _MountWorkload("remote-find", "5 ms: find, mounted", 5, _find, in_short=True),
    _MountWorkload("remote-find-20ms", "20 ms: find, mounted", 20, _find),
)


# ---- disks ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Disk:
    """What peers.served() takes, over an address."""

    peer: str
    directory: pathlib.Path
    lower: str  # a file for the far server, an address for the others
    size_bytes: int
    delay_ms: int = 0  # of the far server

    def make(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.peer == "qcow2":
            host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.lower,
                      self.directory / "overlay.qcow2", self.size_bytes])
        if self.peer == _COLD:
            self._cache.unlink(missing_ok=True)
        return self

    @property
    def _cache(self):
        return self.directory / "cache"

    def command(self, socket, pid_file):
        if self.peer == "qcow2":
            return ["qemu-nbd", "--persistent", "--shared=16", f"--pid-file={pid_file}",
                    f"--socket={socket}", "--format=qcow2", self.directory / "overlay.qcow2"]
        nbdkit = ["nbdkit", "--foreground", "--pidfile", pid_file, "--unix", socket]
        if self.peer == _FAR:
            return [*nbdkit, "-r", "--threads=64", "--filter=delay", "file", self.lower,
                    f"rdelay={self.delay_ms}ms"]
        if self.peer == "cow":
            return [*nbdkit, "--threads=64", "--filter=cow", "nbd", f"uri={self.lower}"]
        cache = [f"cache={self._cache}", "prefetch=off"] if self.peer in (_COLD, _WARM) else []
        return [*nbdkit, "--threads=64", peers.plugin(), self.lower,
                self.directory / "upper.img", f"size={self.size_bytes}", "checkpoint=never",
                *cache]


@contextlib.contextmanager
def _far(directory, lower, size_bytes, delay_ms):
    disk = _Disk(_FAR, directory, lower, size_bytes, delay_ms).make()
    with peers.served(disk) as server:
        yield server


def _make_lower(directory, area, settings):
    """A disk of noise, as the area says, with a tree and a file of a known name in it."""
    content = directory / "content"
    images.make_source_tree(content / "tree", max(settings.file_count // 5, 10))
    images.write_noise(content / "large", min(_LARGE_BYTES, settings.large_file_bytes))
    used = int(host.run(["du", "-sk", content]).split()[0]) * host.KIB
    images.write_noise(content / "noise", area.length + 16 * host.MIB)
    size_bytes = area.disk + used * 2
    lower = images.make_ext2(directory / "lower.img", size_bytes, content,
                             settings.file_count // 2 + 1024)
    images.fill_holes(lower)
    return lower, size_bytes


def _fill(disk, size_bytes):
    """The cache of a disk has all of it."""
    with peers.served(disk) as server:
        fio_workloads.fio(server, "read", 1024, 0, size_bytes // host.MIB * host.MIB)


# ---- all of it -----------------------------------------------------------------


def _values(workload, here, directory, lower, size_bytes, area, settings):
    values = {peer: [] for peer in here if workload.is_for(peer)}
    place = directory / workload.name
    with _far(place / _FAR, lower, size_bytes, workload.delay_ms) as far:
        if _WARM in values:
            settings.progress(f"{workload.title}: filling a cache")
            _fill(_Disk(_WARM, place / _WARM, far.uri, size_bytes).make(), size_bytes)
        for number in range(settings.rounds):
            for peer in report.in_turn(list(values), number):
                settings.progress(f"{workload.title}: round {number + 1}, {peer}")
                # The limit is a second server like the first, so that all begin alike.
                disk = (_Disk(_FAR, place / "asked", lower, size_bytes, workload.delay_ms)
                        if peer == _FAR else _Disk(peer, place / peer, far.uri, size_bytes))
                values[peer].append(workload.measure(disk.make(), area, settings))
    return values


def run_part(directory, settings, missing):
    fio_workloads.require_fio()
    here = [_FAR, report.OURS, _COLD, _WARM]
    here += [peer for peer in peers.present(("file", report.OURS, "cow", "qcow2"), missing)
             if peer in ("cow", "qcow2")]
    area = fio_workloads.Area.of(min(settings.area_bytes, 128 * host.MIB))
    lower, size_bytes = _make_lower(directory, area, settings)
    speeds = []
    for workload in settings.chosen(_WORKLOADS):
        try:
            if workload.is_time:
                host.require_mounts()
        except host.Missing as lack:
            missing[workload.name] = str(lack)
            continue
        values = _values(workload, here, directory, lower, size_bytes, area, settings)
        speeds.append(report.comparison(workload.name, workload.title, workload.unit, values,
                                        limit=_FAR, is_time=workload.is_time))
    return {"comparisons": speeds, "notes": NOTES}
