// SPDX-License-Identifier: BSD-3-Clause
//
// An image in memory that can be damaged at will, counts what is read from it,
// and can be told to fail.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_MEMORY_IMAGE_H
#define UNIONFS_TESTS_UNIT_SUPPORT_MEMORY_IMAGE_H

#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fsparse/ext2_format.h"
#include "fsparse/image.h"

namespace unionfs::testing {

// Thread-safe to read, as every Image; not while it is edited.
class MemoryImage : public Image {
 public:
  MemoryImage(std::string name, std::vector<std::byte> bytes)
      : name_(std::move(name)), bytes_(std::move(bytes)) {}
  MemoryImage(const MemoryImage& other)
      : name_(other.name_),
        bytes_(other.bytes_),
        fail_begin_(other.fail_begin_),
        fail_end_(other.fail_end_) {}

  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return bytes_.size(); }

  Result<void> read(uint64_t offset, ByteSpan buffer) const override {
    ++read_count_;
    read_bytes_ += buffer.size();
    if (offset > bytes_.size() || buffer.size() > bytes_.size() - offset) {
      return corrupt("{}: {} bytes at {} are outside the image", name_, buffer.size(), offset);
    }
    if (offset < fail_end_ && offset + buffer.size() > fail_begin_) {
      return system_failure(EIO, fmt::format("{}: read at {}", name_, offset));
    }
    std::memcpy(buffer.data(), bytes_.data() + offset, buffer.size());
    return {};
  }

  // The bytes at `offset` as a structure, to be changed in place.
  template <typename T>
  T& edit(uint64_t offset) {
    static_assert(alignof(T) == 1);
    if (offset + sizeof(T) > bytes_.size()) {
      throw std::out_of_range("edit behind the end of an image");
    }
    return *reinterpret_cast<T*>(bytes_.data() + offset);
  }
  ext2::Superblock& superblock() { return edit<ext2::Superblock>(ext2::kSuperblockOffsetBytes); }
  ByteSpan bytes(uint64_t offset, size_t size_bytes) {
    return ByteSpan(bytes_).subspan(offset, size_bytes);
  }

  void cut(uint64_t size_bytes) { bytes_.resize(size_bytes); }
  // Reads that touch [begin, end) fail from now on.
  void fail(uint64_t begin, uint64_t end) {
    fail_begin_ = begin;
    fail_end_ = end;
  }

  uint64_t read_count() const { return read_count_; }
  uint64_t read_bytes() const { return read_bytes_; }
  void reset_counters() {
    read_count_ = 0;
    read_bytes_ = 0;
  }

 private:
  std::string name_;
  std::vector<std::byte> bytes_;
  uint64_t fail_begin_ = 0;
  uint64_t fail_end_ = 0;
  mutable std::atomic<uint64_t> read_count_ = 0;
  mutable std::atomic<uint64_t> read_bytes_ = 0;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_MEMORY_IMAGE_H
