// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/since.h"

#include <algorithm>
#include <charconv>

#include "overlay/remote/nbd_uri.h"
#include "overlay/stack/squash.h"
#include "tools/command_line/spool.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

const std::atomic<bool> since_never_cancelled{false};

// All layers above a level as one.
struct LayersAsOne {
  std::unique_ptr<PosixFile> file;
  std::unique_ptr<LayerOverLower> layer;
};

Result<const LayerOverLower*> make_one(LayersAsOne& one, const LayerOverLower& lowest,
                                       const LayerOverLower& top) {
  UNIONFS_ASSIGN(one.file, make_temporary_file());
  // What is looked at may change meanwhile, and nothing is kept.
  UNIONFS_TRY(squash_layers(lowest, top, *one.file, {.log = note, .is_compared = false},
                            since_never_cancelled));
  UNIONFS_ASSIGN(one.layer, LayerOverLower::load(lowest.below(), *one.file, note));
  return one.layer.get();
}

// As it was given, else its number, else its file's name, if only one has that.
Result<size_t> level_of(const Chain& chain, const std::string& text) {
  const LevelPaths paths = chain.paths();
  if (const auto given = std::find(paths.begin(), paths.end(), text); given != paths.end()) {
    return static_cast<size_t>(given - paths.begin());
  }
  size_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc() && rest == end && number < paths.size()) {
    return number;
  }
  const auto has_name = [&](const std::string& level) { return level.ends_with("/" + text); };
  const auto named = std::find_if(paths.begin(), paths.end(), has_name);
  if (named != paths.end() && std::none_of(named + 1, paths.end(), has_name)) {
    return static_cast<size_t>(named - paths.begin());
  }
  return invalid("\"{}\" is {} below the upper: these are 0 to {}, or a file of {}",
                 shown_level(text),
                 named == paths.end() ? "no level" : "the name of several levels", paths.size() - 1,
                 chain.as_options());
}

// What a frozen level shows with its session is no layer, so that none can be made over it.
Result<void> check_shows_a_layer(const Chain& chain, size_t number) {
  if (chain.frozen_view() == nullptr) {
    return {};
  }
  size_t top = chain.layers().size();
  while (top > 0 && chain.layers()[top - 1]->area().is_void()) {
    --top;
  }
  if (number >= top) {
    return invalid(
        "{}: shows a session of its own, against which no difference can be told; levels up to "
        "number {} can be given, and layers that unionfs-img seal -o makes",
        shown_level(chain.paths()[number]), top - 1);
  }
  return {};
}

}  // namespace

CLI::Option* add_since(CLI::App& command, std::string& level) {
  return command
      .add_option("--since", level,
                  "Against this level and not the one directly below: its number, 0 for the lower, "
                  "or its file")
      ->type_name("LEVEL");
}

Result<LayerInstead> layers_since(const Chain& chain, const std::string& level) {
  if (level.empty()) {
    return LayerInstead();
  }
  UNIONFS_ASSIGN(const size_t number, level_of(chain, level));
  UNIONFS_TRY(check_shows_a_layer(chain, number));
  if (number == chain.layers().size()) {
    return LayerInstead();
  }
  const LayerOverLower& lowest = *chain.layers()[number];
  const auto one = std::make_shared<LayersAsOne>();
  return LayerInstead(
      [one, &lowest](const LayerOverLower& top) { return make_one(*one, lowest, top); });
}

}  // namespace unionfs::img
