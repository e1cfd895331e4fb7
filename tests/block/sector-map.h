// SPDX-License-Identifier: BSD-3-Clause
//
// For every sector of a disk, the contents it may have. Nearly always there is one; a trim, or a
// write of which nobody knows whether it happened, makes it several, and what is read later strikes
// out those that do not fit.

#ifndef TESTS_BLOCK_SECTOR_MAP_H
#define TESTS_BLOCK_SECTOR_MAP_H

#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "content.h"

namespace blocktest {

enum class ChangeKind : std::uint8_t {
  write,  // stamped bytes
  zero,   // zeros, however they were asked for
  trim,   // each sector keeps what it had, or has zeros in the trimmed part
};

// One change to a byte range, at any alignment.
struct Change {
  ChangeKind kind = ChangeKind::write;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t sequence = 0;

  std::uint64_t end_bytes() const { return offset_bytes + length_bytes; }
  std::uint64_t first_sector() const { return offset_bytes / sector_size_bytes; }
  std::uint64_t end_sector() const {
    return (end_bytes() + sector_size_bytes - 1) / sector_size_bytes;
  }
};

// What the disk held before the first change: a file, with zeros behind its end. Read-only; shared
// by copies of a map.
class InitialContent {
 public:
  explicit InitialContent(const std::string& path);
  ~InitialContent();
  InitialContent(const InitialContent&) = delete;
  InitialContent& operator=(const InitialContent&) = delete;

  void read(std::uint64_t offset_bytes, std::span<std::uint8_t> out) const;

 private:
  int descriptor_ = -1;
};

// A byte that no allowed content has in its place.
struct Mismatch {
  std::uint64_t sector = 0;
  std::uint64_t offset_bytes = 0;
  std::string text;
};

// Copyable: a copy is an independent map over the same initial content. Not thread-safe.
class SectorMap {
 public:
  SectorMap(std::shared_ptr<const InitialContent> initial, std::uint64_t seed);

  // What the sectors of the change hold afterwards. With `maybe` they may also hold what they held
  // before.
  void apply(const Change& change, bool maybe);

  // Adds to what each sector in the range may hold everything that it may hold in the other map.
  void allow_also(const SectorMap& other, std::uint64_t first_sector, std::uint64_t end_sector);

  // Compares bytes that were read with what is allowed, and strikes out what they rule out.
  std::optional<Mismatch> check(std::uint64_t offset_bytes, std::span<const std::uint8_t> bytes);

  // The number of contents a sector may have; 1 when it is known.
  std::size_t content_count(std::uint64_t sector) const;

  // Byte offsets of the chunks in which anything was changed, ascending, each chunk_size_bytes long
  // (the disk may end inside the last).
  std::vector<std::uint64_t> changed_chunks() const;

  static constexpr std::uint32_t sectors_per_chunk = 128;
  static constexpr std::uint32_t chunk_size_bytes = sectors_per_chunk * sector_size_bytes;

  void save(std::FILE* file) const;
  void load(std::FILE* file);

 private:
  // A word is one content: one of the names below, or the sequence number of the write that stamped
  // the sector.
  static constexpr std::uint64_t initial_word = 0;
  static constexpr std::uint64_t zero_word = 1;
  static constexpr std::uint64_t bytes_word = 2;    // a mixture, kept byte by byte
  static constexpr std::uint64_t several_word = 3;  // only in a chunk: look in mixed_

  struct Content {
    std::uint64_t word = initial_word;
    std::shared_ptr<const SectorBytes> bytes;  // of bytes_word only
  };
  using Contents = std::vector<Content>;
  using Chunk = std::array<std::uint64_t, sectors_per_chunk>;

  Contents contents_of(std::uint64_t sector) const;
  void set_contents(std::uint64_t sector, Contents contents);
  SectorBytes materialize(std::uint64_t sector, const Content& content) const;
  Content changed(std::uint64_t sector, const Content& before, const Change& change) const;
  std::optional<Mismatch> check_sector(std::uint64_t sector, std::uint32_t begin,
                                       std::span<const std::uint8_t> bytes);
  Mismatch describe(std::uint64_t sector, std::uint32_t begin, std::span<const std::uint8_t> bytes,
                    const Contents& allowed) const;
  std::string name_of(std::uint64_t sector, std::uint32_t begin,
                      std::span<const std::uint8_t> bytes) const;
  static void add(Contents& contents, const Content& content);

  std::shared_ptr<const InitialContent> initial_;
  std::uint64_t seed_;
  std::map<std::uint64_t, Chunk> chunks_;
  std::unordered_map<std::uint64_t, Contents> mixed_;
};

}  // namespace blocktest

#endif
