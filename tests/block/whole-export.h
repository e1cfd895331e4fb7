// SPDX-License-Identifier: BSD-3-Clause
//
// Reading an export from its first byte to its last, over one plain connection, without reading
// what block status says is zero.

#ifndef TESTS_BLOCK_WHOLE_EXPORT_H
#define TESTS_BLOCK_WHOLE_EXPORT_H

#include <cstdint>
#include <string>

#include "model.h"

namespace blocktest {

std::uint64_t export_size_bytes(const std::string& uri);

// Writes what the export holds into a sparse file: the initial content of a model.
void snapshot_export(const std::string& uri, const std::string& path);

// Compares all of the export with the model and throws Failure where they differ. Nothing may be in
// flight. Returns the number of bytes that were really read; the rest was reported as zero and
// compared as such.
std::uint64_t verify_export(const std::string& uri, DiskModel& model);

}  // namespace blocktest

#endif
