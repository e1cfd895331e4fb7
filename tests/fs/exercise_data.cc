// SPDX-License-Identifier: BSD-3-Clause
//
// Operations on the contents of regular files.

#include "exercise.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <xxhash.h>

#include "text.h"

namespace fstest {

namespace {

constexpr std::uint64_t direct_block_count = 12;

std::uint64_t file_size_bytes(std::string const& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

std::string units_text(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return "";
  return fmt::format("size {} units {}", status.st_size, status.st_blocks);
}

}  // namespace

std::vector<unsigned char> Exercise::content(std::size_t size_bytes) {
  std::vector<unsigned char> bytes(size_bytes);
  std::uint64_t const pattern = random_.below(8);
  if (pattern == 0)  // zeros: data that looks like a hole
    return bytes;
  if (pattern == 1) {
    std::fill(bytes.begin(), bytes.end(), static_cast<unsigned char>(random_.between(1, 255)));
    return bytes;
  }
  random_.fill(bytes.data(), bytes.size());
  if (pattern == 2)  // whole zero blocks among others
    for (std::size_t start = 0; start < size_bytes; start += 4096)
      if (random_.percent(50))
        std::memset(&bytes[start], 0, std::min<std::size_t>(4096, size_bytes - start));
  return bytes;
}

std::size_t Exercise::write_size_bytes() {
  std::uint64_t const chance = random_.below(100);
  if (chance < 35) return random_.between(1, 600);
  if (chance < 60) return random_.between(1, 8) * block_size_bytes_;
  if (chance < 95) return random_.between(1, 70000);
  return random_.between(1, 2 << 20);
}

// Mostly about the places where another level of indirection begins.
std::uint64_t Exercise::far_offset() {
  if (random_.percent(25)) return random_.below(std::uint64_t{300} << 20);
  std::uint64_t const per_block = block_size_bytes_ / 4;
  std::uint64_t const double_start = direct_block_count + per_block;
  std::uint64_t const triple_start = double_start + per_block * per_block;
  std::uint64_t const starts[] = {
      direct_block_count,
      double_start,
      double_start + per_block * random_.between(1, 5),
      triple_start,
      triple_start + per_block * random_.between(1, 5),
  };
  std::uint64_t block = starts[random_.below(5)];
  block += random_.below(7);
  block -= 3;
  std::uint64_t const inside_bytes = random_.percent(50) ? random_.below(block_size_bytes_) : 0;
  return block * block_size_bytes_ + inside_bytes;
}

std::int64_t Exercise::write_descriptor(int descriptor, std::uint64_t offset,
                                        std::size_t size_bytes) {
  auto const bytes = content(size_bytes);
  return ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
}

void Exercise::write_file(Place const& place, std::uint64_t offset, std::size_t size_bytes,
                          int flags, std::string_view what) {
  std::string const file = path(place);
  std::string arguments = fmt::format("{} {} {}", shown(file), offset, size_bytes);
  int const descriptor = ::open(file.c_str(), O_WRONLY | O_CLOEXEC | flags);
  if (descriptor < 0) {
    record(what, arguments, Answer{descriptor});
    return;
  }
  Answer const answer{write_descriptor(descriptor, offset, size_bytes)};
  record(what, arguments + " " + units_text(descriptor), answer);
  ::close(descriptor);
  model_.refresh_space(place);
}

void Exercise::create() {
  Place const place = new_place();
  if (!inodes_left(1) || !space_left(2 << 20)) return;
  auto const mode = static_cast<mode_t>(random_.below(01000));
  int const descriptor = ::open(path(place).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
  Answer const answer{std::min(descriptor, 0)};
  record("create", fmt::format("{} {:o}", shown(path(place)), mode), answer);
  if (!answer.good()) return;
  ::close(descriptor);
  model_.add(place, Kind::regular);
  if (random_.percent(80)) write_file(place, 0, write_size_bytes(), 0, "write");
}

void Exercise::write() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return create();
  std::size_t const size_bytes = write_size_bytes();
  if (!space_left(size_bytes)) return;
  std::uint64_t const file_bytes = file_size_bytes(path(place));
  std::uint64_t const offset = random_.below(file_bytes + 10000);
  int const flags = random_.percent(5) ? O_SYNC : random_.percent(5) ? O_TRUNC : 0;
  write_file(place, offset, size_bytes, flags, flags == O_TRUNC ? "write-anew" : "write");
}

// In place, inside what was there before: the case of a changed lower file.
void Exercise::write_initial() {
  Place const place = model_.pick(random_, Kind::regular, true);
  if (!place.valid()) return write();
  std::uint64_t const file_bytes = file_size_bytes(path(place));
  std::uint64_t const offset = random_.below(file_bytes);
  std::uint64_t const most_bytes = std::max<std::uint64_t>(1, file_bytes - offset);
  std::size_t const size_bytes = std::min<std::uint64_t>(write_size_bytes(), most_bytes);
  if (space_left(size_bytes)) write_file(place, offset, size_bytes, 0, "overwrite");
}

void Exercise::write_far() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return create();
  std::size_t const size_bytes = random_.between(1, 3 * block_size_bytes_);
  if (space_left(size_bytes)) write_file(place, far_offset(), size_bytes, 0, "write-far");
}

void Exercise::append() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return create();
  std::size_t const size_bytes = write_size_bytes();
  if (space_left(size_bytes)) write_file(place, 0, size_bytes, O_APPEND, "append");
}

void Exercise::truncate_to(Place const& place, std::uint64_t size_bytes) {
  std::string const file = path(place);
  Answer const answer{::truncate(file.c_str(), static_cast<off_t>(size_bytes))};
  model_.refresh_space(place);
  record(
      "truncate",
      fmt::format("{} {} units {}", shown(file), size_bytes, model_.at(place)->space_bytes / 512),
      answer);
}

void Exercise::truncate_down() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return create();
  std::uint64_t const file_bytes = file_size_bytes(path(place));
  std::uint64_t const far = far_offset();
  if (far < file_bytes && random_.percent(50))
    truncate_to(place, far);
  else
    truncate_to(place, random_.percent(20) ? 0 : random_.below(file_bytes));
}

void Exercise::truncate_up() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return create();
  std::uint64_t const more_bytes = random_.percent(30) ? far_offset() : random_.below(100000);
  // Going up uncovers the rest of the last block, which must read as zeros.
  std::uint64_t const file_bytes = file_size_bytes(path(place));
  constexpr std::uint64_t most_bytes = std::uint64_t{6} << 30;
  truncate_to(place, std::min(file_bytes + more_bytes, most_bytes));
}

void Exercise::punch() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return create();
  std::string const file = path(place);
  std::uint64_t const file_bytes = file_size_bytes(file);
  std::uint64_t const offset = random_.percent(20) ? far_offset() : random_.below(file_bytes);
  std::uint64_t size_bytes = random_.between(1, 40 * block_size_bytes_);
  if (random_.percent(15)) size_bytes = random_.between(1, std::uint64_t{200} << 20);
  // The other modes need extents and answer EOPNOTSUPP here; they must not harm.
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (random_.percent(10) && space_left(size_bytes))
    mode = random_.percent(50) ? FALLOC_FL_ZERO_RANGE : 0;
  int const descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return record("punch", shown(file), Answer{descriptor});
  Answer const answer{
      ::fallocate(descriptor, mode, static_cast<off_t>(offset), static_cast<off_t>(size_bytes))};
  record("punch",
         fmt::format("{} mode {} {} {} {}", shown(file), mode, offset, size_bytes,
                     units_text(descriptor)),
         answer);
  ::close(descriptor);
  model_.refresh_space(place);
}

void Exercise::map_and_write() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid() || !space_left(1 << 20)) return;
  std::string const file = path(place);
  std::uint64_t const file_bytes = file_size_bytes(file);
  std::uint64_t const start = random_.below(file_bytes) / 4096 * 4096;
  std::size_t const size_bytes =
      std::min<std::uint64_t>(random_.between(1, 100000), file_bytes - start);
  std::string const arguments = fmt::format("{} {} {}", shown(file), start, size_bytes);
  int const descriptor = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return record("map", arguments, Answer{descriptor});
  void* const memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor,
                              static_cast<off_t>(start));
  if (memory == MAP_FAILED) {  // an empty file, most likely
    record("map", arguments, Answer{-1});
  } else {
    auto const bytes = content(size_bytes);
    std::size_t const first = random_.below(size_bytes);
    std::memcpy(static_cast<unsigned char*>(memory) + first, bytes.data(), size_bytes - first);
    Answer const answer{::msync(memory, size_bytes, MS_SYNC)};
    ::munmap(memory, size_bytes);
    record("map", arguments + fmt::format(" from {} {}", first, units_text(descriptor)), answer);
  }
  ::close(descriptor);
  model_.refresh_space(place);
}

void Exercise::write_direct() {
  Place const place = model_.pick(random_, Kind::regular);
  std::size_t const size_bytes = random_.between(1, 16) * 4096;
  if (!place.valid() || !space_left(size_bytes)) return;
  std::string const file = path(place);
  std::uint64_t const offset = random_.below(file_size_bytes(file) + 1) / 4096 * 4096;
  std::string const arguments = fmt::format("{} {} {}", shown(file), offset, size_bytes);
  int const descriptor = ::open(file.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (descriptor < 0) return record("write-direct", arguments, Answer{descriptor});
  std::unique_ptr<void, void (*)(void*)> buffer{std::aligned_alloc(4096, size_bytes), std::free};
  random_.fill(buffer.get(), size_bytes);
  Answer const answer{::pwrite(descriptor, buffer.get(), size_bytes, static_cast<off_t>(offset))};
  record("write-direct", arguments + " " + units_text(descriptor), answer);
  ::close(descriptor);
  model_.refresh_space(place);
}

void Exercise::copy_range() {
  Place const from = model_.pick(random_, Kind::regular);
  Place const to = model_.pick(random_, Kind::regular);
  std::size_t const size_bytes = random_.between(1, 1 << 20);
  if (!from.valid() || !to.valid() || !space_left(size_bytes)) return;
  auto source = static_cast<off_t>(random_.below(file_size_bytes(path(from))));
  auto target = static_cast<off_t>(random_.below(file_size_bytes(path(to)) + 10000));
  std::string const arguments =
      fmt::format("{} {} {} {} {}", shown(path(from)), source, shown(path(to)), target, size_bytes);
  int const source_descriptor = ::open(path(from).c_str(), O_RDONLY | O_CLOEXEC);
  int const target_descriptor = ::open(path(to).c_str(), O_WRONLY | O_CLOEXEC);
  std::size_t copied_bytes = 0;
  Answer answer{0};
  // The kernel may stop early for reasons of its own; only the sum is certain.
  while (copied_bytes < size_bytes) {
    answer = Answer{::copy_file_range(source_descriptor, &source, target_descriptor, &target,
                                      size_bytes - copied_bytes, 0)};
    if (answer.value <= 0) break;
    copied_bytes += static_cast<std::size_t>(answer.value);
  }
  record("copy-range", fmt::format("{} copied {}", arguments, copied_bytes),
         answer.good() ? Answer{0} : answer);
  ::close(source_descriptor);
  ::close(target_descriptor);
  model_.refresh_space(to);
}

void Exercise::read_range(Place const& place, std::uint64_t offset, std::size_t size_bytes,
                          std::string_view what) {
  std::string const file = path(place);
  std::string const arguments = fmt::format("{} {} {}", shown(file), offset, size_bytes);
  int const descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return record(what, arguments, Answer{descriptor});
  if (what == "read-again") {
    // Dropping the pages makes the next read come from the device.
    ::fsync(descriptor);
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  }
  std::vector<unsigned char> bytes(size_bytes);
  Answer const answer{::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset))};
  std::size_t const got_bytes = answer.good() ? static_cast<std::size_t>(answer.value) : 0;
  record(what, fmt::format("{} hash {:016x}", arguments, XXH64(bytes.data(), got_bytes, 0)),
         answer);
  ::close(descriptor);
}

void Exercise::read() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return;
  std::uint64_t const offset = random_.below(file_size_bytes(path(place)));
  read_range(place, offset, random_.between(1, 1 << 20), "read");
}

void Exercise::read_again() {
  Place const place = model_.pick(random_, Kind::regular);
  if (!place.valid()) return;
  std::uint64_t const offset = random_.below(file_size_bytes(path(place)));
  read_range(place, offset, random_.between(1, 1 << 20), "read-again");
}

void Exercise::synchronize() {
  Place const place = model_.pick(random_, Kind::regular);
  std::string const file = place.valid() ? path(place) : ".";
  int const descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return record("open", shown(file), Answer{descriptor});
  std::uint64_t const way = random_.below(3);
  if (way == 0)
    record("fsync", shown(file), Answer{::fsync(descriptor)});
  else if (way == 1)
    record("fdatasync", shown(file), Answer{::fdatasync(descriptor)});
  else
    record("syncfs", shown(file), Answer{::syncfs(descriptor)});
  ::close(descriptor);
}

}  // namespace fstest
