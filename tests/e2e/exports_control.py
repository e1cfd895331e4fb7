#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""exports_control.py SOCKET NBD OPENAPI PAGE UPPERS

Asks the control socket of a server of many disks, with checkpoint=never, whose directory UPPERS has
the upper of "closed", a directory "directory.img" and nothing else.  NBD is its other socket.
"""

import json
import pathlib
import sys
import threading
import time

import nbd

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "lib"))
from asked_control import AskedControl

SOCKET, NBD = sys.argv[1:3]
UPPERS = pathlib.Path(sys.argv[5])
control = AskedControl(SOCKET, sys.argv[3], sys.argv[4])
ask, metrics = control.ask, control.metrics
BLOCK = 4096
ODD = 'a "b"\\ + \u00e4'  # a name that is escaped everywhere
ODD_TARGET = "a%20%22b%22%5C+%2B+%c3%a4"


def step(text):
    print(f"== {text}", flush=True)


def connected(name):
    client = nbd.NBD()
    client.set_export_name(name)
    client.connect_unix(NBD)
    return client


def wait_until(is_true):
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def open_exports():
    """{name: what is told of it}"""
    status, info = ask("GET", "/v1/info")
    assert status == 200, info
    assert info["clients"] == sum(of["clients"] for of in info["exports"]), info
    return {of["name"]: of for of in info["exports"]}


def snapshot(name, level):
    return ask("POST", f"/v1/snapshot?export={name}", json.dumps({"name": level}))


def check_nothing_open():
    status, info = ask("GET", "/v1/info")
    assert status == 200 and info["exports"] == [] and info["directory"] == str(UPPERS), info
    assert [level["kind"] for level in info["levels"]] == ["lower"], info
    assert ask("POST", "/v1/flush")[1]["exports"] == 0
    found = metrics()
    assert found["unionfs_exports_open"] == found["unionfs_clients"] == 0, found
    assert not any("export=" in name for name in found), found


def check_mistakes():
    for path, body in (("checkpoint", None), ("snapshot", '{"name": "before"}')):
        status, answer = ask("POST", f"/v1/{path}", body)
        assert status == 400 and "export=NAME" in answer["error"], answer
    for method, path, body in (
        ("GET", "info", None),
        ("POST", "flush", None),
        ("POST", "checkpoint", None),
        ("POST", "snapshot", '{"name": "before"}'),
    ):
        for name, wanted, words in (
            ("none", 404, "there is no export"),
            ("closed", 409, "is not open"),
            ("a%2Fb", 400, "slash"),
            ("", 400, "empty name"),
            ("directory", 400, "is not a regular file"),
        ):
            status, answer = ask(method, f"/v1/{path}?export={name}", body)
            assert status == wanted and words in answer["error"], (path, name, status, answer)
    assert open_exports() == {}


def check_open(anna, odd):
    """What was requested is counted, for each by itself."""
    for i in range(7):
        anna.pwrite(bytes([1]) * BLOCK, i * BLOCK + (8 << 20))
    odd.pread(3 * BLOCK, 0)
    found = open_exports()
    assert list(found) == sorted(found) and set(found) == {"anna", ODD}, found
    assert found["anna"]["has-upper"] and found["anna"]["session"]["written-blocks"] == 7, found
    assert not found[ODD]["has-upper"] and found[ODD]["disk-size"] is None, found
    samples = metrics()
    odd_label = ODD.replace("\\", "\\\\").replace('"', '\\"')

    def of(name, label):
        return samples.get(f'unionfs_export_{name}{{export="{label}"}}')

    assert (of("writes_total", "anna"), of("written_bytes_total", "anna")) == (7, 7 * BLOCK), samples
    assert (of("reads_total", odd_label), of("read_bytes_total", odd_label)) == (1, 3 * BLOCK), samples
    assert (of("reads_total", "anna"), of("writes_total", odd_label)) == (0, 0), samples
    assert (of("session_blocks", "anna"), of("session_blocks", odd_label)) == (7, None), samples
    assert of("upper_disk_bytes", "anna") > 7 * BLOCK and of("upper_disk_bytes", odd_label) is None, samples
    assert of("clients", "anna") == of("clients", odd_label) == 1, samples
    assert samples["unionfs_clients"] == samples["unionfs_exports_open"] == 2, samples
    assert samples['unionfs_requests_total{kind="write"}'] == 7, samples
    assert samples["unionfs_exports_left_out"] == samples["unionfs_exports_failed"] == 0, samples
    info = ask("GET", "/v1/info?export=anna")[1]
    assert info["upper"] == str(UPPERS / "anna.img") and info["clients"] == 1, info
    assert [level["kind"] for level in info["levels"]] == ["lower", "upper"], info
    info = ask("GET", f"/v1/info?export={ODD_TARGET}")[1]
    assert info["upper"] is None and info["disk-size"] is None, info
    assert info["levels"][-1]["path"] is None and info["levels"][-1]["disk-size"] is None, info


def check_flushes():
    assert ask("POST", "/v1/flush?export=anna")[0] == 200
    assert ask("POST", f"/v1/flush?export={ODD_TARGET}")[0] == 200
    assert ask("POST", "/v1/flush")[1]["exports"] == 1
    assert metrics()['unionfs_flushes_total{by="control"}'] == 2


def check_snapshots(anna):
    """While the client writes; the level is no export."""
    is_over, numbers = threading.Event(), [0]

    def write():
        while not is_over.is_set():
            numbers[0] += 1
            anna.pwrite(numbers[0].to_bytes(8, "little") * (BLOCK // 8), 9 << 20)

    thread = threading.Thread(target=write)
    thread.start()
    status, answer = snapshot("anna", "anna.monday")
    assert status == 200 and answer["name"] == "anna.monday", answer
    is_over.set()
    thread.join()
    assert anna.pread(8, 9 << 20) == numbers[0].to_bytes(8, "little")
    info = ask("GET", "/v1/info?export=anna")[1]
    assert [level["kind"] for level in info["levels"]] == ["lower", "frozen", "upper"], info
    assert info["levels"][1]["path"] == str(UPPERS / "anna.monday"), info
    for name, level, wanted, words in (
        ("anna", "anna.monday", 409, "exists already"),
        ("anna", "tuesday.img", 400, "would be an export"),
        ("anna", "tues\\day.img", 400, "would be an export"),
        ("anna", "a/b", 400, "a slash"),
        (ODD_TARGET, "nothing", 409, "nothing was written"),
    ):
        status, answer = snapshot(name, level)
        assert status == wanted and words in answer["error"], (level, status, answer)
    found = metrics()
    assert found['unionfs_snapshots_total{result="made"}'] == 1, found
    assert found["unionfs_snapshot_pause_seconds"] > 0, found
    listed = []
    lister = nbd.NBD()
    lister.set_opt_mode(True)
    lister.connect_unix(NBD)
    lister.opt_list(lambda name, _: listed.append(name))
    lister.opt_abort()
    assert sorted(listed) == ["anna", "closed"], listed


def check_checkpoints(anna):
    status, answer = ask("POST", "/v1/checkpoint?export=anna")
    assert status == 409 and "1 client is connected" in answer["error"], answer
    status, answer = ask("POST", f"/v1/checkpoint?export={ODD_TARGET}")
    assert status == 409 and "nothing was written" in answer["error"], answer
    anna.shutdown()
    wait_until(lambda: open_exports()["anna"]["clients"] == 0)
    status, answer = ask("POST", "/v1/checkpoint?export=anna")
    assert status == 200 and answer["done"] and answer["written-blocks"] > 0, answer
    assert ask("POST", "/v1/checkpoint?export=anna") == (200, {"done": False})
    assert open_exports()["anna"]["checkpoints"] == {"made": 1, "refused": 0}
    assert metrics()['unionfs_checkpoints_total{result="made"}'] == 1


def check_closing(odd):
    """What has no upper is closed with its last client; the server's counters go on."""
    before = metrics()
    odd.shutdown()
    wait_until(lambda: ODD not in open_exports())
    after = metrics()
    assert after["unionfs_exports_open"] == 1 and after["unionfs_clients"] == 0, after
    for name, value in before.items():
        if name.split("{")[0].endswith("_total") and "export=" not in name:
            assert after[name] >= value, (name, value, after[name])


step("nothing is open")
check_nothing_open()
check_mistakes()
step("what is open is told, and counted")
clients = [connected("anna"), connected(ODD)]
check_open(*clients)
check_flushes()
step("snapshots")
check_snapshots(clients[0])
step("checkpoints")
check_checkpoints(clients[0])
step("closing")
check_closing(clients[1])
