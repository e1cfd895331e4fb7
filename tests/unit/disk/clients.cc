// SPDX-License-Identifier: BSD-3-Clause
//
// Clients that come and go, one after another, over files of the host: what the server
// does between them.
#include "overlay/overlay.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;

struct Server {
  Server() {
    OverlayOptions options;
    options.lower_path = small_image(kBlock).path();
    options.upper_path = scratch.path() / "upper.img";
    options.log = quiet_log();
    overlay = value_of(Overlay::prepare(options));
  }

  ScratchDirectory scratch;
  std::unique_ptr<Overlay> overlay;
};

// The label, which a checkpoint takes over as it is.
constexpr uint64_t kLabelOffset = ext2::kSuperblockOffsetBytes + 120;

}  // namespace

TEST_CASE("Clients: a checkpoint leaves the disk to a client that came first", "[clients]") {
  Server server;
  expect_success(server.overlay->open(false));
  expect_success(server.overlay->disk().write(kLabelOffset, pattern(1, 8)));
  // It was decided on, and then the next client came; see AutoCheckpoint.
  server.overlay->cancel_checkpoint(true);
  expect_success(server.overlay->open(false));
  const Disk* disk = &server.overlay->disk();
  CHECK_FALSE(value_of(server.overlay->checkpoint(true)).has_value());
  CHECK(&server.overlay->disk() == disk);
  expect_success(server.overlay->disk().write(kLabelOffset, pattern(2, 8)));
  server.overlay->cancel_checkpoint(false);
  CHECK(value_of(server.overlay->checkpoint(true)).has_value());
  expect_success(server.overlay->open(true));
  CHECK(read_range(server.overlay->disk(), kLabelOffset, 8) == pattern(2, 8));
  expect_success(server.overlay->close());
}

TEST_CASE("Clients: readers flush, and make no checkpoint", "[clients]") {
  Server server;
  expect_success(server.overlay->open(true));
  expect_success(server.overlay->disk().flush());
  CHECK_FALSE(value_of(server.overlay->checkpoint(true)).has_value());
  expect_success(server.overlay->close());
}
