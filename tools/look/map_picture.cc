// SPDX-License-Identifier: BSD-3-Clause
#include "tools/look/map_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct OwnerLook {
  const char* name;
  const char* meaning;
  char letter;
  const char* terminal_colour;
  const char* svg_colour;
};

// In the order of Owner.
constexpr std::array<OwnerLook, kOwnerCount> kLooks = {{
    {"lower", "falls through to the lower", '-', "34", "#a9c4de"},
    {"upper", "the layer's own", '#', "31", "#d1492e"},
    {"state", "raw in the state area (the open session)", '*', "33", "#f0a202"},
    {"synthesized", "computed from both", '+', "35", "#7b5ea7"},
    {"zero", "in neither: zeros", '.', "90", "#eceff1"},
}};

const OwnerLook& look_of(Owner owner) {
  return kLooks[static_cast<size_t>(owner)];
}

// How much of one cell of a picture each owner has, from 0 to 1.
using Shares = std::array<double, kOwnerCount>;

std::vector<Shares> shares_of_cells(const OwnerMap& map, size_t cell_count) {
  std::vector<Shares> cells(cell_count, Shares{});
  const double blocks_per_cell =
      static_cast<double>(map.block_count) / static_cast<double>(cell_count);
  for (const OwnedRange& range : map.ranges) {
    const double begin = static_cast<double>(range.blocks.begin.value()) / blocks_per_cell;
    const double end = static_cast<double>(range.blocks.end.value()) / blocks_per_cell;
    for (auto cell = static_cast<size_t>(begin); cell < cell_count; ++cell) {
      const auto left = static_cast<double>(cell);
      if (left >= end) {
        break;
      }
      cells[cell][static_cast<size_t>(range.owner)] +=
          std::min(end, left + 1) - std::max(begin, left);
    }
  }
  return cells;
}

Owner largest(const Shares& shares) {
  return static_cast<Owner>(std::max_element(shares.begin(), shares.end()) - shares.begin());
}

// What is the layer's must not vanish in a large cell: it is drawn over the
// rest, the more of it the stronger.
constexpr std::array<Owner, 2> kOnTop = {Owner::kUpper, Owner::kState};

double share_of(const Shares& shares, Owner owner) {
  return shares[static_cast<size_t>(owner)];
}

uint64_t bytes_of(const OwnerMap& map, Owner owner) {
  return map.block_counts[static_cast<size_t>(owner)] * map.block_size_bytes;
}

std::string xml_text(const std::string& text) {
  std::string escaped;
  for (const char letter : text) {
    switch (letter) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      default:
        escaped += letter;
    }
  }
  return escaped;
}

}  // namespace

const char* owner_name(Owner owner) {
  return look_of(owner).name;
}

std::string terminal_picture(const OwnerMap& map) {
  constexpr size_t kColumns = 64;
  constexpr size_t kMaxRows = 16;
  const size_t rows = std::clamp<size_t>(divide_round_up(map.block_count, kColumns), 1, kMaxRows);
  const std::vector<Shares> cells = shares_of_cells(map, rows * kColumns);
  std::string picture;
  for (size_t row = 0; row < rows; ++row) {
    const uint64_t first = map.block_count * row / rows * map.block_size_bytes;
    picture += fmt::format("{:>12}  ", human_size(first));
    for (size_t column = 0; column < kColumns; ++column) {
      const Shares& shares = cells[row * kColumns + column];
      Owner owner = largest(shares);
      for (const Owner top : kOnTop) {
        owner = share_of(shares, top) > 0 ? top : owner;
      }
      const OwnerLook& look = look_of(owner);
      picture += fmt::format("\033[{}m{}\033[0m", look.terminal_colour, look.letter);
    }
    picture += '\n';
  }
  for (size_t i = 0; i < kOwnerCount; ++i) {
    const OwnerLook& look = kLooks[i];
    picture +=
        fmt::format("  \033[{}m{}\033[0m {:<12} {:>12}  {}\n", look.terminal_colour, look.letter,
                    look.name, human_size(bytes_of(map, static_cast<Owner>(i))), look.meaning);
  }
  return picture;
}

std::string svg_picture(const OwnerMap& map) {
  constexpr size_t kColumns = 96;
  constexpr size_t kMaxRows = 64;
  constexpr size_t kCellPixels = 9;
  constexpr size_t kLeftPixels = 90;
  constexpr size_t kTopPixels = 70;
  constexpr size_t kLegendLinePixels = 20;
  const size_t rows = std::clamp<size_t>(divide_round_up(map.block_count, kColumns), 1, kMaxRows);
  const std::vector<Shares> cells = shares_of_cells(map, rows * kColumns);
  const size_t legend_top = kTopPixels + rows * kCellPixels + 30;
  const size_t width = kLeftPixels + kColumns * kCellPixels + 30;
  const size_t height = legend_top + kOwnerCount * kLegendLinePixels + 20;

  std::string svg = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height);
  svg += fmt::format("<text x=\"20\" y=\"28\" font-size=\"16\">{} over {}</text>\n",
                     xml_text(printable(map.upper_name)), xml_text(printable(map.lower_name)));
  svg +=
      fmt::format("<text x=\"20\" y=\"50\" fill=\"#555\">merged image of {}, a cell is {}</text>\n",
                  human_size(map.block_count * map.block_size_bytes),
                  human_size(map.block_count * map.block_size_bytes / (rows * kColumns)));
  for (size_t row = 0; row < rows; ++row) {
    const size_t y = kTopPixels + row * kCellPixels;
    if (row % 8 == 0) {
      const uint64_t first = map.block_count * row / rows * map.block_size_bytes;
      svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#555\">{}</text>\n",
                         kLeftPixels - 8, y + kCellPixels, human_size(first));
    }
    for (size_t column = 0; column < kColumns; ++column) {
      const Shares& shares = cells[row * kColumns + column];
      const size_t x = kLeftPixels + column * kCellPixels;
      Shares rest = shares;
      for (const Owner top : kOnTop) {
        rest[static_cast<size_t>(top)] = 0;
      }
      const auto cell = [&](Owner owner, double opacity) {
        svg += fmt::format(
            "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" "
            "fill-opacity=\"{:.2f}\"/>\n",
            look_of(owner).name, x, y, kCellPixels - 1, kCellPixels - 1, look_of(owner).svg_colour,
            opacity);
      };
      cell(largest(rest), 1);
      for (const Owner top : kOnTop) {
        if (share_of(shares, top) > 0) {
          constexpr double kFaintest = 0.35;
          cell(top, kFaintest + (1 - kFaintest) * std::min(share_of(shares, top), 1.0));
        }
      }
    }
  }
  for (size_t i = 0; i < kOwnerCount; ++i) {
    const size_t y = legend_top + i * kLegendLinePixels;
    const double percent = map.block_count == 0 ? 0
                                                : static_cast<double>(map.block_counts[i]) * 100 /
                                                      static_cast<double>(map.block_count);
    svg += fmt::format(
        "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\" stroke=\"#888\"/>\n",
        kLeftPixels, y, kLooks[i].svg_colour);
    svg += fmt::format("<text x=\"{}\" y=\"{}\">{}: {} ({:.2f} %), {}</text>\n", kLeftPixels + 20,
                       y + 11, kLooks[i].name, human_size(bytes_of(map, static_cast<Owner>(i))),
                       percent, kLooks[i].meaning);
  }
  return svg + "</svg>\n";
}

}  // namespace unionfs::img
