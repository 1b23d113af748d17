#include "server/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::server {
namespace {

using namespace std::chrono_literals;

constexpr auto kWritePatience = 10s;  // for a client to take what it is sent
constexpr auto kLinger = 1s;
constexpr std::chrono::milliseconds kSlice = 100ms;  // of a wait

using NameOf = int (*)(int, sockaddr*, socklen_t*);

void Describe(socket_t socket, NameOf name_of, std::string& ip, int& port) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (name_of(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &ipv4.sin_addr, text.data(), text.size());
    port = ntohs(ipv4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &ipv6.sin6_addr, text.data(), text.size());
    port = ntohs(ipv6.sin6_port);
  }
  ip = text.data();
}

}  // namespace

bool Connection::closed() const {
  char byte = 0;
  const ssize_t count = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
}

// In slices, so that a server that stops waits for no client.
bool Connection::Wait(short events, Clock::time_point deadline) const {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd poll_socket{socket_, events, 0};
    const auto slice = std::clamp(left, 0ms, kSlice);
    const int ready = ::poll(&poll_socket, 1, static_cast<int>(slice.count()));
    if (ready > 0) return (poll_socket.revents & (events | POLLHUP)) != 0;
    if (ready < 0 && errno != EINTR) return false;
    if (left <= 0ms || is_stopping_()) return false;
  }
}

bool Connection::WaitForRequest(std::chrono::milliseconds idle,
                                std::chrono::milliseconds patience) {
  deadline_ = Clock::now() + idle;
  if (!is_readable()) return false;
  deadline_ = Clock::now() + patience;
  return true;
}

void Connection::Linger() {
  ::shutdown(socket_, SHUT_WR);
  deadline_ = Clock::now() + kLinger;
  std::array<char, 4096> rest{};
  while (read(rest.data(), rest.size()) > 0) {
  }
}

bool Connection::is_readable() const {
  return begin_ < end_ || (!is_stopping_() && Wait(POLLIN, deadline_));
}

bool Connection::is_writable() const {
  return Wait(POLLOUT, Clock::now() + kWritePatience) && !closed();
}

ssize_t Connection::read(char* data, size_t size) {
  if (begin_ == end_) {
    if (!is_readable()) return -1;
    ssize_t count = 0;
    do {
      count = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
    } while (count < 0 && errno == EINTR);
    if (count <= 0) return count;
    begin_ = 0;
    end_ = static_cast<std::size_t>(count);
  }
  const std::size_t count = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t Connection::write(const char* data, size_t size) {
  if (!Wait(POLLOUT, Clock::now() + kWritePatience)) return -1;
  ssize_t count = 0;
  do {
    count = ::send(socket_, data, size, MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  return count;
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  Describe(socket_, ::getpeername, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  Describe(socket_, ::getsockname, ip, port);
}

}  // namespace sluice::server
