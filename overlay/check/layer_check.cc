// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/layer_check.h"

#include "overlay/check/claim_check.h"
#include "overlay/check/merged_check.h"
#include "overlay/check/role_check.h"
#include "overlay/check/table_check.h"

namespace unionfs {

Result<LayerFindings> check_layer(const CheckSources& sources) {
  Violations violations(sources.upper.name());
  LowerSide lower(sources.lower);
  check_state_area(sources, violations);
  UNIONFS_ASSIGN(LayerNumbers numbers, check_groups(sources, violations));
  UNIONFS_ASSIGN(OwnFiles files, check_inodes(sources, numbers, lower, violations));
  UNIONFS_TRY(check_claims(sources, numbers, files, violations));
  UNIONFS_ASSIGN(LinksByInode links, check_names(sources, numbers, files, lower, violations));
  UNIONFS_ASSIGN(auto missing, check_whiteouts(sources, numbers, lower, violations));
  UNIONFS_ASSIGN(const auto lost, check_roles(sources, numbers, files, lower, violations));
  missing.insert(lost.begin(), lost.end());
  missing.insert(files.missing_whiteouts.begin(), files.missing_whiteouts.end());
  LayerFacts facts{std::move(numbers), std::move(files), std::move(links), std::move(missing)};
  if (violations.empty()) {
    UNIONFS_TRY(check_merged(sources, facts, lower, violations));
  }
  return LayerFindings{violations.list(), std::move(facts)};
}

}  // namespace unionfs
