// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/recipe.h"

#include <algorithm>
#include <cstring>
#include <random>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace unionfs::fuzzing {
namespace {

constexpr size_t kHeadBytes = 4;
constexpr size_t kStepBytes = sizeof(RecipeStep);

// A recipe as bytes, whose steps are changed as wholes.
class RecipeMutation {
 public:
  RecipeMutation(const uint8_t* data, size_t size, unsigned seed) : random_(seed) {
    std::memcpy(head_, data, std::min(size, kHeadBytes));
    steps_ = parse_recipe(data, size).steps;
  }

  void change() {
    switch (below(steps_.empty() ? 2 : 12)) {
      case 0:
        LLVMFuzzerMutate(head_, kHeadBytes, kHeadBytes);
        break;
      case 1:
      case 2:
        insert(fresh_step());
        break;
      case 3:
        steps_.erase(steps_.begin() + static_cast<ptrdiff_t>(below(steps_.size())));
        break;
      case 4:
        std::swap(any(), any());
        break;
      case 5:
        insert(any());
        break;
      default:
        change_numbers(any());
        break;
    }
  }

  size_t write(uint8_t* data, size_t max_size) const {
    if (max_size < kHeadBytes) {
      return 0;
    }
    const size_t count = std::min(steps_.size(), (max_size - kHeadBytes) / kStepBytes);
    std::memcpy(data, head_, kHeadBytes);
    if (count > 0) {
      std::memcpy(data + kHeadBytes, steps_.data(), count * kStepBytes);
    }
    return kHeadBytes + count * kStepBytes;
  }

 private:
  size_t below(size_t end) { return static_cast<size_t>(random_()) % end; }
  uint32_t number() {
    // Small ones often, because they choose among few things.
    const auto value = static_cast<uint32_t>(random_());
    return value >> below(32);
  }
  RecipeStep& any() { return steps_[below(steps_.size())]; }
  void insert(RecipeStep step) {
    if (steps_.size() < kMaxSteps) {
      steps_.insert(steps_.begin() + static_cast<ptrdiff_t>(below(steps_.size() + 1)), step);
    }
  }
  RecipeStep fresh_step() {
    return {static_cast<uint8_t>(random_()), static_cast<uint8_t>(random_()),
            static_cast<uint16_t>(random_()), number(), number()};
  }

  void change_numbers(RecipeStep& step) {
    switch (below(8)) {
      case 0:
        step.kind = static_cast<uint8_t>(random_());
        break;
      case 1:
        step.how = static_cast<uint8_t>(random_());
        break;
      case 2:
        step.where = static_cast<uint16_t>(random_());
        break;
      case 3:
        step.which = number();
        break;
      case 4:
        step.value = number();
        break;
      case 5:
        step.which = step.which + 1U;
        break;
      default:
        // It knows what the code under it compares with.
        LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(&step.value), sizeof(step.value),
                         sizeof(step.value));
        break;
    }
  }

  std::mt19937 random_;
  uint8_t head_[kHeadBytes] = {};
  std::vector<RecipeStep> steps_;
};

}  // namespace

Recipe parse_recipe(const uint8_t* data, size_t size) {
  Recipe recipe;
  if (size < kHeadBytes) {
    return recipe;
  }
  recipe.base = data[0];
  recipe.option = data[1];
  recipe.seed = static_cast<uint16_t>(data[2] | data[3] << 8);
  recipe.steps.resize(std::min(kMaxSteps, (size - kHeadBytes) / kStepBytes));
  if (!recipe.steps.empty()) {
    std::memcpy(recipe.steps.data(), data + kHeadBytes, recipe.steps.size() * kStepBytes);
  }
  return recipe;
}

size_t mutate_recipe(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  RecipeMutation mutation(data, size, seed);
  mutation.change();
  return mutation.write(data, max_size);
}

size_t cross_recipes(const uint8_t* first, size_t first_size, const uint8_t* second,
                     size_t second_size, uint8_t* out, size_t max_size, unsigned seed) {
  const size_t first_steps = parse_recipe(first, first_size).steps.size();
  const std::vector<RecipeStep> theirs = parse_recipe(second, second_size).steps;
  const size_t kept = first_steps == 0 ? 0 : seed % (first_steps + 1);
  const size_t skipped = theirs.empty() ? 0 : seed / 64 % (theirs.size() + 1);
  std::vector<uint8_t> joined(kHeadBytes + kept * kStepBytes);
  std::memcpy(joined.data(), first, std::min(first_size, joined.size()));
  const auto* more = reinterpret_cast<const uint8_t*>(theirs.data() + skipped);
  joined.insert(joined.end(), more, more + (theirs.size() - skipped) * kStepBytes);
  const size_t size = std::min(joined.size(), max_size);
  std::memcpy(out, joined.data(), size);
  return size;
}

}  // namespace unionfs::fuzzing
