// SPDX-License-Identifier: BSD-3-Clause
//
// What the exercise believes of the tree it works on: names, kinds, which names
// are links of one inode, and how much space each inode takes. Targets are chosen
// from here, in the order of names, never from what readdir happens to return.
//
// Not thread-safe; the model owns its nodes.

#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "random.h"

namespace fstest {

enum class Kind { regular, directory, symlink, fifo, socket, character, block };

[[nodiscard]] Kind kind_of_mode(mode_t mode);
[[nodiscard]] char const* kind_name(Kind kind);

struct Node {
  Kind kind = Kind::regular;
  bool initial = false;  // it was there before the exercise began
  std::size_t name_count = 0;
  std::uint64_t space_bytes = 0;

  // Directories only. A directory has one name, so it can know its parent.
  Node* parent = nullptr;
  std::string name;
  std::map<std::string, std::shared_ptr<Node>> children;
};

// A name, whether or not something has it.
struct Place {
  Node* directory = nullptr;
  std::string name;

  [[nodiscard]] bool valid() const { return directory != nullptr; }
};

class Model {
 public:
  // The tree below the current directory. lost+found is left out: e2fsck wants
  // it where it is. Ends the program if the tree cannot be read.
  static Model from_current_directory();

  Model();
  Model(Model&&) = default;
  Model& operator=(Model&&) = default;

  [[nodiscard]] Node& root() { return *root_; }
  [[nodiscard]] std::uint64_t used_bytes() const { return used_bytes_; }
  [[nodiscard]] std::size_t inode_count() const { return inode_count_; }

  [[nodiscard]] std::string path(Place const& place) const;
  [[nodiscard]] std::string path(Node const& directory) const;
  // Null if nothing has the name.
  [[nodiscard]] std::shared_ptr<Node> at(Place const& place) const;
  [[nodiscard]] static std::size_t depth(Node const& directory);
  [[nodiscard]] static std::size_t height(Node const& node);

  std::shared_ptr<Node> add(Place const& place, Kind kind);
  void add_link(Place const& place, std::shared_ptr<Node> const& node);
  // The node lives on, uncounted, as long as the caller keeps it.
  std::shared_ptr<Node> remove(Place const& place);
  void move(Place const& from, Place const& to);
  void exchange(Place const& one, Place const& other);
  // Asks the file system how much space the place's inode takes now.
  void refresh_space(Place const& place);
  void set_space(Node& node, std::uint64_t space_bytes);

  // Names chosen by descending from the root; an invalid place if luck or the
  // tree gives none.
  [[nodiscard]] Place pick(Random& random) const;
  [[nodiscard]] Place pick(Random& random, Kind kind, bool initial_only = false) const;
  [[nodiscard]] Node& pick_directory(Random& random) const;
  [[nodiscard]] Node* pick_crowded_directory(Random& random, std::size_t least_count) const;
  [[nodiscard]] Place largest_file() const;

  // Empty if the two agree in names, kinds and links, else the first difference.
  [[nodiscard]] static std::string difference(Model const& believed, Model const& found);

 private:
  void read_directory(Node& directory, std::string const& path,
                      std::map<std::uint64_t, std::shared_ptr<Node>>& linked);

  std::shared_ptr<Node> root_;
  std::uint64_t used_bytes_ = 0;
  std::size_t inode_count_ = 0;
};

}  // namespace fstest
