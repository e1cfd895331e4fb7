// SPDX-License-Identifier: BSD-3-Clause
//
// fs-exercise --seed N --operations N [--skip K] [--space-limit-mib N]
//             [--inode-limit N] DIR
//
// Applies operations K .. K+N-1 of the series of the seed to the tree below DIR.
// Equal trees end up equal, and the journals on stdout are equal byte for byte:
// choices depend on the seed, the operation's number and the tree in the order of
// its names. A journal line is
//
//     NUMBER OPERATION ARGUMENTS... = RESULT
//
// with the result of the system call or the name of its error, for changes of a
// regular file followed by the 512-byte units it then occupies. One operation may
// write several lines. Paths are escaped as in text.h.
//
// Equal trees must also be on file systems that allocate alike and at once, as ext2
// does: one that allocates late shows other units from one moment to the next.
//
// A series can be continued with another process: the model is read again from
// the tree. It is not the series one process would have done (that one knows open
// files and what was there at its start), but the same on equal trees.
//
// Exit status: 0, or 1 if the system answered what it must not (EIO, ENOSPC, ...)
// or the tree at the end is not what the answers said.

#include "exercise.h"

#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "text.h"

namespace fstest {

Exercise::TableEntry const Exercise::table_[] = {
    {12, &Exercise::create},          {12, &Exercise::write},
    {6, &Exercise::write_initial},    {5, &Exercise::write_far},
    {5, &Exercise::append},           {4, &Exercise::truncate_down},
    {3, &Exercise::truncate_up},      {4, &Exercise::punch},
    {2, &Exercise::map_and_write},    {2, &Exercise::write_direct},
    {2, &Exercise::copy_range},       {5, &Exercise::read},
    {2, &Exercise::read_again},       {1, &Exercise::synchronize},
    {2, &Exercise::unlink_open},      {2, &Exercise::write_held},
    {2, &Exercise::save_over},        {1, &Exercise::link_temporary},
    {7, &Exercise::unlink},           {6, &Exercise::make_directory},
    {3, &Exercise::remove_directory}, {5, &Exercise::make_symlink},
    {3, &Exercise::make_node},        {5, &Exercise::make_link},
    {6, &Exercise::rename_any},       {4, &Exercise::rename_directory},
    {4, &Exercise::rename_over},      {3, &Exercise::rename_exchange},
    {2, &Exercise::rename_special},   {4, &Exercise::replace},
    {1, &Exercise::create_crowd},     {1, &Exercise::delete_crowd},
    {1, &Exercise::remove_tree},      {3, &Exercise::blunder},
    {3, &Exercise::change_mode},      {3, &Exercise::change_owner},
    {3, &Exercise::change_times},     {1, &Exercise::change_flags},
    {6, &Exercise::set_attribute},    {2, &Exercise::set_access_list},
    {3, &Exercise::remove_attribute}, {3, &Exercise::show_status},
    {2, &Exercise::show_directory},
};

std::string Answer::text() const {
  return good() ? fmt::format("{}", value) : error_name(error);
}

Exercise::Exercise(ExerciseOptions const& options)
    : options_{options}, model_{Model::from_current_directory()} {
  struct statfs status {};
  if (::statfs(".", &status) == 0) block_size_bytes_ = static_cast<std::uint64_t>(status.f_bsize);
}

Exercise::~Exercise() {
  release_held(true);
}

bool Exercise::run() {
  for (std::uint64_t done = 0; done < options_.operation_count; done++) {
    number_ = options_.skip_count + done;
    random_ = Random{options_.seed, number_};
    step();
  }
  release_held(true);
  std::string const difference = Model::difference(model_, Model::from_current_directory());
  if (!difference.empty())
    fmt::print(stderr, "fs-exercise: the tree is not what it should be: {}\n", difference);
  fmt::print(stderr, "fs-exercise: seed {}: {} operations, {} calls, {} inodes, {} KiB in use\n",
             options_.seed, options_.operation_count, change_count_, model_.inode_count(),
             model_.used_bytes() / 1024);
  return difference.empty();
}

void Exercise::step() {
  release_held(false);
  unsigned total = 0;
  for (TableEntry const& entry : table_) total += entry.weight;
  auto choice = static_cast<unsigned>(random_.below(total));
  for (TableEntry const& entry : table_) {
    if (choice < entry.weight) {
      (this->*entry.operation)();
      return;
    }
    choice -= entry.weight;
  }
}

void Exercise::record(std::string_view what, std::string const& arguments, Answer const& answer,
                      bool may_be_full) {
  change_count_++;
  record_text(what, arguments, answer.text());
  bool const broken = answer.error == EIO || answer.error == EROFS || answer.error == EUCLEAN ||
                      answer.error == EBADMSG || answer.error == EDQUOT || answer.error == ENOMEM ||
                      answer.error == EMFILE || (answer.error == ENOSPC && !may_be_full);
  if (!broken) return;
  std::fflush(stdout);
  fmt::print(stderr, "fs-exercise: operation {}: {} {}: {}\n", number_, what, arguments,
             answer.text());
  std::exit(1);
}

void Exercise::record_text(std::string_view what, std::string const& arguments,
                           std::string const& text) {
  fmt::print("{} {} {} = {}\n", number_, what, arguments, text);
}

bool Exercise::space_left(std::uint64_t wanted_bytes) {
  // What a write may take besides its data: indirect blocks, partial blocks.
  constexpr std::uint64_t margin_bytes = 256 << 10;
  std::uint64_t used_bytes = model_.used_bytes();
  for (Held const& held : held_) used_bytes += held.space_bytes;
  if (used_bytes + wanted_bytes + margin_bytes <= options_.space_limit_bytes) return true;
  make_room();
  return false;
}

bool Exercise::inodes_left(std::size_t wanted_count) {
  if (model_.inode_count() + held_.size() + wanted_count <= options_.inode_limit) return true;
  delete_crowd();
  return false;
}

// The operation that would have gone over the limit becomes one that gives back.
void Exercise::make_room() {
  Place const place =
      random_.percent(50) ? model_.largest_file() : model_.pick(random_, Kind::regular);
  if (!place.valid())
    record_text("make-room", ".", "nothing");
  else if (random_.percent(50))
    remove_place(place);
  else
    truncate_to(place, random_.below(2) * block_size_bytes_ * 12);
}

void Exercise::release_held(bool all) {
  auto const expired = std::stable_partition(
      held_.begin(), held_.end(), [&](Held const& held) { return !all && held.until > number_; });
  for (auto held = expired; held != held_.end(); ++held) ::close(held->descriptor);
  held_.erase(expired, held_.end());
}

std::string Exercise::path(Place const& place) const {
  return model_.path(place);
}

std::string Exercise::shown(std::string const& path) {
  return escape(path);
}

}  // namespace fstest

int main(int argc, char** argv) {
  fstest::ExerciseOptions options;
  std::string directory;
  std::uint64_t space_limit_mib = 256;
  options.inode_limit = 10000;
  CLI::App app{"Applies a seeded series of file system operations below a directory"};
  app.add_option("--seed", options.seed, "which series")->required();
  app.add_option("--operations", options.operation_count, "how many operations")->required();
  app.add_option("--skip", options.skip_count, "start with this operation of the series");
  app.add_option("--space-limit-mib", space_limit_mib,
                 "keep the tree below this size (default 256)");
  app.add_option("--inode-limit", options.inode_limit,
                 "keep the number of inodes below this (default 10000)");
  app.add_option("directory", directory, "where")->required();
  CLI11_PARSE(app, argc, argv);
  options.space_limit_bytes = space_limit_mib << 20;

  if (::chdir(directory.c_str()) != 0) {
    fmt::print(stderr, "fs-exercise: {}: {}\n", directory, fstest::error_name(errno));
    return 1;
  }
  ::umask(0);
  fstest::Exercise exercise{options};
  bool const good = exercise.run();
  if (std::fflush(stdout) != 0) {
    fmt::print(stderr, "fs-exercise: the journal cannot be written\n");
    return 1;
  }
  return good ? 0 : 1;
}
