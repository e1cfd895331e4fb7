// SPDX-License-Identifier: BSD-3-Clause
//
// A jffs2 image, as it is or with its checksums made right; or bytes for one of its compressors.
// The first byte of the input says which.
#include <algorithm>
#include <cstring>

#include "overlay/sources/jffs2_compression.h"
#include "overlay/sources/jffs2_source.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/tree_looks.h"
#include "tests/unit/sources/jffs2_writer.h"

namespace unionfs::fuzzing {
namespace {

constexpr uint8_t kBigEndian = 1;
constexpr uint8_t kMended = 2;
constexpr uint8_t kPacked = 4;

void look_at_image(std::string bytes, uint8_t how) {
  if ((how & kMended) != 0) {
    testing::mend_jffs2(
        bytes, (how & kBigEndian) != 0 ? jffs2::ByteOrder::kBig : jffs2::ByteOrder::kLittle);
  }
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
  const auto image = std::make_shared<testing::MemoryImage>(
      "upper.img", std::vector<std::byte>(begin, begin + bytes.size()));
  const bool is_one = wanted(is_jffs2(*image));
  const auto tree = read_jffs2_image(image, {});
  if (!went_well(tree)) {
    return;
  }
  if (!is_one) {
    broken("what is no jffs2 image is read as one");
  }
  look_at_tree(*tree, bytes.size());
}

// The second byte is the compressor, the next two the length.
void look_at_packed(std::string_view bytes) {
  if (bytes.size() < 3) {
    return;
  }
  const auto length =
      static_cast<size_t>(static_cast<uint8_t>(bytes[1]) << 8 | static_cast<uint8_t>(bytes[2]));
  const auto packed = std::as_bytes(std::span(bytes)).subspan(3);
  std::vector<std::byte> out(length);
  std::vector<std::byte> again(length);
  const auto compr = static_cast<uint8_t>(bytes[0] % 8);
  const bool is_whole = jffs2::unpack(compr, packed, out);
  if (jffs2::unpack(compr, packed, again) != is_whole || (is_whole && out != again)) {
    broken("the same bytes are unpacked in two ways");
  }
  if (is_whole && !jffs2::is_known_compression(compr)) {
    broken("an unknown compressor was unpacked");
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & unionfs::fuzzing::kPacked) != 0) {
    unionfs::fuzzing::look_at_packed(bytes);
  } else {
    unionfs::fuzzing::look_at_image(bytes, data[0]);
  }
  return 0;
}
