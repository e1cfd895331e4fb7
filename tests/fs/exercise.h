// SPDX-License-Identifier: BSD-3-Clause
//
// A seeded series of file system operations on the tree below the current
// directory. Each operation chooses its targets from the model and writes to the
// journal what it asked for and what the system answered.

#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model.h"
#include "random.h"

namespace fstest {

struct ExerciseOptions {
  std::uint64_t seed = 1;
  std::uint64_t operation_count = 1000;
  std::uint64_t skip_count = 0;
  std::uint64_t space_limit_bytes = 0;
  std::size_t inode_limit = 0;
};

// What a system call answered; made right after the call, before errno changes.
struct Answer {
  explicit Answer(std::int64_t result) : value{result}, error{result < 0 ? errno : 0} {}

  [[nodiscard]] bool good() const { return error == 0; }
  [[nodiscard]] std::string text() const;

  std::int64_t value;
  int error;
};

class Exercise {
 public:
  explicit Exercise(ExerciseOptions const& options);
  ~Exercise();
  Exercise(Exercise const&) = delete;
  Exercise& operator=(Exercise const&) = delete;

  // False if the model and the tree disagree at the end.
  [[nodiscard]] bool run();

 private:
  using Operation = void (Exercise::*)();
  struct TableEntry {
    unsigned weight;
    Operation operation;
  };
  // An open file; if it was unlinked, its space is counted here.
  struct Held {
    int descriptor;
    std::uint64_t space_bytes;
    std::uint64_t until;
  };
  static TableEntry const table_[];

  // exercise.cc
  void step();
  // Writes one line. Errors that no healthy file system with free space gives
  // end the program: what comes after them means nothing.
  void record(std::string_view what, std::string const& arguments, Answer const& answer,
              bool may_be_full = false);
  void record_text(std::string_view what, std::string const& arguments, std::string const& text);
  [[nodiscard]] bool space_left(std::uint64_t wanted_bytes);
  [[nodiscard]] bool inodes_left(std::size_t wanted_count);
  void make_room();
  void release_held(bool all);
  [[nodiscard]] std::string path(Place const& place) const;
  [[nodiscard]] static std::string shown(std::string const& path);

  // exercise_data.cc
  void create();
  void write();
  void write_initial();
  void write_far();
  void append();
  void truncate_down();
  void truncate_up();
  void punch();
  void map_and_write();
  void write_direct();
  void copy_range();
  void read();
  void read_again();
  void synchronize();

  void write_file(Place const& place, std::uint64_t offset, std::size_t size_bytes, int flags,
                  std::string_view what);
  std::int64_t write_descriptor(int descriptor, std::uint64_t offset, std::size_t size_bytes);
  std::vector<unsigned char> content(std::size_t size_bytes);
  [[nodiscard]] std::size_t write_size_bytes();
  [[nodiscard]] std::uint64_t far_offset();
  void truncate_to(Place const& place, std::uint64_t size_bytes);
  void read_range(Place const& place, std::uint64_t offset, std::size_t size_bytes,
                  std::string_view what);

  // exercise_open.cc
  void unlink_open();
  void write_held();
  void save_over();
  void link_temporary();

  // exercise_names.cc
  void unlink();
  void make_directory();
  void remove_directory();
  void make_symlink();
  void make_node();
  void make_link();
  void rename_any();
  void rename_directory();
  void rename_over();
  void rename_exchange();
  void rename_special();
  void replace();
  void create_crowd();
  void delete_crowd();
  void remove_tree();
  void blunder();

  [[nodiscard]] std::string new_name();
  [[nodiscard]] Place new_place();
  void remove_place(Place const& place);
  void rename_places(Place const& from, Place const& to, unsigned flags);
  std::size_t remove_below(Node& directory);
  void make_kind(Place const& place, Kind kind);

  // exercise_attributes.cc
  void change_mode();
  void change_owner();
  void change_times();
  void change_flags();
  void set_attribute();
  void set_access_list();
  void remove_attribute();
  void show_status();
  void show_directory();

  ExerciseOptions options_;
  Model model_;
  Random random_{0, 0};
  std::uint64_t number_ = 0;
  std::uint64_t change_count_ = 0;
  std::uint64_t block_size_bytes_ = 4096;
  std::vector<Held> held_;
};

}  // namespace fstest
