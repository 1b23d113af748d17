#include "server/request_check.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "core/utf8.h"

namespace sluice::server {
namespace {

Refusal Refuse(int status, std::string_view what) {
  return {status, MakeError(ErrorCode::kUsage, what)};
}

bool IsLoopback(std::string_view name) {
  const bool is_ipv4 = name.find_first_not_of("0123456789.") == std::string_view::npos;
  return name == "localhost" || name == "::1" || name == "[::1]" ||
         (is_ipv4 && name.starts_with("127."));
}

// A page of another site must not make the visitor's browser use the server: neither openly nor
// under a name of its own that leads to this machine.
bool IsForeign(const httplib::Request& request, const std::string& listens_on) {
  const std::string host = AsciiLower(request.get_header_value("Host"));
  const std::string origin = AsciiLower(request.get_header_value("Origin"));
  if (!origin.empty() && origin != "http://" + host) return true;
  const std::string name = host.ends_with(']') ? host : host.substr(0, host.rfind(':'));
  return IsLoopback(listens_on) && !host.empty() && !IsLoopback(name);
}

// Two servers that understand a length differently see different requests on one connection.
std::optional<Refusal> CheckLength(const httplib::Request& request, std::size_t max_body_bytes) {
  const std::size_t lengths = request.get_header_value_count("Content-Length");
  const std::size_t codings = request.get_header_value_count("Transfer-Encoding");
  const bool is_chunked = AsciiLower(request.get_header_value("Transfer-Encoding")) == "chunked";
  if (codings > (is_chunked ? 1 : 0)) {
    return Refuse(400, "the only transfer encoding that the server knows is chunked");
  }
  if (lengths + codings > 1) {
    return Refuse(400, "the request states the length of its body more than once");
  }
  if (lengths == 0) {
    if (is_chunked || request.method != "POST") return std::nullopt;
    return Refuse(411, "the request does not state the length of its body");
  }
  const std::string text = request.get_header_value("Content-Length");
  std::size_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  const bool is_number = !text.empty() && end == text.data() + text.size();
  if (is_number && error == std::errc::result_out_of_range) return TooLarge(max_body_bytes);
  if (!is_number || error != std::errc()) {
    return Refuse(400, "the request's Content-Length is no number");
  }
  if (length > max_body_bytes) return TooLarge(max_body_bytes);
  return std::nullopt;
}

}  // namespace

Refusal TooLarge(std::size_t max_body_bytes) {
  return {413, MakeError(ErrorCode::kUsage, "the request is too large")
                   .Expected(fmt::format("at most {} bytes", max_body_bytes))};
}

std::optional<Refusal> CheckRequest(const httplib::Request& request, const std::string& listens_on,
                                    std::size_t max_body_bytes) {
  if (request.get_header_value_count("Host") > 1) {
    return Refuse(400, "the request names more than one host");
  }
  if (IsForeign(request, listens_on)) return Refuse(403, "pages of other sites may not ask");
  if (auto refusal = CheckLength(request, max_body_bytes)) return refusal;
  const std::string encoding = AsciiLower(request.get_header_value("Content-Encoding"));
  if (!encoding.empty() && encoding != "identity") {
    return Refuse(415, "the body must not be compressed");
  }
  if (request.is_multipart_form_data()) return Refuse(415, "the body has to be JSON");
  return std::nullopt;
}

}  // namespace sluice::server
