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

// How long a client may keep the server waiting for the rest of a request, or for taking what it is
// sent.
constexpr int kPatienceMilliseconds = 10'000;

bool Wait(socket_t socket, short events, int milliseconds) {
  pollfd poll_socket{socket, events, 0};
  int ready = 0;
  do {
    ready = ::poll(&poll_socket, 1, milliseconds);
  } while (ready < 0 && errno == EINTR);
  return ready > 0 && (poll_socket.revents & (events | POLLHUP)) != 0;
}

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

bool Connection::WaitReadable(int milliseconds) const {
  return begin_ < end_ || Wait(socket_, POLLIN, milliseconds);
}

bool Connection::is_readable() const { return WaitReadable(kPatienceMilliseconds); }

bool Connection::is_writable() const {
  return Wait(socket_, POLLOUT, kPatienceMilliseconds) && !closed();
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
  if (!Wait(socket_, POLLOUT, kPatienceMilliseconds)) return -1;
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
