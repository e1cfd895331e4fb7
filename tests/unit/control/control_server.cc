// SPDX-License-Identifier: BSD-3-Clause
//
// The server of the control socket, with clients that do what they should, and others.
#include "overlay/control/control_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/unit/support/real_image.h"

namespace unionfs {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

// A directory of its own for the socket.
class SocketPlace {
 public:
  std::string path() const { return scratch_.path() / "socket"; }
  bool is_there() const { return std::filesystem::is_socket(path()); }

 private:
  const testing::ScratchDirectory scratch_;
};

// Actions that say that they were called, and wait if they are told to.
class NotedActions final : public ControlActions {
 public:
  ControlResult info(const AskedExport& asked) override {
    return asked ? ControlResult{ControlOutcome::kUnknown, "(" + *asked + ")"}
                 : ControlResult{ControlOutcome::kDone, R"({"version":"test"})"};
  }
  std::string metrics() override { return "unionfs_test 1\n"; }
  ControlResult flush(const AskedExport&) override {
    std::unique_lock<std::mutex> lock(mutex_);
    ++flushes_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !is_held_; });
    return {ControlOutcome::kDone, R"({"seconds":0.5})"};
  }
  ControlResult checkpoint(const AskedExport&) override {
    return {ControlOutcome::kRefused, "not\nnow"};
  }
  ControlResult snapshot(const AskedExport&, const std::string& name) override {
    if (name == "throws") {
      throw std::bad_alloc();
    }
    return {ControlOutcome::kRefused, name};
  }

  void hold(bool is_held) {
    const std::lock_guard<std::mutex> guard(mutex_);
    is_held_ = is_held;
    changed_.notify_all();
  }
  // Waits until so many flushes have begun.
  void await_flushes(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return flushes_ >= count; });
  }
  int flushes() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return flushes_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_held_ = false;
  int flushes_ = 0;
};

class TestClient {
 public:
  explicit TestClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    is_connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    const timeval patience{20, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  ~TestClient() { close(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  bool is_connected() const { return is_connected_; }
  void close() {
    if (socket_ >= 0) {
      ::close(std::exchange(socket_, -1));
    }
  }
  // False once the server does not want more.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }
  // Until the server has closed.
  std::string receive() {
    std::string all;
    std::array<char, 65536> bytes;
    ssize_t count = 0;
    while ((count = ::recv(socket_, bytes.data(), bytes.size(), 0)) > 0) {
      all.append(bytes.data(), static_cast<size_t>(count));
    }
    const bool is_closed = count == 0 || errno == ECONNRESET;
    return is_closed ? all : all + "(no end)";
  }

 private:
  int socket_;
  bool is_connected_ = false;
};

std::string request(const std::string& line, const std::string& body = "") {
  return line + " HTTP/1.1\r\nHost: disk\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

// "200", and what comes behind the head.
struct TestAnswer {
  std::string status;
  std::string head;
  std::string body;
};

TestAnswer answer_in(const std::string& bytes) {
  INFO(bytes);
  REQUIRE(bytes.starts_with("HTTP/1.1 "));
  const size_t head_end = bytes.find("\r\n\r\n");
  REQUIRE(head_end != std::string::npos);
  return {bytes.substr(9, 3), bytes.substr(0, head_end + 2), bytes.substr(head_end + 4)};
}

TestAnswer ask(const std::string& path, const std::string& bytes) {
  TestClient client(path);
  REQUIRE(client.is_connected());
  client.send(bytes);
  return answer_in(client.receive());
}

// A server, and what it needs.
struct Served {
  explicit Served(ControlLimits limits = {}) {
    auto started = ControlServer::start(place.path(), actions, limits);
    REQUIRE(started);
    server = std::move(*started);
  }

  TestAnswer ask(const std::string& line, const std::string& body = "") const {
    return unionfs::ask(place.path(), request(line, body));
  }

  SocketPlace place;
  NotedActions actions;
  std::unique_ptr<ControlServer> server;
};

size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

TEST_CASE("each request has its answer", "[control_server]") {
  const Served served;
  const TestAnswer info = served.ask("GET /v1/info");
  CHECK(info.status == "200");
  CHECK(info.body == "{\"version\":\"test\"}\n");
  CHECK(info.head.find("Content-Type: application/json\r\n") != std::string::npos);
  CHECK(info.head.find("Content-Length: 19\r\n") != std::string::npos);
  CHECK(info.head.find("Connection: close\r\n") != std::string::npos);
  const TestAnswer metrics = served.ask("GET /v1/metrics");
  CHECK(metrics.body == "unionfs_test 1\n");
  CHECK(metrics.head.find("Content-Type: text/plain; version=0.0.4") != std::string::npos);
  CHECK(served.ask("POST /v1/flush").body == "{\"seconds\":0.5}\n");
  const TestAnswer refused = served.ask("POST /v1/checkpoint");
  CHECK(refused.status == "409");
  CHECK(refused.body == "{\"error\":\"not\\\\x0anow\"}\n");
}

TEST_CASE("mistakes have answers, too", "[control_server]") {
  const Served served;
  CHECK(served.ask("GET /").status == "404");
  CHECK(served.ask("GET /v2/info").status == "404");
  const TestAnswer method = served.ask("DELETE /v1/flush");
  CHECK(method.status == "405");
  CHECK(method.head.find("Allow: POST\r\n") != std::string::npos);
  CHECK(served.ask("HEAD /v1/info").status == "405");
  CHECK(ask(served.place.path(), "NBDMAGIC\r\n").status == "400");
}

TEST_CASE("an export is named behind the path", "[control_server]") {
  const Served served;
  const auto said = [&](const std::string& query) {
    const TestAnswer answer = served.ask("GET /v1/info" + query);
    return answer.status + " " + answer.body;
  };
  CHECK(said("?export=anna") == "404 {\"error\":\"(anna)\"}\n");
  CHECK(said("?export=a%20b+c%2Bd") == "404 {\"error\":\"(a b c+d)\"}\n");
  CHECK(said("?export=%c3%A4=?") == "404 {\"error\":\"(\xc3\xa4=?)\"}\n");
  CHECK(said("?export=") == "404 {\"error\":\"()\"}\n");
  for (const char* query :
       {"?", "?x", "?exports=a", "?export", "?export=a&export=b", "?export=a&b", "?export=%",
        "?export=%4", "?export=a%4", "?export=%-1", "?export=%zz"}) {
    INFO(query);
    CHECK(said(query).starts_with("400 "));
  }
  CHECK(served.ask("GET /v1/metrics?export=anna").status == "400");
}

TEST_CASE("a snapshot has a plain name", "[control_server]") {
  const Served served;
  const auto status = [&](const std::string& body) {
    return served.ask("POST /v1/snapshot", body).status;
  };
  const TestAnswer good = served.ask("POST /v1/snapshot", R"({"name": "before \u00e4"})");
  CHECK(good.status == "409");
  CHECK(good.body == "{\"error\":\"before \xc3\xa4\"}\n");
  for (const std::string body :
       {"", "{", "[]", "null", "\"a\"", "{}", R"({"name": 1})", R"({"name": ""})",
        R"({"name": "a/b"})", R"({"name": ".a"})", R"({"name": ".."})", R"({"name": "a\u0000"})",
        R"({"name": "a\nb"})", R"({"name": "a", "other": 1})", "{\"name\": \"\xff\"}"}) {
    INFO(body);
    CHECK(status(body) == "400");
  }
  CHECK(status(R"({"name": ")" + std::string(255, 'a') + "\"}") == "409");
  CHECK(status(R"({"name": ")" + std::string(256, 'a') + "\"}") == "400");
  CHECK(status(std::string(8000, '[')) == "400");
  CHECK(status(R"({"name": "throws"})") == "500");
  CHECK(status(R"({"name": "and goes on"})") == "409");
}

TEST_CASE("what is too large or without end is cut off", "[control_server]") {
  const Served served;
  TestClient headers(served.place.path());
  headers.send("GET /v1/info HTTP/1.1\r\nHost: disk\r\n");
  std::string many;
  for (int i = 0; i < 200'000; ++i) {
    many += "A: b\r\n";
  }
  CHECK_FALSE(headers.send(many + "\r\n"));
  CHECK(answer_in(headers.receive()).status == "431");

  TestClient chunks(served.place.path());
  chunks.send("POST /v1/snapshot HTTP/1.1\r\nHost: disk\r\nTransfer-Encoding: chunked\r\n\r\n");
  while (chunks.send("4\r\naaaa\r\n")) {
  }
  CHECK(answer_in(chunks.receive()).status == "411");

  TestClient target(served.place.path());
  CHECK_FALSE(target.send("GET /" + std::string(1'000'000, 'a')));
  CHECK(answer_in(target.receive()).status == "431");
  CHECK(served.ask("POST /v1/flush", std::string(9000, ' ')).status == "413");
  CHECK(served.ask("GET /v1/info").status == "200");
}

TEST_CASE("a slow client has its time, however busy it is", "[control_server]") {
  ControlLimits limits;
  limits.time = milliseconds(300);
  const Served served(limits);
  const auto begin = SteadyClock::now();
  TestClient idle(served.place.path());
  TestClient busy(served.place.path());
  busy.send("GET /");
  while (busy.send("a") && SteadyClock::now() - begin < milliseconds(10'000)) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  CHECK(SteadyClock::now() - begin >= limits.time);
  CHECK(SteadyClock::now() - begin < milliseconds(3000));
  CHECK(answer_in(busy.receive()).status == "408");
  CHECK(answer_in(idle.receive()).status == "408");
}

TEST_CASE("a ninth client waits, and a hundred do no harm", "[control_server]") {
  ControlLimits limits;
  limits.time = milliseconds(500);
  const Served served(limits);
  const size_t before = open_descriptors();
  std::vector<std::unique_ptr<TestClient>> idle;
  for (unsigned i = 0; i < limits.connections; ++i) {
    idle.push_back(std::make_unique<TestClient>(served.place.path()));
    REQUIRE(idle.back()->is_connected());
  }
  const auto begin = SteadyClock::now();
  CHECK(served.ask("GET /v1/info").status == "200");
  CHECK(SteadyClock::now() - begin >= milliseconds(300));
  idle.clear();

  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int i = 0; i < 100; ++i) {
    threads.emplace_back([&] {
      TestClient client(served.place.path());
      client.send(request("GET /v1/info"));
      answered += client.receive().starts_with("HTTP/1.1 200") ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(answered.load() == 100);
  std::this_thread::sleep_for(milliseconds(50));
  CHECK(open_descriptors() <= before + 1);
}

TEST_CASE("what takes long is in nobody's way, and has a bound", "[control_server]") {
  ControlLimits limits;
  limits.time = milliseconds(400);
  Served served(limits);
  served.actions.hold(true);
  TestClient first(served.place.path());
  first.send(request("POST /v1/flush"));
  served.actions.await_flushes(1);
  std::vector<std::unique_ptr<TestClient>> waiting;
  for (unsigned i = 0; i < limits.waiting_actions; ++i) {
    waiting.push_back(std::make_unique<TestClient>(served.place.path()));
    waiting.back()->send(request("POST /v1/flush"));
  }
  // The request that comes next is read after those that wait.
  CHECK(served.ask("GET /v1/info").status == "200");
  CHECK(served.ask("POST /v1/flush").status == "503");
  // Who hangs up has asked for nothing, and its place is free.
  waiting.back()->close();
  waiting.pop_back();
  CHECK(served.ask("GET /v1/metrics").status == "200");
  // The time of an action does not count.
  std::this_thread::sleep_for(2 * limits.time);
  served.actions.hold(false);
  CHECK(answer_in(first.receive()).status == "200");
  for (const auto& client : waiting) {
    CHECK(answer_in(client->receive()).status == "200");
  }
  CHECK(served.actions.flushes() == static_cast<int>(1 + waiting.size()));
}

TEST_CASE("the end waits for what has begun only", "[control_server]") {
  Served served;
  served.actions.hold(true);
  TestClient first(served.place.path());
  TestClient second(served.place.path());
  first.send(request("POST /v1/flush"));
  served.actions.await_flushes(1);
  second.send(request("POST /v1/flush"));
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(100));
    served.actions.hold(false);
  });
  served.server.reset();
  later.join();
  CHECK_FALSE(served.place.is_there());
  CHECK(served.actions.flushes() == 1);
  CHECK(second.receive().empty());
}

TEST_CASE("the socket file is one user's, from the start to the end", "[listening_socket]") {
  const mode_t before = ::umask(0);
  Served served;
  ::umask(before);
  struct stat status = {};
  REQUIRE(::stat(served.place.path().c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  served.server.reset();
  CHECK_FALSE(served.place.is_there());
}

TEST_CASE("a socket file is replaced when nobody listens on it", "[listening_socket]") {
  Served served;
  const std::string path = served.place.path();
  NotedActions others;
  const auto second = ControlServer::start(path, others);
  REQUIRE_FALSE(second);
  CHECK(second.error().error_number == EADDRINUSE);
  CHECK(ControlServer::check_can_start(path).error().error_number == EADDRINUSE);
  CHECK(served.ask("GET /v1/info").status == "200");
  // What a killed server leaves.
  const std::string kept = path + ".kept";
  REQUIRE(::rename(path.c_str(), kept.c_str()) == 0);
  served.server.reset();
  REQUIRE(::rename(kept.c_str(), path.c_str()) == 0);
  CHECK(ControlServer::check_can_start(path));
  auto third = ControlServer::start(path, others);
  REQUIRE(third);
  CHECK(served.ask("GET /v1/info").status == "200");
  // It does not remove what is another's.
  REQUIRE(::unlink(path.c_str()) == 0);
  auto fourth = ControlServer::start(path, others);
  REQUIRE(fourth);
  third->reset();
  CHECK(served.place.is_there());
  CHECK(served.ask("GET /v1/info").status == "200");
}

TEST_CASE("what is no socket stays", "[listening_socket]") {
  const SocketPlace place;
  NotedActions actions;
  const auto error_at = [&](const std::string& path) {
    const auto started = ControlServer::start(path, actions);
    const auto checked = ControlServer::check_can_start(path);
    REQUIRE_FALSE(started);
    REQUIRE_FALSE(checked);
    CHECK(started.error().error_number == checked.error().error_number);
    return started.error().error_number;
  };
  std::ofstream(place.path()) << "precious";
  CHECK(error_at(place.path()) == EEXIST);
  CHECK(std::filesystem::file_size(place.path()) == 8);
  std::filesystem::remove(place.path());
  std::filesystem::create_symlink("elsewhere", place.path());
  CHECK(error_at(place.path()) == EEXIST);
  CHECK(error_at(place.path() + "/below/it") == ENOENT);
  CHECK(error_at("") == EINVAL);
  CHECK(error_at(place.path() + std::string(108, 'a')) == ENAMETOOLONG);
}

TEST_CASE("servers that start at once agree who has the name", "[listening_socket]") {
  const SocketPlace place;
  NotedActions actions;
  for (int round = 0; round < 20; ++round) {
    // A stale one is there each time.
    {
      auto left = ControlServer::start(place.path(), actions);
      REQUIRE(left);
      REQUIRE(::rename(place.path().c_str(), (place.path() + "x").c_str()) == 0);
    }
    REQUIRE(::rename((place.path() + "x").c_str(), place.path().c_str()) == 0);
    std::vector<std::unique_ptr<ControlServer>> started(4);
    std::vector<std::thread> threads;
    for (auto& server : started) {
      threads.emplace_back([&] {
        auto made = ControlServer::start(place.path(), actions);
        server = made ? std::move(*made) : nullptr;
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    CHECK(std::count(started.begin(), started.end(), nullptr) == 3);
    CHECK(ask(place.path(), request("GET /v1/info")).status == "200");
  }
}

}  // namespace unionfs
