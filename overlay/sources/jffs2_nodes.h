// SPDX-License-Identifier: BSD-3-Clause
//
// All nodes of a jffs2 image that count: those whose checksums are right.  What they mean
// together is in jffs2_source.cc.
#ifndef UNIONFS_OVERLAY_SOURCES_JFFS2_NODES_H
#define UNIONFS_OVERLAY_SOURCES_JFFS2_NODES_H

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fsparse/image.h"
#include "overlay/host/log.h"
#include "overlay/sources/jffs2_format.h"

namespace unionfs::jffs2 {

// The newest dirent of a name.
struct NewestName {
  uint32_t version = 0;
  uint32_t inode = 0;  // 0: a deletion, or what `type` says
  uint8_t type = 0;
  uint64_t place = 0;  // of the node in the image, in bytes
};

struct DirectoryNodes {
  std::map<std::string, NewestName, std::less<>> names;  // deletions among them
  // The time that the newest dirent gives the directory, and its version, which is one of the
  // directory's inode nodes and dirents together.  0: none.
  uint32_t time_version = 0;
  uint32_t time = 0;
};

struct InodeNode {
  uint64_t place = 0;  // of the node in the image, in bytes; the data lie behind its head
  uint32_t version = 0;
  uint32_t mode = 0;
  uint16_t user_id = 0;
  uint16_t group_id = 0;
  uint32_t size_bytes = 0;  // of the file
  uint32_t accessed = 0;    // seconds since 1970
  uint32_t modified = 0;
  uint32_t changed = 0;
  uint32_t offset = 0;  // of the data in the file
  uint32_t packed_bytes = 0;
  uint32_t data_bytes = 0;
  uint8_t compression = 0;
  uint16_t flags = 0;

  uint64_t data_place() const { return place + sizeof(RawInode); }
};

struct XattrNode {
  uint32_t version = 0;
  uint8_t prefix = 0;
  std::string name;
  std::vector<std::byte> value;
};

// A value.
struct Nodes {
  ByteOrder order = ByteOrder::kLittle;
  std::unordered_map<uint32_t, DirectoryNodes> directories;     // by inode
  std::unordered_map<uint32_t, std::vector<InodeNode>> inodes;  // by inode; ascending versions
  std::unordered_map<uint32_t, XattrNode> xattrs;               // by xid; the newest
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> xrefs;      // by inode and xid: newest xseqno
};

// The byte order of the first node with a right header.  None: there is no node within the
// first megabyte of the image that is not erased.
Result<std::optional<ByteOrder>> find_byte_order(const Image& image);

// Reads all of the image once.  Memory follows the nodes that count.  kInvalid: none does;
// kUnsupported: one that a kernel would not pass over either.
Result<Nodes> read_nodes(const Image& image, const LogSink& notes);

}  // namespace unionfs::jffs2

#endif  // UNIONFS_OVERLAY_SOURCES_JFFS2_NODES_H
