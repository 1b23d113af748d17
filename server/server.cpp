#include "server/server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "runtime/text/glm_answer.h"
#include "server/connection.h"
#include "server/engine.h"
#include "server/openai_reply.h"
#include "server/openai_request.h"
#include "server/page.h"
#include "server/request_check.h"

namespace sluice::server {
namespace {

using runtime::Json;
using namespace std::chrono_literals;

constexpr const char* kJsonType = "application/json";
constexpr const char* kChatPath = "/v1/chat/completions";
constexpr const char* kTextPath = "/v1/completions";
constexpr auto kLookAround = 100ms;  // how often a waiting thread looks whether its client is there
constexpr auto kKeepAlive = 15s;     // a stream without news is told that it is not dead
constexpr int kKeepAliveRequests = 100;
constexpr auto kIdle = 5s;                 // between two requests of a connection
constexpr std::size_t kSpareThreads = 64;  // for idle connections and what needs no model

// The client that this thread serves.
thread_local Connection* current_connection = nullptr;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Fail(int status, const Error& error, httplib::Response& response) {
  response.status = status;
  if (response.status == 503) response.set_header("Retry-After", "5");
  response.set_content(Dump(ErrorJson(error)), kJsonType);
}
void Fail(const Error& error, httplib::Response& response) {
  Fail(StatusOf(error), error, response);
}

// httplib's server on sockets of our own, so that handlers can see their client go away.
class Listener final : public httplib::Server {
 public:
  // `patience`: for a request to arrive.
  explicit Listener(std::chrono::milliseconds patience) : patience_(patience) {}

 private:
  bool process_and_close_socket(socket_t socket) override {
    Connection connection(socket, [this] { return svr_sock_ == INVALID_SOCKET; });
    current_connection = &connection;
    bool closed = false;
    for (int request = 1; !closed && request <= kKeepAliveRequests; ++request) {
      if (!connection.WaitForRequest(kIdle, patience_)) break;
      if (!process_request(connection, request == kKeepAliveRequests, closed, nullptr)) break;
      closed = closed || connection.ending();
    }
    if (connection.ending()) connection.Linger();
    current_connection = nullptr;
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return true;
  }

  const std::chrono::milliseconds patience_;
};

// What was refused may not have been read to its end, and httplib reads a body only where it
// expects one. The rest must not be taken for the next request: it may be a page of another site
// that has written it.
void EndAfterUnread(const httplib::Request& request, httplib::Response& response) {
  const bool has_unexpected_body =
      request.method != "POST" &&
      (request.has_header("Content-Length") || request.has_header("Transfer-Encoding"));
  if (response.status < 400 && !has_unexpected_body) return;
  response.set_header("Connection", "close");
  current_connection->EndAfterRequest();
}

// A request that is being answered.
struct Exchange {
  std::shared_ptr<Answer> answer;
  std::unique_ptr<Reply> reply;
  bool include_usage = false;
  bool begun = false;
  std::chrono::steady_clock::time_point last_write = std::chrono::steady_clock::now();

  [[nodiscard]] Usage usage() const {
    return {answer->generation().prompt_tokens(), answer->generation().answer_tokens(),
            answer->reused_tokens()};
  }
};

// Waits for news and gives the chunks that they make.
struct Progress {
  std::vector<Json> chunks;
  bool ended = false;
};
Result<Progress> Advance(Exchange& exchange) {
  Progress progress;
  if (!std::exchange(exchange.begun, true)) progress.chunks = exchange.reply->Begin();
  const Answer::News news = exchange.answer->Wait(kLookAround);
  SLUICE_ASSIGN(std::vector<Json> added, exchange.reply->Add(news.text));
  if (news.error) return *news.error;
  progress.ended = news.ended;
  if (news.ended) {
    SLUICE_ASSIGN(const std::vector<Json> last,
                  exchange.reply->End(exchange.answer->generation(), exchange.usage(),
                                      exchange.include_usage));
    added.insert(added.end(), last.begin(), last.end());
  }
  progress.chunks.insert(progress.chunks.end(), added.begin(), added.end());
  return progress;
}

// Server-sent events: one for each chunk. False when the client is gone.
bool WriteEvents(Exchange& exchange, httplib::DataSink& sink) {
  const Result<Progress> progress = Advance(exchange);
  std::string events;
  const auto add = [&](const Json& json) { events += fmt::format("data: {}\n\n", Dump(json)); };
  if (!progress) {
    exchange.answer->Cancel();
    add(ErrorJson(progress.error()));
  } else {
    for (const Json& chunk : progress->chunks) add(chunk);
    if (progress->ended) events += "data: [DONE]\n\n";
  }
  const auto now = std::chrono::steady_clock::now();
  if (events.empty() && now - exchange.last_write > kKeepAlive) events = ": waiting\n\n";
  if (!events.empty()) {
    exchange.last_write = now;
    if (!sink.write(events.data(), events.size())) return false;
  }
  if (!progress || progress->ended) sink.done();
  return true;
}

void SendStream(const std::shared_ptr<Exchange>& exchange, httplib::Response& response) {
  response.set_header("Cache-Control", "no-store");
  response.set_chunked_content_provider(
      "text/event-stream",
      [exchange](std::size_t, httplib::DataSink& sink) { return WriteEvents(*exchange, sink); },
      [exchange](bool) { exchange->answer->Cancel(); });
}

void SendWhole(Exchange& exchange, httplib::Response& response) {
  while (true) {
    const Result<Progress> progress = Advance(exchange);
    if (!progress) {
      exchange.answer->Cancel();
      return Fail(progress.error(), response);
    }
    if (progress->ended) break;
    if (current_connection->closed()) return exchange.answer->Cancel();
  }
  response.set_content(Dump(exchange.reply->Whole(exchange.usage())), kJsonType);
}

class HttpServer final : public Server {
 public:
  HttpServer(const runtime::ChatModel& model, const ServerOptions& options)
      : model_(model),
        options_(options),
        started_(Seconds()),
        engine_(*model.model, options.parallel, options.max_waiting),
        http_(options.request_patience) {
    const std::size_t threads = options.parallel + options.max_waiting + kSpareThreads;
    http_.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
    AddRoutes();
  }

  ~HttpServer() override {
    engine_.Stop();
    http_.stop();
    if (thread_.joinable()) thread_.join();
  }

  Status Listen() {
    if (options_.port == 0) {
      port_ = http_.bind_to_any_port(options_.host);
    } else if (http_.bind_to_port(options_.host, options_.port)) {
      port_ = options_.port;
    }
    if (port_ <= 0) {
      return MakeError(ErrorCode::kIo,
                       fmt::format("cannot listen on {} port {}", options_.host, options_.port))
          .Advice("another program may use the port: choose another with --port");
    }
    thread_ = std::thread([this] {
      http_.listen_after_bind();
      ended_.store(true);
    });
    // stop() has no effect on a server that is not running yet.
    while (!http_.is_running() && !ended_.load()) std::this_thread::sleep_for(1ms);
    return Ok();
  }

  [[nodiscard]] int port() const override { return port_; }

 private:
  static std::int64_t Seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  using Body = std::optional<std::string>;

  // The body. Absent when it is larger than allowed or does not arrive; the response says so then.
  Body ReadBody(const httplib::ContentReader& reader, httplib::Response& response) const {
    std::string body;
    bool fits = true;
    const bool whole = reader([&](const char* data, std::size_t size) {
      fits = size <= options_.max_body_bytes - body.size();
      if (fits) body.append(data, size);
      return fits;
    });
    if (whole) return body;
    if (fits && response.status != 413) {  // which httplib sets for a length that is announced
      Fail(408, MakeError(ErrorCode::kUsage, "the request has not arrived whole"), response);
    } else {
      Fail(413, TooLarge(options_.max_body_bytes).error, response);
    }
    return std::nullopt;
  }

  bool Refuses(const httplib::Request& request, httplib::Response& response) const {
    const auto refusal = CheckRequest(request, options_.host, options_.max_body_bytes);
    if (refusal) Fail(refusal->status, refusal->error, response);
    return refusal.has_value();
  }

  void AddRoutes() {
    // Unlike httplib's default this refuses a port that another server has.
    http_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    http_.set_payload_max_length(options_.max_body_bytes);
    // httplib would read whatever comes with a request that nobody answers.
    http_.set_pre_routing_handler([this](const httplib::Request& request,
                                         httplib::Response& response) {
      using Outcome = httplib::Server::HandlerResponse;
      if (Refuses(request, response)) return Outcome::Handled;
      const bool is_answered =
          request.method == "GET" || request.method == "HEAD" ||
          (request.method == "POST" && (request.path == kChatPath || request.path == kTextPath));
      if (is_answered) return Outcome::Unhandled;
      response.status = 404;
      return Outcome::Handled;
    });
    http_.set_expect_100_continue_handler(
        [this](const httplib::Request& request, httplib::Response& response) {
          return Refuses(request, response) ? response.status : 100;
        });
    http_.set_post_routing_handler(EndAfterUnread);
    http_.set_exception_handler(
        [](const httplib::Request&, httplib::Response& response, const std::exception_ptr&) {
          Fail(500, MakeError(ErrorCode::kBug, "the server could not answer"), response);
        });
    http_.Get("/", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(std::string(kPage), "text/html; charset=utf-8");
    });
    http_.Get("/health", [this](const httplib::Request&, httplib::Response& response) {
      const Engine::Load load = engine_.load();
      response.set_content(
          Dump({{"status", "ok"}, {"active", load.active}, {"waiting", load.waiting}}), kJsonType);
    });
    http_.Get("/v1/models", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(Dump({{"object", "list"}, {"data", Json::array({ModelJson()})}}),
                           kJsonType);
    });
    AddAnswers(kChatPath, ParseChatRequest);
    AddAnswers(kTextPath, ParseCompletionRequest);
    http_.set_error_handler([](const httplib::Request& request, httplib::Response& response) {
      if (!response.body.empty()) return;
      Error error = MakeError(ErrorCode::kUsage, response.status == 413
                                                     ? "the request is too large"
                                                     : fmt::format("{} {} is not possible here",
                                                                   request.method, request.path));
      response.set_content(Dump(ErrorJson(error)), kJsonType);
    });
  }

  using Parse = Result<Request> (*)(const std::string& body,
                                    const runtime::GenerationOptions& defaults);

  void AddAnswers(const char* path, Parse parse) {
    http_.Post(path, [this, parse](const httplib::Request&, httplib::Response& response,
                                   const httplib::ContentReader& reader) {
      const Body body = ReadBody(reader, response);
      if (!body) return;
      const Status status = AnswerTo(parse, *body, response);
      if (!status) Fail(status.error(), response);
    });
  }

  Json ModelJson() const {
    return {{"id", model_.name},
            {"object", "model"},
            {"created", started_},
            {"owned_by", "sluice"},
            {"context_length", model_.model->context_length()}};
  }

  Status AnswerTo(Parse parse, const std::string& body, httplib::Response& response) {
    SLUICE_ASSIGN(const Request request, parse(body, options_.defaults));
    SLUICE_TRY(engine_.CheckRoom());  // before the work of making tokens
    const auto* chat = std::get_if<runtime::Chat>(&request.prompt);
    SLUICE_ASSIGN(
        runtime::Generation generation,
        chat != nullptr
            ? runtime::StartChat(model_, *chat, request.options)
            : runtime::StartText(model_, std::get<std::string>(request.prompt), request.options));
    auto exchange = std::make_shared<Exchange>();
    const std::string id = fmt::format("{}{:x}", Seconds(), next_id_.fetch_add(1));
    if (chat != nullptr) {
      exchange->reply =
          std::make_unique<ChatReply>("chatcmpl-" + id, model_.name, Seconds(),
                                      runtime::GlmAnswer(chat->thinking, chat->tools));
    } else {
      exchange->reply = std::make_unique<CompletionReply>("cmpl-" + id, model_.name, Seconds());
    }
    exchange->include_usage = request.include_usage;
    SLUICE_ASSIGN(exchange->answer, engine_.Submit(std::move(generation)));
    request.stream ? SendStream(exchange, response) : SendWhole(*exchange, response);
    return Ok();
  }

  const runtime::ChatModel& model_;
  const ServerOptions options_;
  const std::int64_t started_;
  std::atomic<std::uint64_t> next_id_{1};
  Engine engine_;
  Listener http_;
  std::thread thread_;
  std::atomic<bool> ended_{false};
  int port_ = 0;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::Start(const runtime::ChatModel& model,
                                              const ServerOptions& options) {
  auto server = std::make_unique<HttpServer>(model, options);
  SLUICE_TRY(server->Listen());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace sluice::server
