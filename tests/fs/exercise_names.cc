// SPDX-License-Identifier: BSD-3-Clause
//
// Operations on names: making, linking, renaming and removing them.

#include "exercise.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>

#include <fmt/format.h>

#include "text.h"

namespace fstest {

namespace {

// Keeps every path short enough for one system call.
constexpr std::size_t most_depth = 9;

std::size_t count_below(Node const& node) {
  std::size_t count = 1;
  for (auto const& child : node.children) count += count_below(*child.second);
  return count;
}

}  // namespace

// Few enough words that names come back after they were deleted.
std::string Exercise::new_name() {
  static char const* const words[] = {"alpha", "bin",  "conf", "data", "etc", "file",
                                      "g",     "home", "init", "lib",  "m",   "usr"};
  std::uint64_t const chance = random_.below(100);
  if (chance < 80) {
    char const* const word = words[random_.below(std::size(words))];
    return fmt::format("{}{}", word, random_.below(30));
  }
  std::string name;
  if (chance < 88) {  // any bytes a name may have
    for (std::uint64_t left = random_.between(1, 20); left > 0; left--)
      name += static_cast<char>(random_.between(1, 255));
    std::replace(name.begin(), name.end(), '/', '\n');
    return name == "." || name == ".." ? "dots" : name;
  }
  std::uint64_t const length = chance < 98 ? random_.between(60, 255) : random_.between(254, 257);
  for (std::uint64_t index = 0; index < length; index++)
    name += static_cast<char>('a' + (index * 7 + length) % 26);
  return name;
}

Place Exercise::new_place() {
  Node* directory = &model_.pick_directory(random_);
  while (Model::depth(*directory) >= most_depth) directory = directory->parent;
  return {directory, new_name()};
}

void Exercise::remove_place(Place const& place) {
  std::string const file = path(place);
  bool const is_directory = model_.at(place)->kind == Kind::directory;
  Answer const answer{is_directory ? ::rmdir(file.c_str()) : ::unlink(file.c_str())};
  record(is_directory ? "rmdir" : "unlink", shown(file), answer);
  if (answer.good()) model_.remove(place);
}

void Exercise::unlink() {
  Place const place = model_.pick(random_);
  if (place.valid() && model_.at(place)->kind != Kind::directory)
    remove_place(place);
  else
    create();
}

void Exercise::make_directory() {
  Place const place = new_place();
  if (!inodes_left(1) || !space_left(16 << 10)) return;
  auto const mode = static_cast<mode_t>(0700 | random_.below(01000));
  Answer const answer{::mkdir(path(place).c_str(), mode)};
  record("mkdir", fmt::format("{} {:o}", shown(path(place)), mode), answer);
  if (answer.good()) model_.add(place, Kind::directory);
}

void Exercise::remove_directory() {
  // Mostly an empty one; a full one must refuse.
  Place place;
  for (int attempt = 0; attempt < 8; attempt++) {
    place = model_.pick(random_, Kind::directory);
    if (!place.valid() || model_.at(place)->children.empty()) break;
  }
  if (place.valid())
    remove_place(place);
  else
    make_directory();
}

void Exercise::make_symlink() {
  Place const place = new_place();
  if (!inodes_left(1) || !space_left(64 << 10)) return;
  // 59 bytes is the longest target in the inode, 60 the shortest in a block.
  std::uint64_t length = random_.between(1, 59);
  if (random_.percent(50))
    length = random_.between(58, 62);
  else if (random_.percent(40))
    length = random_.between(60, std::min<std::uint64_t>(4095, block_size_bytes_ + 10));
  std::string target;
  for (std::uint64_t index = 0; index < length; index++)
    target += index % 40 == 7 ? '/' : static_cast<char>('a' + random_.below(26));
  Answer const answer{::symlink(target.c_str(), path(place).c_str())};
  record("symlink", fmt::format("{} {}", shown(target), shown(path(place))), answer);
  if (!answer.good()) return;
  model_.add(place, Kind::symlink);
  model_.refresh_space(place);
}

void Exercise::make_kind(Place const& place, Kind kind) {
  mode_t type = S_IFREG;
  dev_t device = 0;
  if (kind == Kind::fifo) {
    type = S_IFIFO;
  } else if (kind == Kind::socket) {
    type = S_IFSOCK;
  } else if (kind != Kind::regular) {
    type = kind == Kind::character ? S_IFCHR : S_IFBLK;
    // Numbers that fit ext2's old encoding, and numbers that do not.
    bool const small = random_.percent(50);
    auto const major_number = static_cast<unsigned>(random_.below(small ? 256 : 4096));
    auto const minor_number = static_cast<unsigned>(random_.below(small ? 256 : 1 << 20));
    device = makedev(major_number, minor_number);
  }
  auto const mode = static_cast<mode_t>(type | random_.below(01000));
  Answer const answer{::mknod(path(place).c_str(), mode, device)};
  record("mknod",
         fmt::format("{} {:o} {}:{}", shown(path(place)), mode, major(device), minor(device)),
         answer);
  if (answer.good()) model_.add(place, kind);
}

void Exercise::make_node() {
  static Kind const kinds[] = {Kind::regular, Kind::fifo, Kind::socket, Kind::character,
                               Kind::block};
  Place const place = new_place();
  if (inodes_left(1) && space_left(64 << 10))
    make_kind(place, kinds[random_.below(std::size(kinds))]);
}

void Exercise::make_link() {
  Place const from = model_.pick(random_);
  Place const to = new_place();
  if (!from.valid() || !space_left(64 << 10)) return;
  Answer const answer{::link(path(from).c_str(), path(to).c_str())};
  record("link", fmt::format("{} {}", shown(path(from)), shown(path(to))), answer);
  if (answer.good()) model_.add_link(to, model_.at(from));
}

void Exercise::rename_places(Place const& from, Place const& to, unsigned flags) {
  auto const node = model_.at(from);
  auto const other = model_.at(to);
  bool const too_deep = Model::depth(*to.directory) + Model::height(*node) > most_depth + 2 ||
                        (flags == RENAME_EXCHANGE && other &&
                         Model::depth(*from.directory) + Model::height(*other) > most_depth + 2);
  std::string const arguments =
      fmt::format("{} {} flags {}", shown(path(from)), shown(path(to)), flags);
  if (too_deep) return record_text("rename", arguments, "not tried");
  Answer const answer{::renameat2(AT_FDCWD, path(from).c_str(), AT_FDCWD, path(to).c_str(), flags)};
  record("rename", arguments, answer);
  if (!answer.good()) return;
  if (flags == RENAME_EXCHANGE)
    model_.exchange(from, to);
  else
    model_.move(from, to);
  // What is left in the old place is a character device 0:0.
  if (flags == RENAME_WHITEOUT && !(model_.at(from))) model_.add(from, Kind::character);
}

void Exercise::rename_any() {
  Place const from = model_.pick(random_);
  Place const to = new_place();
  if (from.valid() && space_left(64 << 10)) rename_places(from, to, 0);
}

void Exercise::rename_directory() {
  Place const from = model_.pick(random_, Kind::directory);
  if (!from.valid()) return make_directory();
  // Half of them stay with their parent, so that only the name changes.
  Place const to = random_.percent(50) ? Place{from.directory, new_name()} : new_place();
  if (space_left(64 << 10)) rename_places(from, to, 0);
}

// Also onto itself, onto another link of itself, and onto what must refuse.
void Exercise::rename_over() {
  Place const from = model_.pick(random_);
  if (!from.valid()) return;
  Place to = model_.pick(random_);
  if (random_.percent(75)) to = model_.pick(random_, model_.at(from)->kind);
  if (to.valid()) rename_places(from, to, 0);
}

void Exercise::rename_exchange() {
  Place const one = model_.pick(random_);
  Place other = model_.pick(random_);
  if (one.valid() && random_.percent(60)) other = model_.pick(random_, Kind::directory);
  if (one.valid() && other.valid()) rename_places(one, other, RENAME_EXCHANGE);
}

void Exercise::rename_special() {
  Place const from = model_.pick(random_);
  Place const to = new_place();
  if (from.valid() && inodes_left(1) && space_left(64 << 10))
    rename_places(from, to, random_.percent(50) ? RENAME_NOREPLACE : RENAME_WHITEOUT);
}

// The name stays, what it names becomes something else.
void Exercise::replace() {
  Place const place = model_.pick(random_);
  if (!place.valid() || !inodes_left(1) || !space_left(64 << 10)) return;
  if (model_.at(place)->kind == Kind::directory && !model_.at(place)->children.empty())
    return create();
  remove_place(place);
  std::uint64_t const way = random_.below(4);
  if (way == 0) {
    Answer const answer{::mkdir(path(place).c_str(), 0755)};
    record("mkdir", shown(path(place)) + " 755", answer);
    if (answer.good()) model_.add(place, Kind::directory);
  } else if (way == 1) {
    Answer const answer{::symlink("replaced", path(place).c_str())};
    record("symlink", "replaced " + shown(path(place)), answer);
    if (answer.good()) model_.add(place, Kind::symlink);
  } else {
    make_kind(place, way == 2 ? Kind::regular : Kind::fifo);
  }
}

// Enough names for an index of a directory to have leaves that split.
void Exercise::create_crowd() {
  // Without an index every new name costs a walk through the directory: few are large.
  Node& directory = model_.pick_directory(random_);
  std::size_t const count =
      random_.percent(30) ? random_.between(1000, 2000) : random_.between(50, 500);
  constexpr std::size_t most_names = 2500;
  if (directory.children.size() + count > most_names) return delete_crowd();
  if (!inodes_left(count) || !space_left(count * 512)) return;
  std::size_t const width = random_.percent(20) ? 120 : 1;
  std::size_t made_count = 0;
  for (std::size_t index = 0; index < count; index++) {
    Place const place{&directory, fmt::format("{:0{}}-{:04}", random_.below(100000), width, index)};
    if (model_.at(place)) continue;
    Answer const answer{::mknod(path(place).c_str(), S_IFREG | 0644, 0)};
    change_count_++;
    if (!answer.good()) {
      record("crowd", shown(path(place)), answer);
      break;
    }
    made_count++;
    model_.add(place, Kind::regular);
    model_.refresh_space(place);  // an inherited access list takes a block
  }
  record_text("crowd", shown(model_.path(directory)), fmt::format("{}", made_count));
}

void Exercise::delete_crowd() {
  Node* directory = model_.pick_crowded_directory(random_, 100);
  if (directory == nullptr) return record_text("delete-crowd", ".", "none");
  unsigned const chance =
      random_.percent(40) ? 100 : static_cast<unsigned>(random_.between(30, 99));
  std::vector<std::string> names;
  for (auto const& child : directory->children)
    if (child.second->kind != Kind::directory && random_.percent(chance))
      names.push_back(child.first);
  std::size_t deleted_count = 0;
  for (std::string const& name : names) {
    Place const place{directory, name};
    Answer const answer{::unlink(path(place).c_str())};
    change_count_++;
    if (!answer.good()) {
      record("delete-crowd", shown(path(place)), answer);
      break;
    }
    deleted_count++;
    model_.remove(place);
  }
  record_text("delete-crowd", shown(model_.path(*directory)), fmt::format("{}", deleted_count));
}

std::size_t Exercise::remove_below(Node& directory) {
  std::size_t count = 0;
  while (!directory.children.empty()) {
    Place const place{&directory, directory.children.begin()->first};
    auto const node = model_.at(place);
    if (node->kind == Kind::directory) count += remove_below(*node);
    bool const is_directory = node->kind == Kind::directory;
    std::string const file = path(place);
    Answer const answer{is_directory ? ::rmdir(file.c_str()) : ::unlink(file.c_str())};
    change_count_++;
    if (!answer.good()) {
      // Going on would never end: the name stays in the model.
      record("remove-tree", shown(file), answer);
      fmt::print(stderr, "fs-exercise: {} cannot be removed\n", shown(file));
      std::fflush(stdout);
      std::exit(1);
    }
    model_.remove(place);
    count++;
  }
  return count;
}

void Exercise::remove_tree() {
  Place const place = model_.pick(random_, Kind::directory);
  if (!place.valid()) return;
  auto const node = model_.at(place);
  std::size_t const most_count = std::max<std::size_t>(20, model_.inode_count() / 12);
  if (count_below(*node) > most_count) return show_directory();
  record_text("remove-tree", shown(path(place)), fmt::format("{}", remove_below(*node)));
  remove_place(place);
}

// What a file system must refuse, and how it does so.
void Exercise::blunder() {
  Place const place = model_.pick(random_);
  Place const other = new_place();
  if (!place.valid()) return;
  std::string const file = path(place);
  bool const is_directory = model_.at(place)->kind == Kind::directory;
  switch (random_.below(7)) {
    case 0:
      return record("mkdir", shown(file) + " 755", Answer{::mkdir(file.c_str(), 0755)});
    case 1:
      if (is_directory) return record("unlink", shown(file), Answer{::unlink(file.c_str())});
      return record("rmdir", shown(file), Answer{::rmdir(file.c_str())});
    case 2:
      if (is_directory) {
        std::string const inside = file + "/" + other.name;
        return record("rename", fmt::format("{} {}", shown(file), shown(inside)),
                      Answer{::rename(file.c_str(), inside.c_str())});
      }
      return record("rename", shown(file) + " .", Answer{::rename(file.c_str(), ".")});
    case 3: {
      std::string const inside = file + "/" + other.name + "-not-there";
      return record("unlink", shown(inside), Answer{::unlink(inside.c_str())});
    }
    case 4: {
      std::string const missing = path(other) + "-not-there";
      return record("truncate", shown(missing), Answer{::truncate(missing.c_str(), 5)});
    }
    case 5: {
      std::string const name(256, 'x');
      return record("symlink", "x " + shown(name), Answer{::symlink("x", name.c_str())});
    }
    default:
      return record("link", fmt::format("{} {}", shown(file), shown(file)),
                    Answer{::link(file.c_str(), file.c_str())});
  }
}

}  // namespace fstest
