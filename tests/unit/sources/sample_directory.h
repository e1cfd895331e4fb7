// SPDX-License-Identifier: BSD-3-Clause
//
// A directory of the host with some of everything, to make images of.
#ifndef UNIONFS_TESTS_UNIT_SOURCES_SAMPLE_DIRECTORY_H
#define UNIONFS_TESTS_UNIT_SOURCES_SAMPLE_DIRECTORY_H

#include <filesystem>
#include <string>

namespace unionfs::testing {

// Lines that can be compressed, and bytes that cannot.
std::string sample_text(size_t length, int seed);
std::string sample_noise(size_t length);

// Small and large files, holes, hard links, symlinks of at most 250 bytes, odd names, a fifo.
// With devices and other owners where this process may make them.
void make_sample_directory(const std::filesystem::path& directory);

// user::rwx, user 70000:rw-, group::r--, mask::rwx, other::---.  False where the host has none.
bool set_sample_acl(const std::filesystem::path& file, const char* name);
bool set_attribute(const std::filesystem::path& file, const char* name, const std::string& value);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SOURCES_SAMPLE_DIRECTORY_H
