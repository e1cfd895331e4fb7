// SPDX-License-Identifier: BSD-3-Clause
//
// Operations on what an inode carries besides data and names.

#include "exercise.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <iterator>
#include <memory>

#include <fmt/format.h>
#include <xxhash.h>

#include "text.h"

namespace fstest {

namespace {

// What a value in an xattr block of its own cannot have: header, one entry with
// its name, the terminating zeros.
constexpr std::uint64_t attribute_overhead_bytes = 32 + 16 + 16 + 4;

// POSIX access lists as the kernel takes them through setxattr, little-endian.
void put_entry(std::string& list, unsigned tag, unsigned permissions, std::uint32_t id) {
  list += static_cast<char>(tag);
  list += '\0';
  list += static_cast<char>(permissions);
  list += '\0';
  for (unsigned shift = 0; shift < 32; shift += 8) list += static_cast<char>(id >> shift);
}

}  // namespace

void Exercise::change_mode() {
  Place const place = model_.pick(random_);
  if (!place.valid() || model_.at(place)->kind == Kind::symlink) return;
  auto const mode = static_cast<mode_t>(random_.below(010000));
  record("chmod", fmt::format("{} {:o}", shown(path(place)), mode),
         Answer{::chmod(path(place).c_str(), mode)});
}

void Exercise::change_owner() {
  Place const place = model_.pick(random_);
  if (!place.valid()) return;
  // Numbers beyond 16 bits use another field of the inode.
  std::uint64_t const most = random_.percent(70) ? 70000 : 4000000000;
  auto const user = static_cast<uid_t>(random_.below(most));
  auto const group = static_cast<gid_t>(random_.percent(30) ? -1 : random_.below(most));
  record("chown", fmt::format("{} {} {}", shown(path(place)), user, group),
         Answer{::lchown(path(place).c_str(), user, group)});
}

void Exercise::change_times() {
  Place const place = model_.pick(random_);
  if (!place.valid()) return;
  // Some need the epoch bits that small inodes lack; the kernel clamps those. e2fsck
  // takes what is after April 2310 for a mistake.
  std::int64_t const most = random_.percent(20) ? std::int64_t{0x280000000} - 1 : 0x7fffffff;
  timespec times[2];
  for (timespec& time : times) {
    std::int64_t const back = random_.percent(10) ? most / 2 : 0;
    time.tv_sec = static_cast<std::int64_t>(random_.below(most)) - back;
    time.tv_nsec = static_cast<long>(random_.below(1000000000));
  }
  Answer const answer{::utimensat(AT_FDCWD, path(place).c_str(), times, AT_SYMLINK_NOFOLLOW)};
  struct stat status {};
  ::lstat(path(place).c_str(), &status);
  record("utimens",
         fmt::format("{} {}.{} became {}.{}", shown(path(place)), times[1].tv_sec, times[1].tv_nsec,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec),
         answer);
}

void Exercise::change_flags() {
  Place const place = model_.pick(random_);
  if (!place.valid() ||
      (model_.at(place)->kind != Kind::regular && model_.at(place)->kind != Kind::directory))
    return;
  std::string const file = path(place);
  int const descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return record("flags", shown(file), Answer{descriptor});
  // Harmless ones: nothing later is refused or done otherwise because of them.
  static int const flags[] = {
      0, FS_NODUMP_FL, FS_NOATIME_FL, FS_NODUMP_FL | FS_NOATIME_FL, FS_SECRM_FL, FS_UNRM_FL};
  constexpr int ours = FS_NODUMP_FL | FS_NOATIME_FL | FS_SECRM_FL | FS_UNRM_FL;
  int const wanted = flags[random_.below(std::size(flags))];
  int current = 0;
  Answer answer{::ioctl(descriptor, FS_IOC_GETFLAGS, &current)};
  if (answer.good()) {
    current = (current & ~ours) | wanted;
    answer = Answer{::ioctl(descriptor, FS_IOC_SETFLAGS, &current)};
  }
  record("flags", fmt::format("{} {:x}", shown(file), wanted), answer);
  ::close(descriptor);
}

void Exercise::set_attribute() {
  static char const* const names[] = {"user.a",     "user.colour",
                                      "trusted.a",  "trusted.overlay",
                                      "security.b", "user.a-rather-long-name-of-an-attribute"};
  Place const place = model_.pick(random_);
  if (!place.valid() || !space_left(64 << 10)) return;
  std::uint64_t size_bytes = random_.below(60);
  std::uint64_t const chance = random_.below(100);
  if (chance < 25)
    size_bytes = random_.below(500);
  else if (chance < 45)  // fills a block, or almost, or is just too much for it
    size_bytes = block_size_bytes_ - attribute_overhead_bytes + 24 - random_.below(120);
  std::string value(size_bytes, '\0');
  // Equal values let inodes share one block; different ones do not.
  if (random_.percent(40))
    std::fill(value.begin(), value.end(), static_cast<char>('a' + size_bytes % 3));
  else
    random_.fill(value.data(), value.size());
  char const* const name = names[random_.below(std::size(names))];
  int const flags = random_.percent(80) ? 0 : random_.percent(50) ? XATTR_CREATE : XATTR_REPLACE;
  Answer const answer{::lsetxattr(path(place).c_str(), name, value.data(), value.size(), flags)};
  model_.refresh_space(place);
  record("setxattr",
         fmt::format(
             "{} {} {} flags {} units {}", shown(path(place)), name, size_bytes, flags,
             model_.at(place)->kind == Kind::directory ? 0 : model_.at(place)->space_bytes / 512),
         answer, true);
}

// A default list on a directory gives attributes to all that is made in it.
void Exercise::set_access_list() {
  bool const is_default = random_.percent(50);
  Place const place = is_default ? model_.pick(random_, Kind::directory) : model_.pick(random_);
  if (!place.valid() || !space_left(64 << 10)) return;
  std::string list{"\2\0\0\0", 4};
  constexpr std::uint32_t nobody = 0xffffffff;
  put_entry(list, 0x01, static_cast<unsigned>(random_.below(8)), nobody);
  std::uint64_t const user_count = random_.below(4);
  for (std::uint64_t index = 0; index < user_count; index++)
    put_entry(list, 0x02, static_cast<unsigned>(random_.below(8)),
              static_cast<std::uint32_t>(1000 + index));
  put_entry(list, 0x04, static_cast<unsigned>(random_.below(8)), nobody);
  put_entry(list, 0x10, static_cast<unsigned>(random_.below(8)), nobody);
  put_entry(list, 0x20, static_cast<unsigned>(random_.below(8)), nobody);
  char const* const name = is_default ? "system.posix_acl_default" : "system.posix_acl_access";
  Answer const answer{::lsetxattr(path(place).c_str(), name, list.data(), list.size(), 0)};
  model_.refresh_space(place);
  record("setxattr", fmt::format("{} {} users {}", shown(path(place)), name, user_count), answer,
         true);
}

void Exercise::remove_attribute() {
  // Usually of an inode that has one.
  for (int attempt = 0; attempt < 20; attempt++) {
    Place const place = model_.pick(random_);
    if (!place.valid()) return;
    std::string const file = path(place);
    std::vector<char> list(65536);
    Answer const size{::llistxattr(file.c_str(), list.data(), list.size())};
    if (size.value <= 0 && attempt < 19) continue;
    std::vector<std::string> names{"user.none"};
    if (size.value > 0) names.clear();
    for (std::int64_t start = 0; start < size.value;) {
      names.emplace_back(&list[static_cast<std::size_t>(start)]);
      start += static_cast<std::int64_t>(names.back().size()) + 1;
    }
    std::sort(names.begin(), names.end());
    std::string const& name = names[random_.below(names.size())];
    Answer const answer{::lremovexattr(file.c_str(), name.c_str())};
    model_.refresh_space(place);
    return record("removexattr", shown(file) + " " + shown(name), answer);
  }
}

void Exercise::show_status() {
  Place const place = model_.pick(random_);
  if (!place.valid()) return;
  struct stat status {};
  Answer const answer{::lstat(path(place).c_str(), &status)};
  bool const is_directory = S_ISDIR(status.st_mode);
  record("stat",
         fmt::format("{} {:o} {}:{} links {} size {} units {}", shown(path(place)), status.st_mode,
                     status.st_uid, status.st_gid, status.st_nlink,
                     is_directory ? 0 : status.st_size, is_directory ? 0 : status.st_blocks),
         answer);
}

// Names and their types, as the directory's own blocks have them.
void Exercise::show_directory() {
  std::string const file = model_.path(model_.pick_directory(random_));
  std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(file.c_str()), ::closedir};
  if (!directory) return record("list", shown(file), Answer{-1});
  std::vector<std::string> entries;
  errno = 0;
  while (dirent const* entry = ::readdir(directory.get()))
    entries.push_back(fmt::format("{} {}", entry->d_name, entry->d_type));
  Answer const answer{errno == 0 ? 0 : -1};
  std::sort(entries.begin(), entries.end());
  std::string all;
  for (std::string const& entry : entries) all += entry + '\0';
  record("list",
         fmt::format("{} {} names hash {:016x}", shown(file), entries.size(),
                     XXH64(all.data(), all.size(), 0)),
         answer);
}

}  // namespace fstest
