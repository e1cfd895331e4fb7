// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/level_facts.h"

#include "overlay/stack/chain.h"

namespace unionfs {
namespace {

std::optional<uint64_t> disk_bytes_of(const LevelFile& file) {
  const auto space = file.host() != nullptr ? std::optional(file.host()->space()) : std::nullopt;
  return space && *space ? std::optional((*space)->used_bytes) : std::nullopt;
}

// Of any level, as what stands on it knows it.
LevelFacts facts_of(const LevelFile& file, const Below& below) {
  LevelFacts facts;
  facts.name = file.name();
  facts.merged_size_bytes = below.layout().size_bytes();
  facts.disk_bytes = disk_bytes_of(file);
  facts.chain = below.chain_digest();
  return facts;
}

}  // namespace

std::vector<LevelFacts> facts_of_levels(const Chain& chain, bool is_upper_void) {
  std::vector<LevelFacts> all{facts_of(*chain.files_.front(), *chain.belows_.front())};
  size_t session = 0;
  for (size_t i = 0; i < chain.layers_.size(); ++i) {
    const LayerOverLower& layer = *chain.layers_[i];
    const Below& below = *chain.belows_[i + 1];
    LevelFacts facts = facts_of(*chain.files_[i + 1], below);
    const bool is_void = layer.area().is_void();
    facts.kind = LevelKind::kSealed;
    if (!is_void) {
      facts.own_blocks = layer.layer().own_blocks().count();
    }
    if (const auto frozen_chain = below.identity().frozen_chain) {
      const bool is_top = i + 1 == chain.layers_.size();
      const bool is_next_void = is_top ? is_upper_void : chain.layers_[i + 1]->area().is_void();
      facts.chain = is_next_void ? frozen_chain : facts.chain;
      const auto& frozen = chain.sessions_[session++];
      facts.kind = is_void ? LevelKind::kVoid : LevelKind::kFrozen;
      facts.merged_size_bytes = frozen.view->size_bytes();
      facts.written_blocks =
          frozen.bitmap->count_set(BlockNumber(layer.geometry().merged().block_count));
      facts.freeze_id = frozen.freeze_id;
    }
    all.push_back(std::move(facts));
  }
  return all;
}

}  // namespace unionfs
