#include "core/error.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "core/utf8.h"

namespace sluice {
namespace {

void SetIfEmpty(std::string& field, std::string_view text) {
  if (field.empty()) field = text;
}

std::string FormatOne(const Error& error) {
  std::string text;
  if (!error.file.empty()) text += Printable(error.file) + ": ";
  if (!error.tensor.empty()) text += fmt::format("tensor '{}' ", Printable(error.tensor));
  if (error.offset) text += fmt::format("at byte {} ", *error.offset);
  if (!error.tensor.empty() || error.offset) text.back() = ':', text += ' ';
  text += Printable(error.what);
  if (!error.expected.empty()) text += fmt::format(": expected {}", Printable(error.expected));
  if (!error.actual.empty()) {
    text += fmt::format("{}got {}", error.expected.empty() ? ": " : ", ", Printable(error.actual));
  }
  if (!error.advice.empty()) text += "\n  " + Printable(error.advice);
  return text;
}

}  // namespace

Error&& Error::In(std::string_view path) && {
  SetIfEmpty(file, path);
  return std::move(*this);
}
Error&& Error::At(std::string_view tensor_name) && {
  SetIfEmpty(tensor, tensor_name);
  return std::move(*this);
}
Error&& Error::AtOffset(std::uint64_t byte_offset) && {
  if (!offset) offset = byte_offset;
  return std::move(*this);
}
Error&& Error::Expected(std::string_view text) && {
  SetIfEmpty(expected, text);
  return std::move(*this);
}
Error&& Error::Actual(std::string_view text) && {
  SetIfEmpty(actual, text);
  return std::move(*this);
}
Error&& Error::Advice(std::string_view text) && {
  SetIfEmpty(advice, text);
  return std::move(*this);
}

std::string Error::Format() const {
  std::string text = FormatOne(*this);
  for (const Error& other : more) text += "\n" + FormatOne(other);
  return text;
}

Error MakeError(ErrorCode code, std::string_view what) {
  Error error;
  error.code = code;
  error.what = what;
  return error;
}

Error JoinErrors(std::vector<Error> problems) {
  Error first = std::move(problems.front());
  for (std::size_t i = 1; i < problems.size(); ++i) {
    std::vector<Error> nested = std::move(problems[i].more);
    problems[i].more.clear();
    first.more.push_back(std::move(problems[i]));
    for (Error& error : nested) first.more.push_back(std::move(error));
  }
  return first;
}

Error ErrnoError(std::string_view what, std::string_view path, int error_number) {
  return MakeError(ErrorCode::kIo, what)
      .In(path)
      .Actual(std::generic_category().message(error_number));
}

}  // namespace sluice
