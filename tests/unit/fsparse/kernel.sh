#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: kernel.sh UNIT-FSPARSE
# Runs the tests that mount images, where images can be mounted.
set -euo pipefail

if [ "$(id -u)" -ne 0 ]; then
  echo "SKIP: not root, so no image can be mounted"
  exit 77
fi
work=$(mktemp -d "${TMPDIR:-/var/tmp}/unionfs-kernel.XXXXXX")
trap 'umount "$work/mounted" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/mounted"
mke2fs -q -F -t ext2 "$work/image" 1024 >/dev/null 2>&1
if ! mount -t ext2 -o loop "$work/image" "$work/mounted"; then
  echo "SKIP: this machine does not mount ext2 from a loop device"
  exit 77
fi
umount "$work/mounted"
"$1" '[kernel]'
