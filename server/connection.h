// A client's socket as httplib's stream, which can also tell that the client has gone away.
#pragma once

#include <httplib.h>

#include <array>
#include <cstddef>
#include <string>

namespace sluice::server {

// Does not own the socket.
class Connection final : public httplib::Stream {
 public:
  explicit Connection(socket_t socket) : socket_(socket) {}

  // Whether the client has closed its side.
  [[nodiscard]] bool closed() const;
  // Waits for bytes to read, up to `milliseconds`.
  [[nodiscard]] bool WaitReadable(int milliseconds) const;

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* data, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  socket_t socket_;
  std::array<char, 4096> buffer_{};  // httplib reads lines byte by byte
  std::size_t begin_ = 0;            // of what is in the buffer
  std::size_t end_ = 0;
};

}  // namespace sluice::server
