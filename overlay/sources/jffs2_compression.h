// SPDX-License-Identifier: BSD-3-Clause
//
// The compressors of jffs2.  What is compressed comes from an image, so it may say anything.
#ifndef UNIONFS_OVERLAY_SOURCES_JFFS2_COMPRESSION_H
#define UNIONFS_OVERLAY_SOURCES_JFFS2_COMPRESSION_H

#include <cstdint>

#include "fsparse/image.h"

namespace unionfs::jffs2 {

// Whether unpack() knows it: rtime, zlib or LZO.
bool is_known_compression(uint8_t compr);

// Fills `out`.  False, and anything in `out`, if `packed` does not say exactly so many bytes.
bool unpack(uint8_t compr, ConstByteSpan packed, ByteSpan out);

}  // namespace unionfs::jffs2

#endif  // UNIONFS_OVERLAY_SOURCES_JFFS2_COMPRESSION_H
