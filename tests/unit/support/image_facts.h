// SPDX-License-Identifier: BSD-3-Clause
//
// What the files of an image are, to be held against those of another one.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_IMAGE_FACTS_H
#define UNIONFS_TESTS_UNIT_SUPPORT_IMAGE_FACTS_H

#include <map>
#include <string>

#include "fsparse/image.h"

namespace unionfs::testing {

// An image's files as facts: of each used inode its record but access time and
// what a damaged one says; of its blocks number, place and bytes; of its names
// place, inode and type; and of the bitmaps every bit.  Read through fsparse
// alone, whatever the overlay thinks of the blocks.
using Facts = std::map<std::string, std::string>;
Facts facts_of(ConstByteSpan image);
// The first few facts that differ, a line each; empty when there are none.
std::string difference(const Facts& expected, const Facts& found);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_IMAGE_FACTS_H
