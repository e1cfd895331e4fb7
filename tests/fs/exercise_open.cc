// SPDX-License-Identifier: BSD-3-Clause
//
// Operations on files that are open without having a name, before or after.

#include "exercise.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <xxhash.h>

#include "text.h"

namespace fstest {

namespace {

std::uint64_t space_bytes_of(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || status.st_nlink > 0) return 0;
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

}  // namespace

void Exercise::unlink_open() {
  Place const place = model_.pick(random_, Kind::regular);
  constexpr std::size_t most_held = 6;
  if (!place.valid() || held_.size() >= most_held) return write_held();
  std::string const file = path(place);
  int const descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  record("open-held", shown(file), Answer{descriptor < 0 ? -1 : 0});
  if (descriptor < 0) return;
  remove_place(place);
  held_.push_back({descriptor, space_bytes_of(descriptor), number_ + random_.between(1, 60)});
  write_held();
}

void Exercise::write_held() {
  if (held_.empty()) return write();
  std::size_t const index = random_.below(held_.size());
  Held& held = held_[index];
  std::size_t const size_bytes = write_size_bytes();
  if (!space_left(size_bytes)) return;
  struct stat status {};
  if (::fstat(held.descriptor, &status) != 0)
    return record("fstat-held", fmt::format("{}", index), Answer{-1});
  auto const file_bytes = static_cast<std::uint64_t>(status.st_size);
  std::uint64_t const offset = random_.percent(10) ? far_offset() : random_.below(file_bytes + 1);
  Answer const answer{write_descriptor(held.descriptor, offset, size_bytes)};
  record("write-held", fmt::format("{} {} {}", index, offset, size_bytes), answer);
  if (random_.percent(30)) {
    std::uint64_t const new_bytes = random_.below(file_bytes + 1);
    record("truncate-held", fmt::format("{} {}", index, new_bytes),
           Answer{::ftruncate(held.descriptor, static_cast<off_t>(new_bytes))});
  }
  std::vector<unsigned char> bytes(size_bytes);
  Answer const got{
      ::pread(held.descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset))};
  record("read-held", fmt::format("{} hash {:016x}", index, XXH64(bytes.data(), bytes.size(), 0)),
         got);
  held.space_bytes = space_bytes_of(held.descriptor);
}

// What editors and package managers do: a new file takes the place of the old.
void Exercise::save_over() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid() || !inodes_left(1) || !space_left(2 << 20)) return;
  Place const fresh{place.directory, fmt::format(".new-{}", number_)};
  int const descriptor = ::open(path(fresh).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  Answer const answer{descriptor < 0 ? -1 : 0};
  record("create", shown(path(fresh)) + " 600", answer);
  if (!answer.good()) return;
  model_.add(fresh, Kind::regular);
  Answer const written{write_descriptor(descriptor, 0, write_size_bytes())};
  record("write", shown(path(fresh)), written);
  if (random_.percent(50)) record("fsync", shown(path(fresh)), Answer{::fsync(descriptor)});
  ::close(descriptor);
  model_.refresh_space(fresh);
  rename_places(fresh, place, 0);
}

void Exercise::link_temporary() {
  Place const place = new_place();
  if (!inodes_left(1) || !space_left(2 << 20)) return;
  std::string const directory = model_.path(*place.directory);
  int const descriptor = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
  record("open-temporary", shown(directory), Answer{descriptor < 0 ? -1 : 0});
  if (descriptor < 0) return;
  Answer const written{write_descriptor(descriptor, 0, write_size_bytes())};
  record("write-temporary", shown(directory), written);
  std::string const source = fmt::format("/proc/self/fd/{}", descriptor);
  Answer const answer{
      ::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path(place).c_str(), AT_SYMLINK_FOLLOW)};
  record("link-temporary", shown(path(place)), answer);
  ::close(descriptor);
  if (!answer.good()) return;
  model_.add(place, Kind::regular);
  model_.refresh_space(place);
}

}  // namespace fstest
