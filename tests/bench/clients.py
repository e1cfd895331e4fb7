# SPDX-License-Identifier: BSD-3-Clause
"""Small clients by libnbd: how long a server takes to give its first answer."""

import contextlib
import time

import host
import peers

try:
    import nbd
except ImportError:
    nbd = None


def require_libnbd():
    if nbd is None:
        raise host.Missing("python has no nbd module (package python3-libnbd)")


def connect(server):
    """As soon as the server listens."""
    while True:
        client = nbd.NBD()
        try:
            client.connect_unix(str(server.socket))
            return client
        except nbd.Error:
            if server.process.child.poll() is not None:
                raise server.process.failure("ended before it answered") from None
            time.sleep(0.0005)


@contextlib.contextmanager
def first_answer(disk):
    """Starts a server; yields the seconds until it has answered a first read, the server
    and the client."""
    started = time.monotonic()
    with peers.served(disk, wait=False) as server:
        client = connect(server)
        client.pread(4096, 0)
        elapsed = time.monotonic() - started
        yield elapsed, server, client
        client.shutdown()


def open_milliseconds(disk):
    with first_answer(disk) as (seconds, _, _):
        return seconds * 1000
