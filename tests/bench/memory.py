# SPDX-License-Identifier: BSD-3-Clause
"""Many tenants: servers over one lower, each with an upper of its own. What they share is
the host's page cache of the lower; what is each server's own is its private memory."""

import contextlib
import statistics

import clients
import host
import images
import peers
import report

_START_AIM_MS = 100
_PRIVATE_AIM_MIB = 8  # "a few"
_WRITTEN = host.MIB
# As the kernel's NBD client sends. nbdkit has a buffer of the largest request in each of its
# threads, which is memory of each server, too.
_REQUEST = 128 * host.KIB


def _cached_bytes(file):
    return int(host.run(["fincore", "--bytes", "--noheadings", "--output", "RES", file]))


def _use(client, length):
    """What every tenant does: reads the same part of the lower, writes a little."""
    for offset in range(0, length, _REQUEST):
        client.pread(_REQUEST, offset)
    for offset in range(length // 2, length // 2 + _WRITTEN, _REQUEST):
        client.pwrite(b"x" * _REQUEST, offset)


def _facts_of_start(name, title, times):
    return [
        report.fact(f"{name}-median", f"{title}, median", "ms", statistics.median(times),
                    at_most=_START_AIM_MS),
        report.fact(f"{name}-slowest", f"{title}, slowest", "ms", max(times),
                    at_most=_START_AIM_MS),
    ]


def _facts_of_memory(servers, count):
    usages = [host.smaps(server.process.pid) for server in servers]
    private = [usage["private"] / host.MIB for usage in usages]
    return [
        report.fact("private-median", "private memory of a server, median", "MiB",
                    statistics.median(private), at_most=_PRIVATE_AIM_MIB),
        report.fact("private-greatest", "private memory of a server, greatest", "MiB",
                    max(private), at_most=_PRIVATE_AIM_MIB),
        report.fact("pss", f"Pss of all {count} servers", "MiB",
                    sum(usage["pss"] for usage in usages) / host.MIB),
        report.fact("rss", f"Rss of all {count}, where shared pages count each time", "MiB",
                    sum(usage["rss"] for usage in usages) / host.MIB),
    ]


def _run_new(disks, lower, length, settings):
    """All servers at once, each making its upper."""
    times, servers = [], []
    available = host.memory_available()
    with contextlib.ExitStack() as stack:
        for number, disk in enumerate(disks):
            settings.progress(f"server {number + 1}")
            seconds, server, client = stack.enter_context(clients.first_answer(disk))
            times.append(seconds * 1000)
            servers.append(server)
            _use(client, length)
            if number == 0:
                cached_by_one = _cached_bytes(lower) / host.MIB
        cached_by_all = _cached_bytes(lower) / host.MIB
        used = max(0, available - host.memory_available()) / host.MIB
        facts = _facts_of_memory(servers, len(disks))
    return [
        *_facts_of_start("start-new", "start to first answer, new upper", times),
        *facts,
        report.fact("cached-by-one", "page cache of the lower, 1 server has read", "MiB",
                    cached_by_one),
        report.fact("cached-by-all", f"page cache of the lower, {len(disks)} have read", "MiB",
                    cached_by_all, at_most=cached_by_one * 1.01 + 1),
        report.fact("available", "the host's available memory fell, for each server", "MiB",
                    used / len(disks)),
    ]


def _fact_of_plain(directory, lower, length):
    """What nbdkit alone takes for the same requests."""
    disk = peers.Disk("file", directory / "plain", lower, lower.stat().st_size)
    disk.make()
    with clients.first_answer(disk) as (_, server, client):
        _use(client, length)
        private = host.smaps(server.process.pid)["private"] / host.MIB
    disk.delete()
    return report.fact("private-file", "private memory of nbdkit file, for comparison", "MiB",
                       private)


def _run_again(disks, settings):
    times = []
    with contextlib.ExitStack() as stack:
        for number, disk in enumerate(disks):
            settings.progress(f"server {number + 1}, again")
            times.append(stack.enter_context(clients.first_answer(disk))[0] * 1000)
    return _facts_of_start("start-again", "start to first answer, upper there", times)


def run_part(directory, settings, missing):
    host.require_programs("nbdkit", "mke2fs", "fincore")
    clients.require_libnbd()
    peers.present(("file", "ours"), missing)
    count = settings.tenant_count
    length = settings.shared_bytes
    settings.progress("making the lower")
    lower = images.make_data_lower(directory / "lower.img", host.GIB, length + 8 * host.MIB)
    host.forget_cached(lower)
    disks = [peers.Disk("ours", directory / f"tenant{number}", lower, 2 * host.GIB)
             for number in range(count)]
    facts = [
        *_run_new(disks, lower, length, settings),
        *_run_again(disks, settings),
        _fact_of_plain(directory, lower, length),
    ]
    notes = [f"{count} servers over one lower of 1 GiB; each client reads the same "
             f"{length // host.MIB} MiB of it and writes {_WRITTEN // host.MIB} MiB"]
    return {"facts": facts, "notes": notes}
