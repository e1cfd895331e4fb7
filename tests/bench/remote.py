# SPDX-License-Identifier: BSD-3-Clause
"""A lower that another server has, 5 ms away: how well reads of it go side by side."""

import contextlib
import pathlib
from dataclasses import dataclass

import fio_workloads
import host
import images
import peers
import report

_DELAY = "5ms"
_FAR = "far"  # the server of the lower, asked itself
_PEERS = (_FAR, report.OURS, "cow", "qcow2")
NOTES = (
    f"the lower: nbdkit file behind a delay of {_DELAY} for each read, asked itself by one "
    "connection; the others stand over it",
    "ours has up to 4 connections to it; nbdkit cow stands over nbdkit nbd, and the qcow2 overlay "
    "is backed by the address",
)


@dataclass(frozen=True)
class _Workload:
    name: str
    title: str
    block_kib: int
    depth: int
    in_short: bool = False


_WORKLOADS = (
    _Workload("remote-read", "4k random read, one at a time", 4, 1),
    _Workload("remote-read-32", "4k random read, 32 at once", 4, 32, in_short=True),
    _Workload("remote-read-256k", "256k random read, one at a time", 256, 1),
    _Workload("remote-read-256k-32", "256k random read, 32 at once", 256, 32),
)


@dataclass(frozen=True)
class _Disk:
    """What peers.served() takes, over an address."""

    peer: str
    directory: pathlib.Path
    lower: str  # a file for the far server, an address for the others
    size_bytes: int

    def make(self):
        self.directory.mkdir(parents=True)
        if self.peer == "qcow2":
            host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.lower,
                      self.directory / "overlay.qcow2", self.size_bytes])
        return self

    def command(self, socket, pid_file):
        if self.peer == "qcow2":
            return ["qemu-nbd", "--persistent", "--shared=16", f"--pid-file={pid_file}",
                    f"--socket={socket}", "--format=qcow2", self.directory / "overlay.qcow2"]
        nbdkit = ["nbdkit", "--foreground", "--pidfile", pid_file, "--unix", socket]
        if self.peer == _FAR:
            return [*nbdkit, "-r", "--threads=64", "--filter=delay", "file", self.lower,
                    f"rdelay={_DELAY}"]
        if self.peer == "cow":
            return [*nbdkit, "--threads=64", "--filter=cow", "nbd", f"uri={self.lower}"]
        return [*nbdkit, "--threads=64", peers.plugin(), self.lower,
                self.directory / "upper.img", f"size={self.size_bytes}", "checkpoint=never"]


def _measure(server, workload, area, settings):
    figures = fio_workloads.fio(server, "randread", workload.block_kib, area.offset, area.length,
                                depth=workload.depth, seconds=settings.seconds, loops=True)
    return figures["requests"]


def run_part(directory, settings, missing):
    fio_workloads.require_fio()
    here = [_FAR, *peers.present(("file", *_PEERS[1:]), missing)[1:]]
    area = fio_workloads.Area.of(min(settings.area_bytes, 128 * host.MIB))
    lower = images.make_data_lower(directory / "lower.img", area.disk, area.disk - 24 * host.MIB)
    images.fill_holes(lower)
    speeds = []
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(
            peers.served(_Disk(_FAR, directory / _FAR, lower, area.disk).make()))
        servers = {_FAR: far}
        for peer in here[1:]:
            disk = _Disk(peer, directory / peer, far.uri, area.disk).make()
            servers[peer] = stack.enter_context(peers.served(disk))
        for workload in settings.chosen(_WORKLOADS):
            values = {peer: [] for peer in here}
            for number in range(settings.rounds):
                for peer in report.in_turn(here, number):
                    settings.progress(f"{workload.title}: round {number + 1}, {peer}")
                    values[peer].append(_measure(servers[peer], workload, area, settings))
            speeds.append(report.comparison(workload.name, workload.title, "requests/s", values,
                                            limit=_FAR))
    return {"comparisons": speeds, "notes": NOTES}
