// SPDX-License-Identifier: BSD-3-Clause
#include "tools/make/fsck.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "overlay/remote/nbd_uri.h"
#include "tools/command_line/text.h"

extern char** environ;

namespace unionfs::img {
namespace {

namespace fs = std::filesystem;

constexpr useconds_t kPollMicroseconds = 20'000;

volatile std::sig_atomic_t ended_by = 0;

// While it lives, signals that end a program are noted, so that what was started can be
// ended in order.  Those that are ignored stay so.
class NotedSignals {
 public:
  NotedSignals() {
    ended_by = 0;
    struct sigaction noting = {};
    noting.sa_handler = [](int signal) { ended_by = signal; };
    for (size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], &noting, &before_[i]);
      if (before_[i].sa_handler == SIG_IGN) {
        ::sigaction(kSignals[i], &before_[i], nullptr);
      }
    }
  }
  NotedSignals(const NotedSignals&) = delete;
  NotedSignals& operator=(const NotedSignals&) = delete;
  ~NotedSignals() {
    for (size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], &before_[i], nullptr);
    }
  }

 private:
  static constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, 3> before_ = {};
};

// As a shell finds it, and where administrators' programs are.
std::optional<std::string> find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  std::string directories = std::string(rest) + ":/usr/sbin:/sbin";
  rest = directories;
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = std::string(rest.substr(0, colon)) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return std::nullopt;
}

enum class Report { kShown, kDropped };

Result<pid_t> start(const std::vector<std::string>& words, Report report = Report::kShown) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  // Facts go to stdout; what other programs say is for people.
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (report == Report::kShown) {
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  }
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return system_failure(error, fmt::format("{}: cannot run", words[0]));
  }
  return pid;
}

// Exit status, or 128 and the signal.  `ends_with_us`: it gets the signals that we get.
int wait_for(pid_t pid, bool ends_with_us = false) {
  int status = 0;
  if (ends_with_us && ended_by != 0) {
    ::kill(pid, SIGTERM);
  }
  while (::waitpid(pid, &status, 0) == -1 && errno == EINTR) {
    if (ends_with_us && ended_by != 0) {
      ::kill(pid, SIGTERM);
    }
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The merged image as a file, for as long as this lives.
class ServedFile {
 public:
  static Result<ServedFile> serve(const FsckImages& images, const std::string& nbdfuse,
                                  const std::string& nbdkit, const std::string& fusermount) {
    const char* given = std::getenv("TMPDIR");
    const std::string base = given != nullptr && *given != '\0' ? given : "/var/tmp";
    std::string name = base + "/unionfs-img.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
      return system_failure(errno, fmt::format("{}: cannot create", name));
    }
    ServedFile served(name, fusermount);
    // The server changes its directory, so that it needs whole paths.
    const auto whole = [](const std::string& path) {
      return is_nbd_uri(path) ? absolute_nbd_uri(path, fs::current_path().string())
                              : fs::absolute(path).string();
    };
    const bool is_path = images.plugin.find('/') != std::string::npos;
    std::vector<std::string> command = {nbdfuse,
                                        name + "/image",
                                        "--command",
                                        nbdkit,
                                        "-s",
                                        is_path ? whole(images.plugin) : images.plugin,
                                        "lower=" + whole(images.levels.front())};
    for (size_t i = 1; i < images.levels.size(); ++i) {
      command.push_back("layer=" + whole(images.levels[i]));
    }
    command.insert(command.end(), {"upper=" + whole(images.upper), "checkpoint=never"});
    UNIONFS_ASSIGN(served.pid_, start(command));
    while (ended_by == 0) {  // an import may take long
      int status = 0;
      if (::waitpid(served.pid_, &status, WNOHANG) == served.pid_) {
        served.pid_ = -1;
        return invalid("the merged image could not be served to e2fsck");
      }
      if (::access(served.file().c_str(), R_OK | W_OK) == 0) {
        return served;
      }
      ::usleep(kPollMicroseconds);
    }
    return invalid("ended by signal {}", ended_by);
  }

  ServedFile(ServedFile&& other) noexcept
      : directory_(std::move(other.directory_)),
        fusermount_(std::move(other.fusermount_)),
        pid_(std::exchange(other.pid_, -1)) {
    other.directory_.clear();
  }
  ServedFile& operator=(ServedFile&&) = delete;
  ~ServedFile() {
    if (!directory_.empty()) {
      (void)end();
    }
  }

  std::string file() const { return directory_ + "/image"; }

  // Returns once the server has written all and let the upper go.
  Result<void> end() {
    int status = 0;
    if (pid_ != -1) {
      const auto unmount = start({fusermount_, "-u", directory_});
      if (!unmount || wait_for(*unmount) != 0) {
        ::kill(pid_, SIGTERM);
      }
      status = wait_for(std::exchange(pid_, -1));
    }
    ::rmdir(std::exchange(directory_, std::string()).c_str());
    if (status != 0) {
      return invalid("the server of the merged image ended with status {}", status);
    }
    return {};
  }

 private:
  ServedFile(std::string directory, std::string fusermount)
      : directory_(std::move(directory)), fusermount_(std::move(fusermount)) {}

  std::string directory_;
  std::string fusermount_;
  pid_t pid_ = -1;
};

// The programs that are needed, by their paths: nbdkit, nbdfuse, fusermount3, e2fsck.
Result<std::vector<std::string>> find_programs() {
  std::vector<std::string> programs;
  std::vector<std::string> missing;
  for (const char* name : {"nbdkit", "nbdfuse", "fusermount3", "e2fsck"}) {
    const auto found = find_program(name);
    if (found) {
      programs.push_back(*found);
    } else {
      missing.emplace_back(name);
    }
  }
  if (::access("/dev/fuse", R_OK | W_OK) == -1) {
    missing.emplace_back("/dev/fuse");
  }
  if (!missing.empty()) {
    return unsupported("--fsck needs what is not here: {}", fmt::join(missing, ", "));
  }
  return programs;
}

Result<void> check_mended(int status, const std::string& name) {
  // Bit 0: errors were mended; bit 1: and a mounted root should be rebooted.
  constexpr int kMended = 1 | 2;
  if ((status & ~kMended) != 0) {
    return invalid("{}: e2fsck ended with status {}", name, status);
  }
  return {};
}

// Signals are noted while it runs, and what was started has ended when it returns.
Result<void> check_served(const FsckImages& images, const std::vector<std::string>& programs) {
  const NotedSignals noted;
  UNIONFS_ASSIGN(ServedFile served,
                 ServedFile::serve(images, programs[1], programs[0], programs[2]));
  UNIONFS_ASSIGN(const pid_t e2fsck, start({programs[3], "-fy", served.file()}));
  const int status = wait_for(e2fsck, true);
  UNIONFS_TRY(served.end());
  return check_mended(status, images.upper);
}

// A path to a file that may have no name.
std::string path_to(const PosixFile& file) {
  return fmt::format("/proc/{}/fd/{}", ::getpid(), file.descriptor());
}

Result<void> check_copy(const PosixFile& image, const std::string& name,
                        const std::string& program) {
  const NotedSignals noted;
  UNIONFS_ASSIGN(const pid_t e2fsck, start({program, "-fy", path_to(image)}));
  return check_mended(wait_for(e2fsck, true), name);
}

// Whenever a signal came, also while the image was let go: nothing more is done, and whoever
// waits for this program sees what ended it.
Result<void> unless_ended(Result<void> checked, const std::string& name) {
  if (ended_by == 0) {
    return checked;
  }
  note(fmt::format("{}: ended by signal {}; the session is no layer yet", name, ended_by));
  ::raise(ended_by);
  return invalid("{}: ended by signal {}", name, ended_by);
}

}  // namespace

Result<void> run_fsck(const FsckImages& images) {
  UNIONFS_ASSIGN(const std::vector<std::string> programs, find_programs());
  return unless_ended(check_served(images, programs), images.upper);
}

bool has_e2fsck() {
  return find_program("e2fsck").has_value();
}

Result<void> look_with_e2fsck(const PosixFile& image, const std::string& name) {
  UNIONFS_ASSIGN(
      const pid_t e2fsck,
      start({find_program("e2fsck").value_or("e2fsck"), "-fn", path_to(image)}, Report::kDropped));
  if (const int status = wait_for(e2fsck); status != 0) {
    return corrupt("{}: e2fsck -fn finds errors in it (status {}); have it mended: give --fsck",
                   name, status);
  }
  return {};
}

Result<void> mend_with_e2fsck(const PosixFile& image, const std::string& name) {
  const auto program = find_program("e2fsck");
  if (!program) {
    return unsupported("--fsck needs what is not here: e2fsck");
  }
  return unless_ended(check_copy(image, name, *program), name);
}

}  // namespace unionfs::img
