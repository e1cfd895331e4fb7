#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""control.py SOCKET URI OPENAPI PAGE

Asks the control socket of a disk that is served with checkpoint=never and has no upper yet:

  - each answer is one that the OpenAPI file allows, and each that it names was seen
  - counters are exactly what was requested, and the page names each metric
  - clients that are slow, large or many are cut off, while a reader's requests go on
"""

import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

import nbd

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "lib"))
from asked_control import AskedControl

SOCKET, URI = sys.argv[1:3]
control = AskedControl(SOCKET, sys.argv[3], sys.argv[4])
ask, metrics = control.ask, control.metrics
BLOCK = 1024
# A client that writes when it is told to.
OTHER = f"""
import nbd
client = nbd.NBD()
client.connect_uri({URI!r})
print(flush=True)
input()
try:
    client.pwrite(bytes(512), 0)
except nbd.Error as error:
    print(error.errno)
"""


def requests(kind):
    found = metrics()
    names = [f'unionfs_{name}{{kind="{kind}"}}' for name in
             ("requests_total", "request_errors_total", "request_bytes_total", "request_seconds_count")]
    return tuple(int(found[name]) for name in names)


def step(text):
    print(f"== {text}", flush=True)


def check_before_clients():
    status, info = ask("GET", "/v1/info")
    assert status == 200 and info["clients"] == 0 and info["checkpoint"] == "never", info
    assert info["disk-size"] is None and info["session"]["written-blocks"] is None, info
    lower, upper = info["levels"]
    assert (lower["kind"], lower["path"]) == ("lower", info["lower"]) and lower["disk-size"] > 0, info
    assert (upper["kind"], upper["path"]) == ("upper", info["upper"]) and upper["disk-size"] is None, info
    assert lower["digest"] and not upper["digest"] and upper["merged-size"] == info["merged-size"], info
    found = metrics()
    assert "unionfs_session_blocks" not in found and "unionfs_upper_disk_bytes" not in found
    assert ask("POST", "/v1/checkpoint") == (200, {"done": False})
    assert ask("POST", "/v1/flush")[0] == 200


def check_mistakes():
    assert ask("POST", "/v1/snapshot", '{"name": "../before"}')[0] == 400
    assert ask("GET", "/v1/flush")[0] == 405
    for method, path, body in (
        ("GET", "/v1/info", None),
        ("POST", "/v1/flush", None),
        ("POST", "/v1/checkpoint", None),
        ("POST", "/v1/snapshot", '{"name": "before"}'),
    ):
        assert ask(method, path + "?export=%", body)[0] == 400
        status, answer = ask(method, path + "?export=disk", body)
        assert status == 404 and "one disk" in answer["error"], answer
    assert ask("GET", "/v2/info")[0] == 404


def check_counts(client):
    """N requests of M bytes are N requests and N * M bytes."""
    before = {kind: requests(kind) for kind in ("read", "write", "zero", "trim", "flush", "extents", "cache")}

    def counted(kind, count, errors, length):
        then = before[kind]
        now = requests(kind)
        wanted = (then[0] + count + errors, then[1] + errors, then[2] + count * length, then[3] + count + errors)
        assert now == wanted, f"{kind}: {now} and not {wanted}"

    for i in range(137):
        client.pread(4096, i * 4096)
    counted("read", 137, 0, 4096)
    other = subprocess.Popen([sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    for i in range(41):
        client.pwrite(bytes([i]) * 3000, i * 8192 + (10 << 20))
    client.pwrite(bytes(3000), 10 << 20, nbd.CMD_FLAG_FUA)
    counted("write", 42, 0, 3000)
    for i in range(7):
        client.zero(65536, (12 << 20) + i * 65536)
    counted("zero", 7, 0, 65536)
    for i in range(5):
        client.trim(65536, (14 << 20) + i * 65536)
    counted("trim", 5, 0, 65536)
    for _ in range(3):
        client.flush()
    counted("flush", 3, 0, 0)
    client.cache(1 << 20, 0)
    counted("cache", 1, 0, 1 << 20)
    client.block_status(1 << 20, 0, lambda *_: 0)
    counted("extents", 1, 0, 1 << 20)
    # Another client may not write any more.
    assert ask("GET", "/v1/info")[1]["clients"] == 2
    assert other.communicate(b"\n")[0] == b"EPERM\n"
    counted("write", 42, 1, 3000)
    found = metrics()
    assert found['unionfs_flushes_total{by="client"}'] == 3
    assert found['unionfs_flushes_total{by="fua"}'] == 1
    ask("POST", "/v1/flush")
    assert metrics()['unionfs_flushes_total{by="control"}'] == found['unionfs_flushes_total{by="control"}'] + 1
    buckets = [value for name, value in found.items() if name.startswith('unionfs_request_seconds_bucket{kind="read"')]
    assert buckets == sorted(buckets) and buckets[-1] == requests("read")[0], buckets


def check_gauges(client):
    for i in range(64):
        client.pwrite(bytes([255]) * BLOCK, (15 << 20) + i * BLOCK)
    found, info = metrics(), ask("GET", "/v1/info")[1]
    found = {name: value for name, value in found.items() if "kind" not in name}
    # 3000 bytes at a multiple of 8192 are 3 blocks; what was made zeros takes no room.
    written = 64 + 41 * 3
    blocks = written + (7 + 5) * 65536 // BLOCK
    assert found["unionfs_session_blocks"] == blocks, found
    assert info["session"]["written-blocks"] == blocks and info["block-size"] == BLOCK, info
    assert found["unionfs_session_block_bytes"] == BLOCK, found
    assert found["unionfs_bitmap_pages"] == 1, found
    assert found["unionfs_upper_disk_bytes"] >= written * BLOCK and info["disk-size"] > 0, found
    assert found["unionfs_host_free_bytes"] > 0, found
    assert found["unionfs_disk_size_bytes"] == client.get_size() == info["merged-size"], found
    assert found["unionfs_disk_failed"] == 0 and not info["failed"], found


def check_checkpoint(client):
    wait_until(lambda: metrics()["unionfs_clients"] == 1)  # the other one is just going
    status, answer = ask("POST", "/v1/checkpoint")
    assert status == 409 and "1 client is connected" in answer["error"], answer
    client.shutdown()
    wait_until(lambda: metrics()["unionfs_clients"] == 0)
    status, answer = ask("POST", "/v1/checkpoint")
    assert status == 200 and answer["done"] and answer["written-blocks"] > 0, answer
    found = metrics()
    assert found['unionfs_checkpoints_total{result="made"}'] == 1
    assert ask("POST", "/v1/checkpoint") == (200, {"done": False})
    client = connected()
    assert metrics()["unionfs_session_blocks"] == 0
    # The magic number: this is no file system any more, so it becomes no layer.
    magic = client.pread(2, 1024 + 56)
    client.pwrite(bytes(2), 1024 + 56)
    client.shutdown()
    wait_until(lambda: metrics()["unionfs_clients"] == 0)
    status, answer = ask("POST", "/v1/checkpoint")
    assert status == 500 and "nothing is lost" in answer["error"], answer
    assert metrics()['unionfs_checkpoints_total{result="refused"}'] == 1
    client = connected()
    client.pwrite(magic, 1024 + 56)
    client.shutdown()


def connected():
    client = nbd.NBD()
    client.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    client.connect_uri(URI)
    return client


def wait_until(is_true):
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def hostile(send):
    """Sends until the server has enough, for at most 20 seconds; gives the answer."""
    client = control.connected_socket(20)
    deadline = time.monotonic() + 20
    answer = b""
    try:
        for part in send():
            assert time.monotonic() < deadline, "was not cut off"
            client.sendall(part)
    except BrokenPipeError:
        pass
    try:
        while part := client.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def slow_loris():
    yield b"GET /v1/info HTTP/1.1\r\n"
    while True:
        yield b"A: b\r\n"
        time.sleep(0.2)


def many_headers():
    yield b"GET /v1/info HTTP/1.1\r\nHost: disk\r\n" + b"A: b\r\n" * 200000 + b"\r\n"


def endless_chunks():
    yield b"POST /v1/snapshot HTTP/1.1\r\nHost: disk\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10\r\n0123456789abcdef\r\n"


def garbage():
    yield bytes(range(256)) * 256


def check_hostile():
    """While a reader goes on, and reads what it read before."""
    reader = connected()
    wanted = reader.pread(1 << 20, 0)
    is_over, reads, slowest = threading.Event(), [0], [0.0]

    def read():
        while not is_over.is_set():
            begin = time.monotonic()
            assert reader.pread(1 << 20, 0) == wanted
            slowest[0] = max(slowest[0], time.monotonic() - begin)
            reads[0] += 1

    thread = threading.Thread(target=read)
    thread.start()
    answers = {}
    clients = [threading.Thread(target=lambda send=send: answers.__setitem__(send.__name__, hostile(send)))
               for send in (slow_loris, many_headers, endless_chunks, garbage)]
    idle = []
    for _ in range(100):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(SOCKET)
        except BlockingIOError:
            pass  # the queue is full
        idle.append(client)
    for client in idle:
        client.close()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    is_over.set()
    thread.join()
    for name, status in (("slow_loris", 408), ("many_headers", 431), ("endless_chunks", 411), ("garbage", 400)):
        assert answers[name].startswith(b"HTTP/1.1 %d " % status), (name, answers[name][:200])
    assert reads[0] > 0 and slowest[0] < 5, (reads, slowest)
    assert requests("read")[0] >= reads[0]
    reader.shutdown()
    wait_until(lambda: metrics()["unionfs_clients"] == 0)
    print(f"{reads[0]} reads meanwhile, the slowest took {slowest[0]:.3f} s")


def check_snapshots():
    """A client goes on writing, and each level keeps what was answered before."""
    writer = connected()
    is_over, wrong, writes = threading.Event(), [], [0]

    def write():
        number = 0
        while not is_over.is_set():
            number += 1
            block = number.to_bytes(8, "little") * (BLOCK // 8)
            at = (1000 + number % 500) * BLOCK
            writer.pwrite(block, at)
            if writer.pread(BLOCK, at) != block:
                wrong.append(number)
            if number % 64 == 0:
                writer.flush()
            writes[0] = number

    thread = threading.Thread(target=write)
    thread.start()
    for name in ("level-1", "level-2", "level-3"):
        before = writes[0]
        wait_until(lambda: writes[0] > before + 5)
        status, answer = ask("POST", "/v1/snapshot", json.dumps({"name": name}))
        assert status == 200 and answer["name"] == name, answer
        assert 0 < answer["pause-seconds"] <= answer["flush-wait-seconds"], answer
        before = writes[0]
        wait_until(lambda: writes[0] > before + 5)
    is_over.set()
    thread.join()
    assert not wrong, wrong
    status, answer = ask("POST", "/v1/snapshot", '{"name": "level-1"}')
    assert status == 409 and "exists already" in answer["error"], answer
    info = ask("GET", "/v1/info")[1]
    levels = info["levels"]
    assert [level["kind"] for level in levels] == ["lower", "frozen", "void", "void", "upper"], levels
    assert [pathlib.Path(level["path"]).name for level in levels[1:4]] == ["level-1", "level-2", "level-3"], levels
    assert levels[-1]["written-blocks"] == info["session"]["written-blocks"] > 0, info
    for level in levels[1:4]:
        assert level["written-blocks"] > 0 and level["freeze-id"], levels
        assert (level["own-blocks"] is None) == (level["kind"] == "void"), levels
    assert len({level["digest"] for level in levels}) == 5, levels
    found = metrics()
    assert found['unionfs_snapshots_total{result="made"}'] == 3
    assert found['unionfs_snapshots_total{result="refused"}'] == 1
    assert found["unionfs_snapshot_pause_seconds"] > 0
    writer.shutdown()
    wait_until(lambda: metrics()["unionfs_clients"] == 0)


step("before a client comes")
check_before_clients()
check_mistakes()
client = connected()
step("counters are exact")
check_counts(client)
check_gauges(client)
step("checkpoints")
check_checkpoint(client)
step("hostile clients")
check_hostile()
step("snapshots while a client writes")
check_snapshots()
named = {
    (path, method, status)
    for path, operations in control.openapi["paths"].items()
    for method, operation in operations.items()
    for status in operation["responses"]
    if status not in ("default", "500")
}
assert named <= control.seen, f"never answered: {sorted(named - control.seen)}"
