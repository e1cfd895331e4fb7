// SPDX-License-Identifier: BSD-3-Clause

#include "model.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "text.h"

namespace fstest {

namespace {

// A guess that is the same on every file system; how many blocks a directory has
// depends on its history, and choices must not.
constexpr std::uint64_t directory_space_bytes = 8192;

[[noreturn]] void stop(char const* what, std::string const& path) {
  fmt::print(stderr, "fs-exercise: {} {}: {}\n", what, escape(path), error_name(errno));
  std::exit(1);
}

std::vector<std::string> sorted_names(std::string const& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(path.c_str()), ::closedir};
  if (!directory) stop("opendir", path);
  std::vector<std::string> names;
  errno = 0;
  while (dirent const* entry = ::readdir(directory.get())) names.emplace_back(entry->d_name);
  if (errno != 0) stop("readdir", path);
  std::sort(names.begin(), names.end());
  return names;
}

Place choose_child(Node& directory, Random& random) {
  auto child = directory.children.begin();
  std::advance(child, static_cast<std::ptrdiff_t>(random.below(directory.children.size())));
  return {&directory, child->first};
}

std::uint64_t space_of(struct stat const& status) {
  return S_ISDIR(status.st_mode) ? directory_space_bytes
                                 : static_cast<std::uint64_t>(status.st_blocks) * 512;
}

}  // namespace

Kind kind_of_mode(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return Kind::directory;
    case S_IFLNK:
      return Kind::symlink;
    case S_IFIFO:
      return Kind::fifo;
    case S_IFSOCK:
      return Kind::socket;
    case S_IFCHR:
      return Kind::character;
    case S_IFBLK:
      return Kind::block;
    default:
      return Kind::regular;
  }
}

char const* kind_name(Kind kind) {
  switch (kind) {
    case Kind::regular:
      return "regular";
    case Kind::directory:
      return "directory";
    case Kind::symlink:
      return "symlink";
    case Kind::fifo:
      return "fifo";
    case Kind::socket:
      return "socket";
    case Kind::character:
      return "character";
    case Kind::block:
      return "block";
  }
  return "unknown";
}

Model::Model() : root_{std::make_shared<Node>()} {
  root_->kind = Kind::directory;
  root_->name_count = 1;
}

Model Model::from_current_directory() {
  Model model;
  std::map<std::uint64_t, std::shared_ptr<Node>> linked;
  model.read_directory(*model.root_, ".", linked);
  return model;
}

void Model::read_directory(Node& directory, std::string const& path,
                           std::map<std::uint64_t, std::shared_ptr<Node>>& linked) {
  for (std::string const& name : sorted_names(path)) {
    if (name == "." || name == ".." || (&directory == root_.get() && name == "lost+found"))
      continue;
    std::string const child_path = path + "/" + name;
    struct stat status {};
    if (::lstat(child_path.c_str(), &status) != 0) stop("lstat", child_path);
    Place const place{&directory, name};
    bool const may_be_linked = status.st_nlink > 1 && !S_ISDIR(status.st_mode);
    auto const known = linked.find(status.st_ino);
    if (may_be_linked && known != linked.end()) {
      add_link(place, known->second);
      continue;
    }
    auto node = add(place, kind_of_mode(status.st_mode));
    node->initial = true;
    set_space(*node, space_of(status));
    if (may_be_linked) linked.emplace(status.st_ino, node);
    if (node->kind == Kind::directory) read_directory(*node, child_path, linked);
  }
}

std::string Model::path(Node const& directory) const {
  if (&directory == root_.get()) return ".";
  std::string const above = path(*directory.parent);
  return above == "." ? directory.name : above + "/" + directory.name;
}

std::string Model::path(Place const& place) const {
  std::string const above = path(*place.directory);
  return above == "." ? place.name : above + "/" + place.name;
}

std::shared_ptr<Node> Model::at(Place const& place) const {
  auto const child = place.directory->children.find(place.name);
  return child == place.directory->children.end() ? nullptr : child->second;
}

std::size_t Model::depth(Node const& directory) {
  std::size_t depth = 0;
  for (Node const* node = &directory; node->parent != nullptr; node = node->parent) depth++;
  return depth;
}

std::size_t Model::height(Node const& node) {
  std::size_t height = 0;
  for (auto const& child : node.children)
    height = std::max(height, Model::height(*child.second) + 1);
  return height;
}

std::shared_ptr<Node> Model::add(Place const& place, Kind kind) {
  auto node = std::make_shared<Node>();
  node->kind = kind;
  inode_count_++;
  add_link(place, node);
  if (kind == Kind::directory) set_space(*node, directory_space_bytes);
  return node;
}

void Model::add_link(Place const& place, std::shared_ptr<Node> const& node) {
  place.directory->children[place.name] = node;
  node->name_count++;
  if (node->kind == Kind::directory) {
    node->parent = place.directory;
    node->name = place.name;
  }
}

std::shared_ptr<Node> Model::remove(Place const& place) {
  auto node = at(place);
  place.directory->children.erase(place.name);
  node->name_count--;
  if (node->name_count == 0) {
    set_space(*node, 0);
    inode_count_--;
  }
  return node;
}

void Model::move(Place const& from, Place const& to) {
  auto const node = at(from);
  auto const replaced = at(to);
  // rename() between two links of one inode does nothing at all.
  if (replaced == node) return;
  if (replaced) remove(to);
  from.directory->children.erase(from.name);
  node->name_count--;
  add_link(to, node);
}

void Model::exchange(Place const& one, Place const& other) {
  auto const first = at(one);
  auto const second = at(other);
  first->name_count--;
  second->name_count--;
  add_link(one, second);
  add_link(other, first);
}

void Model::refresh_space(Place const& place) {
  struct stat status {};
  if (::lstat(path(place).c_str(), &status) != 0) stop("lstat", path(place));
  set_space(*at(place), space_of(status));
}

void Model::set_space(Node& node, std::uint64_t space_bytes) {
  used_bytes_ += space_bytes - node.space_bytes;
  node.space_bytes = space_bytes;
}

Place Model::pick(Random& random) const {
  Place place;
  Node* directory = root_.get();
  while (!directory->children.empty()) {
    place = choose_child(*directory, random);
    directory = at(place).get();
    if (random.percent(25)) break;
  }
  return place;
}

Place Model::pick(Random& random, Kind kind, bool initial_only) const {
  for (int attempt = 0; attempt < 24; attempt++) {
    Place const place = pick(random);
    if (!place.valid()) return place;
    auto const node = at(place);
    if (node->kind == kind && (node->initial || !initial_only)) return place;
  }
  return {};
}

Node& Model::pick_directory(Random& random) const {
  Place const place = random.percent(10) ? Place{} : pick(random, Kind::directory);
  return place.valid() ? *at(place) : *root_;
}

Node* Model::pick_crowded_directory(Random& random, std::size_t least_count) const {
  std::vector<Node*> found;
  std::function<void(Node&)> const visit = [&](Node& directory) {
    if (directory.children.size() >= least_count) found.push_back(&directory);
    for (auto const& child : directory.children)
      if (child.second->kind == Kind::directory) visit(*child.second);
  };
  visit(*root_);
  return found.empty() ? nullptr : found[random.below(found.size())];
}

Place Model::largest_file() const {
  Place largest;
  std::uint64_t most_bytes = 0;
  std::function<void(Node&)> const visit = [&](Node& directory) {
    for (auto const& child : directory.children) {
      if (child.second->kind == Kind::directory)
        visit(*child.second);
      else if (child.second->kind == Kind::regular && child.second->space_bytes > most_bytes) {
        most_bytes = child.second->space_bytes;
        largest = {&directory, child.first};
      }
    }
  };
  visit(*root_);
  return largest;
}

std::string Model::difference(Model const& believed, Model const& found) {
  // Links agree if the two nodes of a pair always meet each other.
  std::map<Node const*, Node const*> pairs;
  std::function<std::string(Node const&, Node const&)> const compare =
      [&](Node const& left, Node const& right) -> std::string {
    auto const partner = pairs.emplace(&left, &right).first->second;
    if (left.kind != right.kind || left.name_count != right.name_count || partner != &right)
      return fmt::format(": believed {} with {} names, found {} with {} names",
                         kind_name(left.kind), left.name_count, kind_name(right.kind),
                         right.name_count);
    for (auto const& child : right.children)
      if (left.children.count(child.first) == 0)
        return "/" + escape(child.first) + ": should not exist";
    for (auto const& child : left.children) {
      auto const other = right.children.find(child.first);
      if (other == right.children.end()) return "/" + escape(child.first) + ": is missing";
      std::string const below = compare(*child.second, *other->second);
      if (!below.empty()) return "/" + escape(child.first) + below;
    }
    return "";
  };
  return compare(*believed.root_, *found.root_);
}

}  // namespace fstest
