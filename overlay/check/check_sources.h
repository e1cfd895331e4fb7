// SPDX-License-Identifier: BSD-3-Clause
//
// What every stage of a check reads.
#ifndef UNIONFS_OVERLAY_CHECK_CHECK_SOURCES_H
#define UNIONFS_OVERLAY_CHECK_CHECK_SOURCES_H

#include "fsparse/volume.h"
#include "overlay/merged/below.h"
#include "overlay/upper/opened_upper.h"

namespace unionfs {

// A layer over its lower, opened although something may be wrong with it.  All
// of it must outlive the check and stay as it is meanwhile.
struct CheckSources {
  const Below& below;
  const Volume& lower;  // its volume
  const Volume& upper;
  const ReadableFile& upper_file;
  const Geometry& geometry;
  const LayerTables& tables;
  const StateArea& area;

  const Layout& layout() const { return geometry.merged(); }
};

// Refers to both.
inline CheckSources check_sources(const Below& below, const OpenedUpper& opened) {
  return {below,         below.volume(), opened.volume, *opened.file, *opened.geometry,
          opened.tables, opened.area};
}

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_CHECK_SOURCES_H
