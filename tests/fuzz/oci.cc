// SPDX-License-Identifier: BSD-3-Clause
//
// The JSON of container images: the first byte of an input says which kind it is taken for.
#include "overlay/sources/oci_layout.h"

#include "tests/fuzz/support/invariant.h"

namespace unionfs::fuzzing {
namespace {

void expect_sound(const BlobDescriptor& blob) {
  if (blob.digest.hexadecimal.find_first_not_of("0123456789abcdef") != std::string::npos) {
    broken("a digest that may lead elsewhere");
  }
}

void take_index(std::string_view text) {
  const auto images = parse_index(text, "lower.img");
  if (!went_well(images)) {
    return;
  }
  for (const std::string& tag : {std::string(), std::string("a")}) {
    const auto image = choose_image(*images, tag, "linux/amd64", "lower.img");
    if (went_well(image)) {
      expect_sound(*image);
    }
  }
}

void take_manifest(std::string_view text) {
  const auto manifest = parse_manifest(text, {}, "lower.img");
  if (went_well(manifest)) {
    expect_sound(manifest->configuration);
    for (const BlobDescriptor& layer : manifest->layers) {
      expect_sound(layer);
    }
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace unionfs::fuzzing;
  if (size == 0) {
    return 0;
  }
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      take_index(text);
      break;
    case 1:
      take_manifest(text);
      break;
    default:
      (void)went_well(unionfs::parse_configuration(text, "lower.img"));
  }
  return 0;
}
