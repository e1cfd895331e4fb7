// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/support/real_image.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <stdexcept>

namespace unionfs::testing {
namespace {

constexpr const char* kUuid = "00112233-4455-6677-8899-aabbccddeeff";
constexpr const char* kHashSeed = "01234567-89ab-cdef-0123-456789abcdef";
// Not the machine's own, which may differ.
constexpr const char* kConfiguration = R"([defaults]
  base_features = ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file
  inode_ratio = 8192
[fs_types]
  ext2 = {
  }
  small = {
  }
)";

[[noreturn]] void run_child(const std::vector<std::string>& arguments, const std::string& input,
                            int output) {
  if (freopen(input.c_str(), "r", stdin) == nullptr) {
    _exit(126);
  }
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  setenv("LC_ALL", "C", 1);
  setenv("E2FSPROGS_FAKE_TIME", "1500000000", 1);
  setenv("DEBUGFS_PAGER", "cat", 1);
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  execvp(pointers[0], pointers.data());
  _exit(127);
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 65536> buffer;
  ssize_t count;
  while ((count = read(descriptor, buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  return text;
}

}  // namespace

std::string run(const std::vector<std::string>& arguments, std::string_view input,
                std::initializer_list<int> allowed_exit_codes) {
  std::string input_path = "/dev/null";
  std::optional<ScratchDirectory> scratch;
  if (!input.empty()) {
    input_path = scratch.emplace().path() / "input";
    write_file(input_path, input);
  }
  std::array<int, 2> pipe_ends;
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("pipe failed");
  }
  const pid_t child = fork();
  if (child == 0) {
    run_child(arguments, input_path, pipe_ends[1]);
  }
  close(pipe_ends[1]);
  const std::string output = child > 0 ? read_all(pipe_ends[0]) : "cannot fork";
  close(pipe_ends[0]);
  int status = -1;
  if (child > 0) {
    waitpid(child, &status, 0);
  }
  const int exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (std::find(allowed_exit_codes.begin(), allowed_exit_codes.end(), exit_code) ==
      allowed_exit_codes.end()) {
    std::string message;
    for (const std::string& argument : arguments) {
      message += argument + " ";
    }
    throw std::runtime_error(fmt::format("{}: exit code {}:\n{}", message, exit_code, output));
  }
  return output;
}

ScratchDirectory::ScratchDirectory() {
  const char* parent = getenv("TMPDIR");
  std::string pattern =
      fmt::format("{}/unionfs-unit.XXXXXX", parent != nullptr ? parent : "/var/tmp");
  if (mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error("cannot make " + pattern);
  }
  path_ = pattern;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  if (!file.flush()) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

RealImage::RealImage(uint64_t block_count, const MakeOptions& options)
    : path_(scratch_.path() / "lower.img") {
  const std::filesystem::path configuration = scratch_.path() / "mke2fs.conf";
  write_file(configuration, kConfiguration);
  const std::string extended = fmt::format("hash_seed={}{}{}", kHashSeed,
                                           options.extended.empty() ? "" : ",", options.extended);
  std::vector<std::string> arguments = {
      "env", "MKE2FS_CONFIG=" + configuration.string(), "mke2fs", "-q", "-F", "-t", "ext2"};
  arguments.insert(arguments.end(), {"-b", std::to_string(options.block_size_bytes)});
  arguments.insert(arguments.end(), {"-I", std::to_string(options.inode_size_bytes)});
  arguments.insert(arguments.end(), {"-U", kUuid, "-E", extended});
  if (!options.features.empty()) {
    arguments.insert(arguments.end(), {"-O", options.features});
  }
  if (!options.content.empty()) {
    arguments.insert(arguments.end(), {"-d", options.content.string()});
  }
  arguments.insert(arguments.end(), options.more.begin(), options.more.end());
  arguments.insert(arguments.end(), {path_.string(), std::to_string(block_count)});
  run(arguments);
}

std::string RealImage::debugfs(const std::string& request) const {
  const std::string output = run({"debugfs", "-R", request, path_.string()});
  const size_t banner_end = output.find('\n');
  return banner_end == std::string::npos ? "" : output.substr(banner_end + 1);
}

void RealImage::change(const std::vector<std::string>& requests) const {
  std::string input;
  for (const std::string& request : requests) {
    input += request + "\n";
  }
  const std::string output = run({"debugfs", "-w", "-f", "-", path_.string()}, input);
  // Requests are echoed; what is printed besides, but for good news, is a complaint.
  constexpr std::string_view kGoodNews[] = {
      "debugfs: ", "Allocated inode: ", "Filesystem features: "};
  size_t begin = output.find('\n') + 1;  // behind the banner
  while (begin < output.size()) {
    const size_t end = std::min(output.find('\n', begin), output.size());
    const std::string_view line = std::string_view(output).substr(begin, end - begin);
    const bool is_good =
        std::any_of(std::begin(kGoodNews), std::end(kGoodNews),
                    [line](std::string_view good) { return line.starts_with(good); });
    if (!line.empty() && !is_good) {
      throw std::runtime_error("debugfs: " + output);
    }
    begin = end + 1;
  }
}

std::string RealImage::dumpe2fs() const {
  return run({"dumpe2fs", path_.string()});
}

void RealImage::repair(const std::vector<std::string>& options) const {
  std::vector<std::string> arguments = {"e2fsck", "-fy"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(path_.string());
  run(arguments, "", {0, 1});
}

void RealImage::check_clean() const {
  run({"e2fsck", "-fn", path_.string()});
}

MemoryImage RealImage::load() const {
  std::vector<std::byte> bytes(std::filesystem::file_size(path_));
  std::ifstream file(path_, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) {
    throw std::runtime_error("cannot read " + path_.string());
  }
  return MemoryImage("lower.img", std::move(bytes));
}

uint64_t number_after(std::string_view output, std::string_view label) {
  const size_t found = output.find(label);
  if (found == std::string_view::npos) {
    throw std::runtime_error(fmt::format("no \"{}\" in:\n{}", label, output));
  }
  const std::vector<uint64_t> numbers = numbers_in(output.substr(found + label.size(), 64));
  if (numbers.empty()) {
    throw std::runtime_error(fmt::format("no number behind \"{}\" in:\n{}", label, output));
  }
  return numbers.front();
}

std::vector<uint64_t> numbers_in(std::string_view text) {
  std::vector<uint64_t> numbers;
  bool in_number = false;
  for (const char character : text) {
    const bool is_digit = std::isdigit(static_cast<unsigned char>(character)) != 0;
    if (is_digit && !in_number) {
      numbers.push_back(0);
    }
    if (is_digit) {
      numbers.back() = numbers.back() * 10 + static_cast<uint64_t>(character - '0');
    }
    in_number = is_digit;
  }
  return numbers;
}

}  // namespace unionfs::testing
