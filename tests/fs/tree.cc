// SPDX-License-Identifier: BSD-3-Clause
//
// fs-tree [--times] [--inodes] DIR
//
// A canonical text dump of the tree below DIR: equal trees give equal bytes,
// whatever file system holds them. One line per name, sorted by the bytes of the
// path's components; fields are separated by one blank and always in this order:
//
//   path      relative to DIR, "." for DIR itself; a byte that is not printable
//             ASCII, a blank or a backslash is written \xHH
//   type      one letter as in ls: - d l p s c b
//   mode      the permission bits, four octal digits
//   uid=N gid=N
//   nlink=N
//   size=N    bytes; "-" for directories, whose size depends on their history;
//             with --inodes it is shown for them too
//   rdev=M:N  character and block devices only
//   flags=X   inode flags in hexadecimal without those that tell of the layout
//             (index, extents, inline data); directories and regular files only
//   target=T  symlinks only, escaped as the path
//   xattr=H   hash over the sorted attributes, each as NAME NUL LENGTH VALUE
//             (length 64 bits, little-endian); missing if there are none
//   data=H    hash of the contents of a regular file: over every 4096-byte piece
//             that is not all zeros, its number (64 bits, little-endian) and its
//             bytes, the last piece filled with zeros; so a hole and written zeros
//             are equal, and a sparse file costs what it holds
//   link=P    the first path, in this order, of the same inode, escaped; only for
//             the second and later names of an inode that is not a directory
//   mtime=S.N ctime=S.N   with --times: seconds and nine digits of nanoseconds
//   ino=N units=N         with --inodes: inode number and st_blocks
//
// Hashes are XXH64 with seed 0 in 16 hexadecimal digits. A second name of an inode
// shows no data= of its own. Access times are never shown: reading changes them.
// Other file systems mounted below DIR are not entered.
//
// Exit status: 0, or 1 if something could not be read.

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <xxhash.h>
#include <CLI/CLI.hpp>

#include "text.h"

namespace fstest {

namespace {

struct DumpOptions {
  bool times = false;
  bool inodes = false;
};

[[noreturn]] void stop(char const* what, std::string const& path) {
  int const error = errno;
  std::fflush(stdout);
  fmt::print(stderr, "fs-tree: {} {}: {}\n", what, escape(path), error_name(error));
  std::exit(1);
}

class Hash {
 public:
  Hash() : state_{XXH64_createState()} { XXH64_reset(state_, 0); }
  ~Hash() { XXH64_freeState(state_); }
  Hash(Hash const&) = delete;
  Hash& operator=(Hash const&) = delete;

  void add(void const* bytes, std::size_t size_bytes) {
    if (XXH64_update(state_, bytes, size_bytes) != XXH_OK) std::abort();
  }
  void add_number(std::uint64_t number) {
    unsigned char bytes[8];
    for (unsigned char& byte : bytes) {
      byte = static_cast<unsigned char>(number);
      number >>= 8;
    }
    add(bytes, sizeof bytes);
  }
  [[nodiscard]] std::string text() const { return fmt::format("{:016x}", XXH64_digest(state_)); }

 private:
  XXH64_state_t* state_;
};

class Descriptor {
 public:
  explicit Descriptor(std::string const& path)
      : value_{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)} {
    if (value_ < 0) stop("open", path);
  }
  ~Descriptor() { ::close(value_); }
  Descriptor(Descriptor const&) = delete;
  Descriptor& operator=(Descriptor const&) = delete;
  [[nodiscard]] int get() const { return value_; }

 private:
  int value_;
};

constexpr std::size_t piece_bytes = 4096;

bool is_zero(unsigned char const* bytes) {
  static unsigned char const zeros[piece_bytes] = {};
  return std::memcmp(bytes, zeros, piece_bytes) == 0;
}

// Reads as much as there is of a run of whole pieces; short only at the end.
std::size_t read_fully(int descriptor, std::vector<unsigned char>& buffer, std::uint64_t offset,
                       std::string const& path) {
  std::size_t done_bytes = 0;
  while (done_bytes < buffer.size()) {
    ssize_t const got = ::pread(descriptor, &buffer[done_bytes], buffer.size() - done_bytes,
                                static_cast<off_t>(offset + done_bytes));
    if (got < 0) stop("read", path);
    if (got == 0) break;
    done_bytes += static_cast<std::size_t>(got);
  }
  return done_bytes;
}

std::string data_hash(std::string const& path) {
  Descriptor const file{path};
  Hash hash;
  std::vector<unsigned char> buffer(64 * piece_bytes);
  std::uint64_t offset = 0;
  for (;;) {
    off_t const data = ::lseek(file.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return hash.text();
    if (data < 0) stop("seek", path);
    offset = std::max(offset, static_cast<std::uint64_t>(data) / piece_bytes * piece_bytes);
    std::size_t const got_bytes = read_fully(file.get(), buffer, offset, path);
    std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(got_bytes), buffer.end(),
              static_cast<unsigned char>(0));
    for (std::size_t start = 0; start < got_bytes; start += piece_bytes) {
      if (is_zero(&buffer[start])) continue;
      hash.add_number((offset + start) / piece_bytes);
      hash.add(&buffer[start], piece_bytes);
    }
    if (got_bytes < buffer.size()) return hash.text();
    offset += got_bytes;
  }
}

std::string attributes_hash(std::string const& path) {
  std::vector<char> list(XATTR_LIST_MAX);
  ssize_t const list_bytes = ::llistxattr(path.c_str(), list.data(), list.size());
  if (list_bytes < 0 && errno == ENOTSUP) return "";
  if (list_bytes < 0) stop("listxattr", path);
  std::vector<std::string> names;
  for (std::size_t start = 0; start < static_cast<std::size_t>(list_bytes);) {
    names.emplace_back(&list[start]);
    start += names.back().size() + 1;
  }
  if (names.empty()) return "";
  std::sort(names.begin(), names.end());
  Hash hash;
  std::vector<char> value(XATTR_SIZE_MAX);
  for (std::string const& name : names) {
    ssize_t const size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) stop(("getxattr " + name).c_str(), path);
    hash.add(name.c_str(), name.size() + 1);
    hash.add_number(static_cast<std::uint64_t>(size));
    hash.add(value.data(), static_cast<std::size_t>(size));
  }
  return hash.text();
}

std::string flags_text(std::string const& path) {
  Descriptor const file{path};
  int flags = 0;
  if (::ioctl(file.get(), FS_IOC_GETFLAGS, &flags) != 0) {
    if (errno == ENOTTY || errno == EOPNOTSUPP) return "";
    stop("flags of", path);
  }
  constexpr int layout = FS_INDEX_FL | FS_EXTENT_FL | FS_INLINE_DATA_FL;
  return fmt::format(" flags={:x}", flags & ~layout);
}

std::string target_text(std::string const& path) {
  std::vector<char> target(65536);
  ssize_t const size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) stop("readlink", path);
  return " target=" + escape({target.data(), static_cast<std::size_t>(size)});
}

char type_letter(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return '-';
    case S_IFDIR:
      return 'd';
    case S_IFLNK:
      return 'l';
    case S_IFIFO:
      return 'p';
    case S_IFSOCK:
      return 's';
    case S_IFCHR:
      return 'c';
    case S_IFBLK:
      return 'b';
    default:
      return '?';
  }
}

std::string time_text(char const* name, timespec const& time) {
  return fmt::format(" {}={}.{:09}", name, time.tv_sec, time.tv_nsec);
}

class Dumper {
 public:
  explicit Dumper(DumpOptions const& options) : options_{options} {}

  void dump(std::string const& path, std::string const& shown) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) stop("lstat", path);
    if (shown == ".") device_ = status.st_dev;
    print_line(path, shown, status);
    if (S_ISDIR(status.st_mode) && status.st_dev == device_)
      dump_children(path, shown == "." ? "" : shown + "/");
  }

 private:
  void print_line(std::string const& path, std::string const& shown, struct stat const& status) {
    mode_t const mode = status.st_mode;
    std::string line =
        fmt::format("{} {} {:04o} uid={} gid={} nlink={}", escape(shown), type_letter(mode),
                    mode & 07777, status.st_uid, status.st_gid, status.st_nlink);
    bool const show_size = !S_ISDIR(mode) || options_.inodes;
    line += show_size ? fmt::format(" size={}", status.st_size) : " size=-";
    if (S_ISCHR(mode) || S_ISBLK(mode))
      line += fmt::format(" rdev={}:{}", major(status.st_rdev), minor(status.st_rdev));
    if (S_ISREG(mode) || S_ISDIR(mode)) line += flags_text(path);
    if (S_ISLNK(mode)) line += target_text(path);
    std::string const attributes = attributes_hash(path);
    if (!attributes.empty()) line += " xattr=" + attributes;
    line += identity_text(path, shown, status);
    if (options_.times)
      line += time_text("mtime", status.st_mtim) + time_text("ctime", status.st_ctim);
    if (options_.inodes) line += fmt::format(" ino={} units={}", status.st_ino, status.st_blocks);
    fmt::print("{}\n", line);
  }

  std::string identity_text(std::string const& path, std::string const& shown,
                            struct stat const& status) {
    if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
      auto const known = first_path_.emplace(status.st_ino, shown);
      if (!known.second) return " link=" + escape(known.first->second);
    }
    return S_ISREG(status.st_mode) ? " data=" + data_hash(path) : "";
  }

  void dump_children(std::string const& path, std::string const& prefix) {
    for (std::string const& name : sorted_names(path)) dump(path + "/" + name, prefix + name);
  }

  static std::vector<std::string> sorted_names(std::string const& path) {
    std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(path.c_str()), ::closedir};
    if (!directory) stop("opendir", path);
    std::vector<std::string> names;
    errno = 0;
    while (dirent const* entry = ::readdir(directory.get())) {
      std::string const name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    if (errno != 0) stop("readdir", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  DumpOptions options_;
  dev_t device_ = 0;
  std::map<ino_t, std::string> first_path_;
};

}  // namespace

}  // namespace fstest

int main(int argc, char** argv) {
  fstest::DumpOptions options;
  std::string directory;
  CLI::App app{"Prints a canonical dump of a directory tree"};
  app.add_flag("--times", options.times, "modification and change times as well");
  app.add_flag("--inodes", options.inodes, "inode numbers and block counts as well");
  app.add_option("directory", directory, "which tree")->required();
  CLI11_PARSE(app, argc, argv);

  fstest::Dumper{options}.dump(directory, ".");
  if (std::fflush(stdout) != 0) {
    fmt::print(stderr, "fs-tree: the dump cannot be written\n");
    return 1;
  }
  return 0;
}
