// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/merged/chain_bench.h"

#include <catch2/catch.hpp>

#include <fmt/format.h>

#include "overlay/stack/seal.h"
#include "overlay/upper/layer_create.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"

namespace unionfs::testing {
namespace {

const std::atomic<bool> kNotCancelled{false};

std::unique_ptr<MemoryFile> file_of(const std::vector<std::byte>& bytes) {
  auto file = std::make_unique<MemoryFile>("plain.img");
  expect_success(file->resize(bytes.size()));
  file->poke(0, bytes);
  return file;
}

}  // namespace

std::vector<std::byte> bytes_of(const MergedView& view) {
  std::vector<std::byte> bytes(view.size_bytes());
  expect_success(view.read(0, bytes));
  return bytes;
}

Levels::Levels(uint32_t block_size)
    : lower_(small_image(block_size)), size_bytes_(small_merged_size(block_size)) {
  shown_.push_back(std::vector<std::byte>(lower_.file->size_bytes()));
  expect_success(lower_.file->read(0, shown_.back()));
}

void Levels::add_sessions(const std::vector<std::vector<std::string>>& sessions) {
  const auto plain_file = file_of(shown());
  const auto plain = value_of(LowerImage::open(*plain_file));
  MemoryFile over_plain("over-plain.img");
  auto file = std::make_unique<MemoryFile>(fmt::format("level{}.img", count() + 1));
  const std::vector<Client> clients =
      make_layer(*plain, over_plain, sessions.size(),
                 [&](const Disk& disk, size_t i) { return changed_by_debugfs(disk, sessions[i]); });
  const std::vector<Client> same = make_layer(
      top(), *file, sessions.size(), [&](const Disk&, size_t i) { return clients[i].left; });
  for (size_t i = 0; i < clients.size(); ++i) {
    CHECK((same[i].found == clients[i].found));
  }
  (void)value_of(seal_upper(top(), *file, quiet_log(), kNotCancelled));

  layers_.push_back(value_of(LayerOverLower::load(top(), *file, {})));
  belows_.push_back(value_of(LayerBelow::open(*layers_.back())));
  files_.push_back(std::move(file));
  const auto wanted_layer = value_of(LayerOverLower::load(*plain, over_plain, {}));
  shown_.push_back(bytes_of(wanted_layer->view()));
  CHECK((bytes_of(layers_.back()->view()) == shown()));
}

std::vector<Levels::Client> Levels::make_layer(
    const Below& below, MemoryFile& upper, size_t count,
    const std::function<std::vector<std::byte>(const Disk&, size_t)>& change) const {
  const Geometry geometry = value_of(Geometry::grow(below.volume(), size_bytes_));
  expect_success(create_layer(upper, below.volume(), geometry, below.identity()));
  std::vector<Client> clients;
  for (size_t i = 0; i < count; ++i) {
    auto disk = value_of(Disk::load(below, upper, kBootId, quiet_log()));
    expect_success(disk->attach(Access::kReadWrite));
    clients.push_back({read_all(*disk), change(*disk, i)});
    write_differences(*disk, clients.back().left);
    (void)value_of(checkpoint(std::move(disk)));
  }
  return clients;
}

std::vector<std::string> RandomRequests::next(size_t count) {
  std::vector<std::string> requests;
  for (size_t i = 0; i < count; ++i) {
    requests.push_back(request());
  }
  return requests;
}

std::string RandomRequests::name() {
  return fmt::format("{}/n{}", below(3) == 0 ? "/etc" : "", below(12));
}

// Some do nothing, because there is such a name, or there is none.
std::string RandomRequests::request() {
  switch (below(9)) {
    case 0:
      return "rm " + name();
    case 1:
      return fmt::format("write @/{} {}", below(2) == 0 ? "small" : "large", name());
    case 2:
      return fmt::format("set_inode_field {} mode 0100{}", name(), below(2) == 0 ? 600 : 644);
    case 3:
      return fmt::format("mkdir /d{}", below(4));
    case 4:
      return fmt::format("write @/small /d{}/f{}", below(4), below(40));
    case 5:
      return fmt::format("rm /d{}/f{}", below(4), below(40));
    case 6:
      return fmt::format("punch {} {} {}", name(), below(8), 8 + below(200));
    case 7:
      return fmt::format("symlink {} {}", name(), std::string(1 + below(100), 't'));
    default:
      return fmt::format("ea_set {} user.n{} {}", name(), below(3), below(1000));
  }
}

}  // namespace unionfs::testing
