// SPDX-License-Identifier: BSD-3-Clause
//
// classic-marks IMAGE MARKS
//
// Edits an ext2 image to the format of union mounts, with libext2fs alone. MARKS
// has one mark a line:
//
//   whiteout PATH   an entry of type 8 and inode 0; the name must not be there
//   fallthru PATH   the same with type 9
//   opaque PATH     the directory's flag 0x04000000
//   feature         INCOMPAT_WHITEOUT in the superblock
//
// Paths have no blanks and are relative to the root ("." is the root itself).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <ext2fs/ext2fs.h>

namespace {

constexpr int kWhiteoutType = 8;
constexpr int kFallthruType = 9;
constexpr unsigned kOpaqueFlag = 0x04000000;
constexpr unsigned kWhiteoutFeature = 0x0020;

void check(errcode_t code, const std::string& what) {
  if (code != 0) {
    std::fprintf(stderr, "classic-marks: %s: %s\n", what.c_str(), error_message(code));
    std::exit(1);
  }
}

ext2_ino_t find(ext2_filsys image, const std::string& path) {
  ext2_ino_t inode = 0;
  check(ext2fs_namei(image, EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(), &inode), path);
  return inode;
}

struct Search {
  const std::string& name;
  int type;
  bool is_found;
};

int mark_entry(ext2_ino_t, int, ext2_dir_entry* entry, int, int, char*, void* data) {
  auto& search = *static_cast<Search*>(data);
  if (search.name != std::string(entry->name, static_cast<size_t>(ext2fs_dirent_name_len(entry)))) {
    return 0;
  }
  entry->inode = 0;
  ext2fs_dirent_set_file_type(entry, search.type);
  search.is_found = true;
  return DIRENT_CHANGED | DIRENT_ABORT;
}

struct Place {
  ext2_ino_t directory;
  std::string name;
};

Place place_of(ext2_filsys image, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  return {find(image, parent), slash == std::string::npos ? path : path.substr(slash + 1)};
}

// A real entry first, for its room.
void add_entry(ext2_filsys image, const std::string& path) {
  const auto [directory, name] = place_of(image, path);
  errcode_t code = ext2fs_link(image, directory, name.c_str(), EXT2_ROOT_INO, EXT2_FT_DIR);
  if (code == EXT2_ET_DIR_NO_SPACE) {
    check(ext2fs_expand_dir(image, directory), path);
    code = ext2fs_link(image, directory, name.c_str(), EXT2_ROOT_INO, EXT2_FT_DIR);
  }
  check(code, path);
}

// Not before all are there: to libext2fs a whiteout is room for another name.
void turn_entry(ext2_filsys image, const std::string& path, int type) {
  const auto [directory, name] = place_of(image, path);
  Search search{name, type, false};
  check(ext2fs_dir_iterate2(image, directory, 0, nullptr, mark_entry, &search), path);
  if (!search.is_found) {
    std::fprintf(stderr, "classic-marks: %s: the new entry is not there\n", path.c_str());
    std::exit(1);
  }
}

void make_opaque(ext2_filsys image, const std::string& path) {
  const ext2_ino_t directory = find(image, path);
  ext2_inode inode = {};
  check(ext2fs_read_inode(image, directory, &inode), path);
  inode.i_flags |= kOpaqueFlag;
  check(ext2fs_write_inode(image, directory, &inode), path);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: classic-marks IMAGE MARKS\n");
    return 1;
  }
  std::ifstream marks(argv[2]);
  if (!marks) {
    std::fprintf(stderr, "classic-marks: cannot read %s\n", argv[2]);
    return 1;
  }
  initialize_ext2_error_table();
  ext2_filsys image = nullptr;
  check(ext2fs_open(argv[1], EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &image),
        argv[1]);
  check(ext2fs_read_bitmaps(image), argv[1]);
  std::vector<std::pair<std::string, int>> entries;
  std::string line;
  while (std::getline(marks, line)) {
    std::istringstream words(line);
    std::string kind;
    std::string path;
    words >> kind >> path;
    if (kind == "whiteout" || kind == "fallthru") {
      add_entry(image, path);
      entries.emplace_back(path, kind == "whiteout" ? kWhiteoutType : kFallthruType);
    } else if (kind == "opaque") {
      make_opaque(image, path);
    } else if (kind == "feature") {
      image->super->s_feature_incompat |= kWhiteoutFeature;
      ext2fs_mark_super_dirty(image);
    } else if (!kind.empty()) {
      std::fprintf(stderr, "classic-marks: unknown mark: %s\n", line.c_str());
      return 1;
    }
  }
  for (const auto& [path, type] : entries) {
    turn_entry(image, path, type);
  }
  check(ext2fs_close_free(&image), argv[1]);
  return 0;
}
