// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of a jffs2 image, after the kernel's include/uapi/linux/jffs2.h and what fs/jffs2
// does with them.  An image is a row of nodes, each at a multiple of 4 bytes, in the byte order of
// the machine it is for.  Nothing says where a node lies but that it begins with a magic number
// and the right checksum.
#ifndef UNIONFS_OVERLAY_SOURCES_JFFS2_FORMAT_H
#define UNIONFS_OVERLAY_SOURCES_JFFS2_FORMAT_H

#include <array>
#include <bit>
#include <cstdint>

namespace unionfs::jffs2 {

enum class ByteOrder : uint8_t { kLittle, kBig };

// An unsigned number of `kSize` bytes, in either order.
template <typename T>
struct Number {
  std::array<uint8_t, sizeof(T)> bytes;

  T in(ByteOrder order) const {
    T value = 0;
    for (size_t at = 0; at < sizeof(T); ++at) {
      const size_t from = order == ByteOrder::kBig ? at : sizeof(T) - 1 - at;
      value = static_cast<T>(value << 8 | bytes[from]);
    }
    return value;
  }
};
using U16 = Number<uint16_t>;
using U32 = Number<uint32_t>;

constexpr uint16_t kMagic = 0x1985;
constexpr uint32_t kNodeAlignmentBytes = 4;
constexpr uint32_t kErasedWord = 0xffffffff;  // flash that nothing was written to

// ---- nodetype
constexpr uint16_t kAccurate = 0x2000;  // cleared when the node is obsolete
// What to do with a node of an unknown type.
constexpr uint16_t kCompatibilityMask = 0xc000;
constexpr uint16_t kIncompatible = 0xc000;
// These have kAccurate.
constexpr uint16_t kDirent = 0xe001;
constexpr uint16_t kInode = 0xe002;
constexpr uint16_t kCleanMarker = 0x2003;
constexpr uint16_t kPadding = 0x2004;
constexpr uint16_t kSummary = 0x2006;
constexpr uint16_t kXattr = 0xe008;
constexpr uint16_t kXref = 0xe009;

// Checksums are CRC-32 (the polynomial of zlib) that begins with 0 and is not inverted.

struct NodeHeader {
  U16 magic;       //  0
  U16 nodetype;    //  2
  U32 totlen;      //  4  of the node with this header; the next one lies behind it, aligned
  U32 header_crc;  //  8  of the 8 bytes before, as if kAccurate was set
};
static_assert(sizeof(NodeHeader) == 12);

// A name.  The directory with all of its names is nowhere else.
struct RawDirent {
  NodeHeader header;
  U32 pino;                       // 12  inode of the directory
  U32 version;                    // 16  the highest one of a name counts
  U32 ino;                        // 20  0: there is no such name any more
  U32 mctime;                     // 24  of the directory from now on
  uint8_t nsize;                  // 28  bytes of the name
  uint8_t type;                   // 29  DT_REG, ...
  std::array<uint8_t, 2> unused;  // 30
  U32 node_crc;                   // 32  of the 32 bytes before
  U32 name_crc;                   // 36
                                  // 40  the name
};
static_assert(sizeof(RawDirent) == 40);

constexpr uint32_t kRootInode = 1;
// Types of names without an inode.  A deletion is what every kernel writes for unlink; a whiteout
// is one of the union patches (DT_WHT of the C library).
constexpr uint8_t kTypeDeleted = 0;
constexpr uint8_t kTypeWhiteout = 14;

// The state of an inode, with some of its bytes.
struct RawInode {
  NodeHeader header;
  U32 ino;            // 12
  U32 version;        // 16  the highest one counts, for the state and for each byte
  U32 mode;           // 20
  U16 uid;            // 24
  U16 gid;            // 26
  U32 isize;          // 28
  U32 atime;          // 32
  U32 mtime;          // 36
  U32 ctime;          // 40
  U32 offset;         // 44  of the bytes in the file
  U32 csize;          // 48  bytes here
  U32 dsize;          // 52  bytes of the file
  uint8_t compr;      // 56
  uint8_t usercompr;  // 57
  U16 flags;          // 58
  U32 data_crc;       // 60
  U32 node_crc;       // 64  of the 60 bytes before data_crc
                      // 68  the bytes
};
static_assert(sizeof(RawInode) == 68);

// Of `flags`: read at mount time; the compressor was chosen by hand.  Others were never given out.
constexpr uint16_t kKnownFlags = 0x0003;

// ---- compr
constexpr uint8_t kComprNone = 0;
constexpr uint8_t kComprZero = 1;  // a hole
constexpr uint8_t kComprRtime = 2;
constexpr uint8_t kComprZlib = 6;
constexpr uint8_t kComprLzo = 7;

// An attribute, which inodes refer to.
struct RawXattr {
  NodeHeader header;
  U32 xid;           // 12
  U32 version;       // 16  the highest one counts
  uint8_t xprefix;   // 20
  uint8_t name_len;  // 21
  U16 value_len;     // 22
  U32 data_crc;      // 24
  U32 node_crc;      // 28  of the 28 bytes before
                     // 32  the name, a zero byte, the value
};
static_assert(sizeof(RawXattr) == 32);

constexpr uint32_t kXattrDeleted = 0xffffffff;  // as its version

// ---- xprefix
constexpr uint8_t kPrefixUser = 1;
constexpr uint8_t kPrefixSecurity = 2;
constexpr uint8_t kPrefixAclAccess = 3;  // the name says nothing
constexpr uint8_t kPrefixAclDefault = 4;
constexpr uint8_t kPrefixTrusted = 5;

// "This inode has that attribute."
struct RawXref {
  NodeHeader header;
  U32 ino;       // 12
  U32 xid;       // 16
  U32 xseqno;    // 20  the highest one of a pair counts; an odd one says that it is no more
  U32 node_crc;  // 24  of the 24 bytes before
};
static_assert(sizeof(RawXref) == 28);

constexpr uint32_t kXrefDeleted = 1;  // of xseqno

// An ACL is as ext2 has it (fs/jffs2/acl.h), but in the image's byte order.
constexpr uint32_t kAclVersion = 1;

}  // namespace unionfs::jffs2

#endif  // UNIONFS_OVERLAY_SOURCES_JFFS2_FORMAT_H
