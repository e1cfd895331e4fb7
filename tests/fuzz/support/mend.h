// SPDX-License-Identifier: BSD-3-Clause
//
// Makes the checksums of an edited upper right, so that what lies behind them is met.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_MEND_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_MEND_H

#include <optional>

#include "overlay/upper/upper_format.h"
#include "tests/unit/support/test_files.h"

namespace unionfs::fuzzing {

// Of headers, layer tables, records of the lower and journal, as far as they lie in the
// file.  `lower` is written into each header, without records, so that an edited lower is
// the layer's.
void mend_upper(testing::MemoryFile& upper,
                const std::optional<upper_format::LowerIdentity>& lower);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_MEND_H
