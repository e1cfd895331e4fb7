// SPDX-License-Identifier: BSD-3-Clause
//
// Tar archives, which an input describes: its entries, pax records among them, with any byte of
// their headers changed and the sums made right.  Read as trees and as layers.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>

#include "fsparse/ext2_format.h"
#include "overlay/sources/byte_stream.h"
#include "overlay/sources/directory_source.h"
#include "overlay/sources/tar_source.h"
#include "tests/fuzz/support/invariant.h"

namespace unionfs::fuzzing {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kSumOffset = 148;
constexpr size_t kMostEntries = 64;
constexpr std::string_view kTypes = "00000115551234674xxxxxxgLKSDAV\0Z";
constexpr std::array<std::string_view, 20> kPaxKeys = {"path",
                                                       "linkpath",
                                                       "size",
                                                       "uid",
                                                       "mtime",
                                                       "hdrcharset",
                                                       "SCHILY.acl.access",
                                                       "SCHILY.acl.default",
                                                       "SCHILY.xattr.user.a",
                                                       "SCHILY.xattr.trusted.overlay.opaque",
                                                       "SCHILY.xattr.system.posix_acl_access",
                                                       "SCHILY.fflags",
                                                       "SCHILY.realsize",
                                                       "LIBARCHIVE.xattr.user.a",
                                                       "GNU.sparse.map",
                                                       "GNU.sparse.size",
                                                       "GNU.sparse.major",
                                                       "GNU.sparse.minor",
                                                       "GNU.sparse.realsize",
                                                       "GNU.sparse.name"};

class InputBytes {
 public:
  InputBytes(const uint8_t* data, size_t size) : bytes_(data, size) {}

  bool is_at_end() const { return bytes_.empty(); }
  uint8_t next() {
    if (bytes_.empty()) {
      return 0;
    }
    const uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }
  std::string text(size_t most) {
    const size_t length = std::min<size_t>(next() % (most + 1), bytes_.size());
    std::string text(reinterpret_cast<const char*>(bytes_.data()), length);
    bytes_ = bytes_.subspan(length);
    return text;
  }

 private:
  std::span<const uint8_t> bytes_;
};

std::string octal(uint64_t number, size_t width) {
  return fmt::format("{:0{}o}", number, width - 1) + '\0';
}

std::string pax_records(InputBytes& input) {
  std::string records;
  for (int count = input.next() % 4; count >= 0; --count) {
    const std::string rest =
        fmt::format(" {}={}\n", kPaxKeys[input.next() % kPaxKeys.size()], input.text(40));
    size_t length = rest.size() + 2;
    if (length > 99) {
      ++length;
    }
    records += std::to_string(length) + rest;
  }
  return records;
}

void make_sum_right(std::string& header) {
  header.replace(kSumOffset, 8, "        ");
  uint32_t sum = 0;
  for (const char byte : header) {
    sum += static_cast<unsigned char>(byte);
  }
  header.replace(kSumOffset, 7, octal(sum, 7));
}

std::string entry_bytes(InputBytes& input) {
  const char type = kTypes[input.next() % kTypes.size()];
  const std::string name = input.text(60);
  const std::string target = type == '1' || type == '2' ? input.text(60) : "";
  const std::string content = type == 'x' || type == 'g' ? pax_records(input) : input.text(200);
  std::string header(kBlock, '\0');
  header.replace(0, name.size(), name);
  header.replace(100, 8, octal(input.next() * 16, 8));
  header.replace(124, 12, octal(content.size(), 12));
  header.replace(136, 12, octal(1000, 12));
  header[156] = type;
  header.replace(157, target.size(), target);
  header.replace(257, 8, std::string(input.next() % 4 == 0 ? "ustar  \0" : "ustar\00000", 8));
  for (int edits = input.next() % 4; edits > 0; --edits) {
    const size_t place = (input.next() * 2 + (input.next() & 1)) % kBlock;
    header[place] = static_cast<char>(input.next());
  }
  make_sum_right(header);
  std::string bytes = header + content;
  bytes.resize((bytes.size() + kBlock - 1) / kBlock * kBlock);
  return bytes;
}

// ---- what must hold --------------------------------------------------------------------

void expect_right_content(FileBytes& content) {
  const uint64_t size = content.size_bytes();
  std::array<std::byte, 4096> buffer;
  uint64_t offset = 0;
  while (true) {
    const auto range = wanted(content.next_data(offset));
    if (!range) {
      return;
    }
    if (range->begin < offset || range->begin >= range->end || range->end > size) {
      broken("a file's stored ranges are out of order");
    }
    wanted(content.read(range->begin,
                        ByteSpan(buffer).first(std::min<uint64_t>(range->length(), 4096))));
    offset = range->end;
  }
}

void expect_right_tree(const FileTree& tree, bool may_have_marks) {
  wanted(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    const std::string name = visit.path.substr(visit.path.rfind('/') + 1);
    if (visit.path.size() > SourceLimits().path_bytes || name == "." || name == ".." ||
        (name.empty() && !visit.path.empty())) {
      broken("a name that no directory can have");
    }
    if (visit.name.mark != TreeMark::kFile) {
      if (!may_have_marks) {
        broken("a mark in a plain archive");
      }
      return {};
    }
    const TreeFile& file = tree.file(visit.name.file);
    if (file.state.type() == 0 || (file.state.is_directory() && file.content != nullptr) ||
        (!file.state.is_directory() && !file.names.empty())) {
      broken("a file of no kind");
    }
    if (file.content != nullptr) {
      expect_right_content(*file.content);
    }
    return {};
  }));
}

void read(const std::string& archive, TarRules rules, bool is_upper) {
  SourceContext context;
  context.spool = wanted(ContentSpool::create_in_memory());
  context.limits.content_bytes = 1 << 20;
  const auto bytes = std::as_bytes(std::span(archive));
  const auto stream = stream_in_memory("upper.img", {bytes.begin(), bytes.end()});
  auto tree = read_tar_stream(*stream, rules, context);
  if (!went_well(tree)) {
    return;
  }
  expect_right_tree(*tree, rules == TarRules::kLayer);
  if (is_upper && (!went_well(apply_fuse_overlayfs_marks(*tree, "upper.img")) ||
                   !went_well(apply_overlayfs_marks(*tree, "upper.img")))) {
    return;
  }
  for (const bool keeps_marks : {true, false}) {
    FileTree below;
    lay_over(below, *tree, keeps_marks);
    lay_over(below, *tree, keeps_marks);
    expect_right_tree(below, keeps_marks);
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace unionfs::fuzzing;
  InputBytes input(data, size);
  const uint8_t way = input.next();
  std::string archive;
  for (size_t count = 0; count < kMostEntries && !input.is_at_end(); ++count) {
    archive += entry_bytes(input);
  }
  archive += std::string(2 * kBlock, '\0');
  if ((way & 1) != 0) {
    archive.resize(archive.size() - (way >> 4) * kBlock / 4 % archive.size());
  }
  read(archive, (way & 2) != 0 ? unionfs::TarRules::kLayer : unionfs::TarRules::kPlain,
       (way & 4) != 0);
  return 0;
}
