// SPDX-License-Identifier: BSD-3-Clause
//
// Power loss while an upper with a session is sealed: what is left is the upper with its session,
// the upper with the layer, or the sealed layer, and the seal is whole.
#include <algorithm>
#include <random>

#include "overlay/stack/seal.h"
#include "overlay/upper/upper_state.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/merged/chain_bench.h"
#include "tests/unit/support/power_loss_file.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

const std::atomic<bool> seal_goes_on{false};

// Images that show the right files; most outcomes are the same few.
class RightImages {
 public:
  explicit RightImages(ConstByteSpan right) : facts_(facts_of(right)) {}

  void check(const std::vector<std::byte>& found) {
    if (std::find(known_.begin(), known_.end(), found) == known_.end()) {
      REQUIRE(difference(facts_, facts_of(found)).empty());
      known_.push_back(found);
    }
  }

 private:
  const Facts facts_;
  std::vector<std::vector<std::byte>> known_;
};

// How far it had come.
enum class Left { kUpper, kSealed };

Left check_left(const Lower& lower, MemoryFile& left, const upper_format::Seal& wanted,
                RightImages& right) {
  const UpperState state = value_of(read_upper_state(left));
  if (state.area.is_sealed()) {
    const auto layer = value_of(LayerOverLower::load(*lower.image, left, {}));
    expect_success(check_sealed_content(*layer, seal_goes_on));
    right.check(bytes_of(layer->view()));
    return Left::kSealed;
  }
  right.check(shown(lower, *left.clone(), kNextBootId));
  const upper_format::Seal seal =
      value_of(seal_upper(*lower.image, left, quiet_log(), seal_goes_on));
  CHECK((seal.content == wanted.content));
  return Left::kUpper;
}

}  // namespace

TEST_CASE("Seal: a power loss at each change", "[squash][seal]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  RightImages right(images.session());
  const auto whole = images.with_session();
  const upper_format::Seal wanted =
      value_of(seal_upper(*images.lower().image, *whole, quiet_log(), seal_goes_on));
  std::mt19937_64 random(test_seed("seal"));
  uint64_t sealed = 0;
  uint64_t uppers = 0;
  bool is_over = false;
  for (uint64_t crash = 1; !is_over; ++crash) {
    PowerLossFile file(images.with_session());
    file.crash_after(crash);
    is_over = seal_upper(*images.lower().image, file, quiet_log(), seal_goes_on).has_value();
    for (int outcome = 0; outcome < 2; ++outcome) {
      RandomChooser chooser(random);
      const auto left = file.lose_power(chooser);
      INFO("crash at change " << crash);
      if (check_left(images.lower(), *left, wanted, right) == Left::kSealed) {
        ++sealed;
      } else {
        ++uppers;
        REQUIRE_FALSE(is_over);
      }
    }
  }
  CHECK(sealed > 2);
  CHECK(uppers > 20);
}
