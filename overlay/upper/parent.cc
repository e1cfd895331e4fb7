// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/parent.h"

#include <algorithm>
#include <string_view>

#include "fsparse/printable.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/upper/hash.h"
#include "overlay/upper/lower_identity.h"

namespace unionfs {
namespace {

namespace format = upper_format;

std::string_view file_name_of(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

void record(StateArea& area, format::ParentKind kind, const format::Digest& chain,
            const std::string& path) {
  area.features.incompat |= format::kIncompatParent;
  area.parent.kind = static_cast<uint32_t>(kind);
  area.parent.chain = chain;
  // An address is no name of a file.
  const std::string_view name = is_nbd_uri(path) ? std::string_view() : file_name_of(path);
  if (name.size() <= area.parent.name.size()) {
    std::copy(name.begin(), name.end(), area.parent.name.begin());
  }
}

}  // namespace

format::Digest chain_digest_of_lower(const Volume& lower) {
  format::LowerIdentity identity = known_lower(lower).identity;
  identity.s_mtime = 0U;
  identity.s_wtime = 0U;
  identity.s_lastcheck = 0U;
  LongHash hash;
  hash.add(std::string_view("lower"));
  hash.add(bytes_of(identity));
  return hash.value();
}

format::Digest chain_digest_of_sealed(const format::Digest& below, const format::Seal& seal) {
  LongHash hash;
  hash.add(std::string_view("sealed"));
  hash.add(bytes_of(below));
  hash.add(bytes_of(seal));
  return hash.value();
}

format::Digest chain_digest_of_layer(const format::Digest& below, const format::Digest& shape) {
  LongHash hash;
  hash.add(std::string_view("layer"));
  hash.add(bytes_of(below));
  hash.add(bytes_of(shape));
  return hash.value();
}

format::Digest chain_digest_of_frozen(const format::Digest& below, const StateArea& frozen) {
  LongHash hash;
  hash.add(std::string_view("frozen"));
  hash.add(bytes_of(below));
  hash.add(bytes_of(frozen.freeze_id));
  hash.add(bytes_of(Le64(frozen.session_number)));
  return hash.value();
}

void set_parent(StateArea& area, const LevelIdentity& level) {
  area.parent = {};
  area.features.incompat &= ~(format::kIncompatParent | format::kIncompatVoid);
  if (level.frozen_chain) {
    area.features.incompat |= format::kIncompatVoid;
    record(area, format::ParentKind::kFrozen, *level.frozen_chain, level.frozen_path);
  } else if (level.kind != format::ParentKind::kLower) {
    record(area, level.kind, level.chain, level.path);
  }
}

void stand_on_layer(StateArea& area, const LevelIdentity& level) {
  LevelIdentity layer = level;
  layer.frozen_chain.reset();
  set_parent(area, layer);
}

std::string parent_name(const StateArea& area) {
  const auto& bytes = area.parent.name;
  return {bytes.begin(), std::find(bytes.begin(), bytes.end(), '\0')};
}

std::string describe_parent(const StateArea& area) {
  const std::string name = parent_name(area);
  const auto kind = static_cast<format::ParentKind>(area.parent.kind.value());
  const char* what = kind == format::ParentKind::kSealed   ? "sealed layer"
                     : kind == format::ParentKind::kFrozen ? "frozen level"
                                                           : "layer of the frozen level";
  return fmt::format("the {}{}{} with the chain digest {}", what, name.empty() ? "" : " ",
                     name.empty() ? "" : quoted_name(name), digest_text(area.parent.chain));
}

Result<void> check_parent(const StateArea& area, const LevelIdentity& level,
                          const std::string& upper_name) {
  const bool is_over_lower = level.kind == format::ParentKind::kLower;
  if (!area.has_parent()) {
    return is_over_lower ? Result<void>()
                         : invalid("{}: stands on a plain image, not on the layer {}", upper_name,
                                   level.path);
  }
  if (is_over_lower) {
    return invalid("{}: stands on {}, which is missing; give all levels, the lowest first",
                   upper_name, describe_parent(area));
  }
  const bool is_over_frozen = area.is_void() && level.frozen_chain;
  const format::Digest& chain = is_over_frozen ? *level.frozen_chain : level.chain;
  const auto kind = is_over_frozen ? format::ParentKind::kFrozen : level.kind;
  if (area.parent.kind != static_cast<uint32_t>(kind) || area.parent.chain != chain) {
    return invalid(
        "{}: stands on {}, not on {} with {}; give the levels that it was made over, the lowest "
        "first",
        upper_name, describe_parent(area), is_over_frozen ? level.frozen_path : level.path,
        digest_text(chain));
  }
  return {};
}

std::string digest_text(const format::Digest& digest) {
  return hex_text(std::span(digest).first(digest.size() / 2));
}

}  // namespace unionfs
