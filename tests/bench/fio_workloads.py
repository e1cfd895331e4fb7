# SPDX-License-Identifier: BSD-3-Clause
"""Requests on the served disk, by fio's NBD engine: what a server's way costs.

Client and server share the machine's cores. The disk holds one file of noise; what is
written over it is no file system any more, so our server makes no checkpoints here.
"""

import contextlib
import json
from dataclasses import dataclass

import host
import images
import mount_workloads
import peers
import report

DEPTH = 32
NOTES = (
    "32 requests at once on each connection, but one where each write is flushed",
    "first touch: the flat image of nbdkit file begins as a hole, the others write over the lower",
    "qcow2 has clusters of 64 KiB, and of 4 KiB where every other block is own",
    "the cow filter keeps nothing after its end, and answers a flush at once",
)


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    pattern: str  # fio's rw
    block_kib: int = 4
    # What the disk is before: "lower" (nothing written), "written" (all of it), "mixture"
    # (every other 4 KiB block), "layer" (the same, but ours is a layer made by a checkpoint).
    before: str = "lower"
    # First touches: the flat image begins as a hole, every peer anew in each round.
    touches: bool = False
    fresh: bool = False  # anew in each round, with the flat image a copy of the lower
    connections: int = 1
    flushes: bool = False  # after each write, so one request at a time
    aim: float | None = None  # ours / nbdkit file
    places: tuple = ("tmpfs", "disk")
    cluster_kib: int = 64  # of the qcow2 overlay
    in_short: bool = False

    @property
    def counts_requests(self):
        return self.block_kib < 64

    @property
    def is_read(self):
        return self.pattern in ("read", "randread")

    def aims(self):
        if self.aim is None:
            return {}
        # A flush costs what the host's disk takes, except for cow, which does nothing then.
        return {"file": self.aim, **({} if self.flushes else {"cow": 1.0, "qcow2": 2.0})}


READ, FIRST, AGAIN, MIXTURE, FLUSH = 0.97, 0.85, 0.97, 0.85, 0.8
MIXED = {"before": "mixture", "cluster_kib": 4, "aim": MIXTURE}
TMPFS = ("tmpfs",)

WORKLOADS = (
    Workload("read-lower", "4k random read, lower only", "randread", aim=READ),
    Workload("read-upper", "4k random read, upper only", "randread", before="written", aim=READ),
    Workload("read-mixture", "4k random read, every other block own", "randread", **MIXED,
             in_short=True),
    Workload("read-mixture-256k", "256k read, every other block own", "read", 256, **MIXED),
    Workload("read-layer", "4k random read, the same as a layer", "randread",
             **{**MIXED, "before": "layer"}, places=TMPFS),
    Workload("read-layer-256k", "256k read, the same as a layer", "read", 256,
             **{**MIXED, "before": "layer"}, places=TMPFS, in_short=True),
    Workload("write-first", "4k random write, first touch", "randwrite", touches=True, aim=FIRST,
             in_short=True),
    Workload("write-again", "4k random write, again", "randwrite", before="written", aim=AGAIN),
    Workload("read-256k", "256k sequential read, lower only", "read", 256, aim=READ),
    Workload("write-256k-first", "256k sequential write, first touch", "write", 256,
             touches=True, aim=FIRST),
    Workload("write-256k-again", "256k sequential write, again", "write", 256,
             before="written", aim=AGAIN, places=TMPFS),
    Workload("mixed", "4k random, 70 reads to 30 writes", "randrw", fresh=True, places=TMPFS),
    Workload("flush-first", "4k random write, each flushed, first touch", "randwrite",
             touches=True, flushes=True, aim=FLUSH),
    Workload("flush-again", "4k random write, each flushed, again", "randwrite",
             before="written", flushes=True, aim=FLUSH, in_short=True),
    Workload("read-lower-4", "4k random read, lower only, 4 connections", "randread",
             connections=4, aim=READ, places=TMPFS),
    Workload("read-mixture-4", "4k random read, mixture, 4 connections", "randread",
             connections=4, **MIXED, places=TMPFS),
    Workload("write-first-4", "4k random write, first touch, 4 connections", "randwrite",
             touches=True, connections=4, aim=FIRST, places=TMPFS),
    Workload("write-again-4", "4k random write, again, 4 connections", "randwrite",
             before="written", connections=4, aim=AGAIN, places=TMPFS, in_short=True),
)


@dataclass(frozen=True)
class Area:
    """Where on the disk the data lies that requests go to."""

    offset: int
    length: int
    disk: int

    @staticmethod
    def of(length):
        # Room before it for the tables of the first group, and after it for indirect blocks.
        return Area(16 * host.MIB, length, length + 48 * host.MIB)


def require_fio():
    host.require_programs("fio", "nbdkit", "mke2fs")
    try:
        host.run(["fio", "--enghelp=nbd"])
    except host.Failure as failure:
        raise host.Missing("this fio has no nbd engine") from failure


def fio(server, pattern, block_kib, offset, length, depth=DEPTH, seconds=None, loops=False,
        connections=1, flushes=False, more=()):
    """Runs fio; returns {"requests": per second, "bytes": per second, "request_count": ...,
    "byte_count": ..., "cpu_seconds": of the server}."""
    share = length // connections
    argv = ["fio", "--name=bench", "--ioengine=nbd", f"--uri={server.uri}", f"--rw={pattern}",
            f"--bs={block_kib}k", f"--iodepth={depth}", f"--offset={offset}", f"--size={share}",
            "--rwmixread=70", "--thread", "--group_reporting", "--output-format=json", *more]
    if connections > 1:
        argv += [f"--numjobs={connections}", f"--offset_increment={share}"]
    if seconds is not None:
        argv += [f"--runtime={round(seconds * 1000)}ms"]
    if loops:
        argv += ["--time_based"]
    if flushes:
        argv += ["--fsync=1"]
    cpu_before = server.process.cpu_seconds()
    output = host.run(argv)
    cpu_seconds = server.process.cpu_seconds() - cpu_before
    job = json.loads(output[output.index("{"):])["jobs"][0]
    if job["error"] != 0:
        raise server.process.failure(f"fio failed with error {job['error']}")
    directions = (job["read"], job["write"])
    if sum(direction["total_ios"] for direction in directions) == 0:
        raise host.Failure(f"fio did nothing: {' '.join(map(str, argv))}")
    return {
        "requests": sum(direction["iops"] for direction in directions),
        "bytes": sum(direction["bw_bytes"] for direction in directions),
        "request_count": sum(direction["total_ios"] for direction in directions),
        "byte_count": sum(direction["io_bytes"] for direction in directions),
        "cpu_seconds": cpu_seconds,
    }


def prepare(server, before, area):
    if before == "written":
        fio(server, "write", 256, area.offset, area.length)
    elif before in ("mixture", "layer"):
        # Writes a block and skips one.
        fio(server, "write:4k", 4, area.offset, area.length)


@dataclass(frozen=True)
class Figures:
    speed: float  # requests a second, or MiB
    cost: float  # microseconds of the server's CPU time for one of these


def measure(server, workload, area, seconds):
    figures = fio(
        server, workload.pattern, workload.block_kib, area.offset, area.length,
        depth=1 if workload.flushes else DEPTH, seconds=seconds,
        loops=not (workload.touches or workload.fresh), connections=workload.connections,
        flushes=workload.flushes,
    )
    cpu = figures["cpu_seconds"] * 1e6
    if workload.counts_requests:
        return Figures(figures["requests"], cpu / figures["request_count"])
    return Figures(figures["bytes"] / host.MIB, cpu * host.MIB / figures["byte_count"])


def _disk(peer, workload, directory, lower, area):
    disk = peers.Disk(peer, directory / f"{workload.name}.{peer}", lower, area.disk)
    disk.make(is_empty=workload.touches, cluster_size=workload.cluster_kib * host.KIB)
    return disk


def _values_of_kept(workload, directory, lower, area, here, settings):
    """Servers that stay up for all rounds, each with its disk prepared once."""
    values = {peer: [] for peer in here}
    with contextlib.ExitStack() as stack:
        servers, images_read = {}, [lower]
        for peer in here:
            disk = _disk(peer, workload, directory, lower, area)
            stack.callback(disk.delete)
            if workload.before == "layer" and peer == "ours":
                mount_workloads.make_mixture_layer(disk, "data")
                servers[peer] = stack.enter_context(peers.served(disk))
            else:
                servers[peer] = stack.enter_context(peers.served(disk))
                prepare(servers[peer], workload.before, area)
            images_read += [disk.upper] if disk.upper.exists() else []
        # How images were made decides in what pieces the host has them cached, and what a
        # request costs then. So all begin anew, in the same way.
        host.forget_cached(*images_read)
        for peer in here if workload.is_read else ():
            fio(servers[peer], "read", 256, area.offset, area.length)
        for number in range(settings.rounds):
            for peer in report.in_turn(here, number):
                settings.progress(f"{workload.title}: round {number + 1}, {peer}")
                host.sync(directory)
                values[peer].append(measure(servers[peer], workload, area, settings.seconds))
    return values


def _values_of_fresh(workload, directory, lower, area, here, settings):
    """A disk that nobody has touched, in each round."""
    values = {peer: [] for peer in here}
    for number in range(settings.rounds):
        for peer in report.in_turn(here, number):
            settings.progress(f"{workload.title}: round {number + 1}, {peer}")
            disk = _disk(peer, workload, directory, lower, area)
            try:
                host.sync(directory)
                with peers.served(disk) as server:
                    values[peer].append(measure(server, workload, area, settings.seconds))
            finally:
                disk.delete()
    return values


def run_part(place, directory, settings, missing):
    """All workloads in one place, "tmpfs" or "disk"."""
    require_fio()
    here = peers.present(peers.PEERS, missing)
    area = Area.of(settings.area_bytes if place == "tmpfs" else settings.disk_area_bytes)
    # Lower, and one image each; cow and qcow2 besides.
    needed = 6 * area.disk
    if host.free_bytes(directory) < needed:
        raise host.Missing(f"{directory} has not {needed // host.MIB} MiB left")
    settings.progress("making the lower")
    lower = images.make_data_lower(directory / "lower.img", area.disk, area.disk - 24 * host.MIB)
    images.fill_holes(lower)
    speeds, costs = [], []
    for workload in settings.chosen(WORKLOADS):
        if place not in workload.places:
            continue
        try:
            if workload.before == "layer":
                host.require_mounts()
        except host.Missing as lack:
            missing[workload.name] = str(lack)
            continue
        is_fresh = workload.touches or workload.fresh
        values_of = _values_of_fresh if is_fresh else _values_of_kept
        values = values_of(workload, directory, lower, area, here, settings)
        what = "request" if workload.counts_requests else "MiB"
        speeds.append(report.comparison(
            workload.name, workload.title, "requests/s" if workload.counts_requests else "MiB/s",
            {peer: [figures.speed for figures in values[peer]] for peer in here},
            limit=peers.LIMIT, aims=workload.aims(),
        ))
        costs.append(report.comparison(
            workload.name, workload.title, f"us/{what}",
            {peer: [figures.cost for figures in values[peer]] for peer in here},
            limit=peers.LIMIT, is_time=True,
        ))
    return {"comparisons": speeds, "costs": costs, "notes": NOTES}
