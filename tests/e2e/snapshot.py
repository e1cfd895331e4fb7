#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""snapshot.py write URI FILE | check URI [ACKNOWLEDGED]

The block of the n-th write and its bytes follow from n alone, so a disk shows the first so many writes or
it is wrong.

write: finds how many writes the disk shows and goes on from there until the server is gone. Makes FILE once one was
answered, and prints the last one that was.
check: the disk must show the first so many writes, and all that were answered; prints how many.
"""

import sys

import nbd

BLOCK = 1024
FIRST, COUNT = 1000, 400


def place(number):
    return (number * 7919) % COUNT


def shown(client):
    """How many writes the disk shows."""
    data = client.pread(COUNT * BLOCK, FIRST * BLOCK)
    numbers = []
    for at in range(0, len(data), BLOCK):
        block = data[at:at + BLOCK]
        number = int.from_bytes(block[:8], "little")
        assert block == number.to_bytes(8, "little") * (BLOCK // 8), f"block {at // BLOCK} is torn"
        numbers.append(number)
    most = max(numbers)
    wanted = [0] * COUNT
    for number in range(max(1, most - 2 * COUNT), most + 1):
        wanted[place(number)] = number
    wrong = [i for i in range(COUNT) if numbers[i] != wanted[i]]
    assert not wrong, f"not the first {most} writes: {[(i, numbers[i], wanted[i]) for i in wrong[:5]]}"
    return most


client = nbd.NBD()
client.connect_uri(sys.argv[2])
number = shown(client)
if sys.argv[1] == "check":
    if len(sys.argv) > 3:
        assert number >= int(sys.argv[3]), f"{number} writes, but {sys.argv[3]} were answered"
    print(number)
    client.shutdown()
else:
    first = True
    try:
        while True:
            number += 1
            client.pwrite(number.to_bytes(8, "little") * (BLOCK // 8), (FIRST + place(number)) * BLOCK)
            if first:
                open(sys.argv[3], "w", encoding="ascii").close()
                first = False
    except nbd.Error:
        print(number - 1)
