// SPDX-License-Identifier: BSD-3-Clause
//
// jffs2 images node by node, right or wrong in one thing.
#ifndef UNIONFS_TESTS_UNIT_SOURCES_JFFS2_WRITER_H
#define UNIONFS_TESTS_UNIT_SOURCES_JFFS2_WRITER_H

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "overlay/sources/jffs2_format.h"
#include "tests/unit/support/memory_image.h"

namespace unionfs::testing {

struct Jffs2Dirent {
  uint32_t parent = 1;
  uint32_t version = 1;
  uint32_t inode = 0;
  std::string name;
  uint8_t type = 0;
  uint32_t time = 0;
};

struct Jffs2Inode {
  uint32_t inode = 0;
  uint32_t version = 1;
  uint32_t mode = 0100644;
  uint32_t size = 0;
  uint32_t offset = 0;
  std::string data;        // as it is stored
  uint32_t data_size = 0;  // 0: that of `data`
  uint8_t compression = 0;
  uint16_t owner = 0;
  uint16_t flags = 0;
  uint32_t time = 1000;
};

struct Jffs2Xattr {
  uint32_t xid = 1;
  uint32_t version = 1;
  uint8_t prefix = 1;
  std::string name;
  std::string value;
};

class Jffs2Writer {
 public:
  explicit Jffs2Writer(jffs2::ByteOrder order = jffs2::ByteOrder::kLittle) : order_(order) {}

  // All give the offset of what they append.
  size_t add_name(const Jffs2Dirent& dirent);
  size_t add(const Jffs2Inode& inode);
  size_t add(const Jffs2Xattr& xattr);
  size_t add_xref(uint32_t inode, uint32_t xid, uint32_t number);
  size_t add_node(uint16_t type, std::string_view rest);
  size_t add_bytes(std::string_view bytes);
  // A file with its name in a directory, versions 1.
  void add_file(const std::string& name, const Jffs2Inode& inode, uint32_t parent = 1);

  jffs2::ByteOrder order() const { return order_; }
  std::string& bytes() { return bytes_; }
  std::shared_ptr<MemoryImage> image() const;

 private:
  void put_16(std::string& to, uint16_t number) const;
  void put_32(std::string& to, uint32_t number) const;
  std::string header(uint16_t type, size_t rest_bytes) const;
  size_t append(const std::string& node);

  jffs2::ByteOrder order_;
  std::string bytes_;
};

// Makes the checksums of the nodes right that lie one behind the other from the beginning on,
// as the header's lengths say; over an edited image.
void mend_jffs2(std::string& bytes, jffs2::ByteOrder order);

uint32_t jffs2_checksum(std::string_view bytes);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SOURCES_JFFS2_WRITER_H
