// A client's socket as httplib's stream, which can also tell that the client has gone away.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>

namespace sluice::server {

// Does not own the socket.
class Connection final : public httplib::Stream {
 public:
  // No wait goes on, and nothing more is read, once `is_stopping` says so.
  Connection(socket_t socket, std::function<bool()> is_stopping)
      : socket_(socket), is_stopping_(std::move(is_stopping)) {}

  // Whether the client has closed its side.
  [[nodiscard]] bool closed() const;

  // Waits for a request to begin, up to `idle`. All of it has to arrive within `patience` then.
  [[nodiscard]] bool WaitForRequest(std::chrono::milliseconds idle,
                                    std::chrono::milliseconds patience);

  // Makes the request that is being answered the connection's last one.
  void EndAfterRequest() { ending_ = true; }
  [[nodiscard]] bool ending() const { return ending_; }
  // Takes, for a moment, what the client still sends. Closing a socket with unread bytes would also
  // throw away what the client has not read yet.
  void Linger();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool Wait(short events, Clock::time_point deadline) const;

  socket_t socket_;
  std::function<bool()> is_stopping_;
  Clock::time_point deadline_;  // for reading
  bool ending_ = false;
  std::array<char, 4096> buffer_{};  // httplib reads lines byte by byte
  std::size_t begin_ = 0;            // of what is in the buffer
  std::size_t end_ = 0;
};

}  // namespace sluice::server
