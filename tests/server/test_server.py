"""The server by way of the official `openai` client, with a model that says what it is told."""
import json
import select
import socket
import threading
import urllib.request

import openai
import pytest

from sluice_cli import wait_until
from toy_server import ToyServer

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "parameters": {
        "type": "object", "required": ["city"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}]
CALL = ("<tool_call>get_weather<arg_key>city</arg_key><arg_value>Köln</arg_value>"
        "<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>")

HOLD_CONTEXT = 10**8  # room for dots


@pytest.fixture
def start():
    servers = []

    def start_server(*arguments):
        servers.append(ToyServer(*arguments))
        return servers[-1]

    yield start_server
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def toy():
    server = ToyServer()
    yield server
    assert server.say("still here").choices[0].message.content == "still here"
    server.stop()


# ---- What it answers ----------------------------------------------------------------------------


def test_names_its_model(toy):
    models = toy.client.models.list().data
    assert [model.id for model in models] == ["toy"]
    assert models[0].context_length == 4096


def test_answers(toy):
    reply = toy.say("Grüße 👋")
    assert reply.object == "chat.completion"
    assert reply.model == "toy"
    choice = reply.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", "Grüße 👋")
    assert choice.finish_reason == "stop"
    prompt = "[gMASK]<sop><|user|>SAY:Grüße 👋|<|assistant|></think>"
    assert reply.usage.prompt_tokens == len(prompt.encode())
    assert reply.usage.completion_tokens == len("Grüße 👋".encode())
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_keeps_reasoning_apart(toy):
    message = toy.say("Let me think.</think>Done.", think=True).choices[0].message
    assert message.content == "Done."
    assert message.reasoning_content == "Let me think."


@pytest.mark.parametrize("options, thinks", [
    ({}, True), ({"reasoning_effort": "none"}, False), ({"reasoning_effort": "high"}, True),
    ({"thinking": {"type": "disabled"}}, False), ({"thinking": {"type": "enabled"}}, True),
    ({"chat_template_kwargs": {"enable_thinking": False}}, False),
])
def test_thinking_can_be_switched(options, thinks, toy):
    body = {"messages": [{"role": "user", "content": "SAY:a</think>b|"}], **options}
    status, reply = toy.post(json.dumps(body).encode())
    assert status == 200
    message = reply["choices"][0]["message"]
    assert message["content"] == ("b" if thinks else "a</think>b")
    assert message.get("reasoning_content") == ("a" if thinks else None)


def joined(stream):
    """(reasoning, content, calls, finish reason, usage) of a stream."""
    reasoning, content, calls, finish, usage = "", "", [], None, None
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk"
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            content += choice.delta.content or ""
            calls += choice.delta.tool_calls or []
            assert finish is None, "something follows the end"
            finish = choice.finish_reason
    return reasoning, content, calls, finish, usage


def test_streams(toy):
    stream = toy.say("Hm, 世界.</think>Grüße 👋", think=True, stream=True,
                     stream_options={"include_usage": True})
    reasoning, content, calls, finish, usage = joined(stream)
    assert (reasoning, content, calls, finish) == ("Hm, 世界.", "Grüße 👋", [], "stop")
    assert usage.completion_tokens == len("Hm, 世界.</think>Grüße 👋".encode())


def test_streams_without_usage_unless_asked(toy):
    assert joined(toy.say("x", stream=True))[4] is None


def test_calls_tools(toy):
    choice = toy.say("Let me see. " + CALL, tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Köln", "days": 3}


def test_streams_tool_calls(toy):
    _, content, calls, finish, _ = joined(toy.say(CALL + CALL, tools=TOOLS, stream=True))
    assert (content, finish) == ("", "tool_calls")
    assert [call.index for call in calls] == [0, 1]
    assert len({call.id for call in calls}) == 2
    assert json.loads(calls[1].function.arguments) == {"city": "Köln", "days": 3}


def test_goes_on_with_the_results_of_tools(toy):
    messages = [{"role": "user", "content": f"SAY:{CALL}|SAY:Sunny.|"}]
    options = {"model": "toy", "tools": TOOLS,
               "extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}
    first = toy.client.chat.completions.create(messages=messages, **options)
    call = first.choices[0].message.tool_calls[0]
    messages += [first.choices[0].message,
                 {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    second = toy.client.chat.completions.create(messages=messages, **options)
    assert second.choices[0].message.content == "Sunny."
    assert second.choices[0].finish_reason == "stop"


def test_tool_choice_none_hides_the_tools(toy):
    with_tools = toy.say("x", tools=TOOLS).usage.prompt_tokens
    assert toy.say("x", tools=TOOLS, tool_choice="none").usage.prompt_tokens < with_tools


def test_stops_at_stop_strings_and_limits(toy):
    choice = toy.say("one two three", stop=["two", "x"]).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one ", "stop")
    choice = toy.say("one two three", stop="three").choices[0]
    assert choice.message.content == "one two "
    for name in ("max_tokens", "max_completion_tokens"):
        choice = toy.say("one two three", **{name: 5}).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("one t", "length")
    choice = toy.say(CALL, tools=TOOLS, max_tokens=20).choices[0]
    assert (choice.message.tool_calls, choice.finish_reason) == (None, "length")


def test_completes_text(toy):
    reply = toy.client.completions.create(model="toy", prompt="SAY:a completion|", max_tokens=50)
    assert (reply.object, reply.choices[0].text) == ("text_completion", "a completion")
    reply = toy.client.completions.create(model="toy", prompt=["SAY:123456789012345678|"])
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == ("1234567890123456", "length")
    stream = toy.client.completions.create(model="toy", prompt="SAY:ab|", stream=True)
    chunks = [chunk.choices[0] for chunk in stream]
    assert "".join(chunk.text for chunk in chunks) == "ab"
    assert chunks[-1].finish_reason == "stop"


def test_reuses_what_it_has_read(toy):
    long = "x" * 500
    toy.say(long)
    assert toy.say(long).usage.prompt_tokens_details.cached_tokens > 500


def test_serves_a_page(toy):
    with urllib.request.urlopen(toy.url + "/") as response:
        assert response.headers["Content-Type"].startswith("text/html")
        page = response.read().decode()
    assert "<title>sluice</title>" in page
    assert "http" not in page.replace('http-equiv', ""), "the page must not need anything else"


# ---- What it refuses ----------------------------------------------------------------------------


def chat(**fields):
    return json.dumps({"messages": [{"role": "user", "content": "SAY:x|"}], **fields}).encode()


@pytest.mark.parametrize("body, words", [
    (b"{", "not valid JSON"), (b"[]", "no JSON object"), (b"\xff", "not valid JSON"),
    (b"[" * 50_000, "not valid JSON"), (b"[" * 40_000 + b"]" * 40_000, "nested too deeply"),
    (b"{}", "'messages' is missing"), (b'{"messages": []}', "'messages' is empty"),
    (b'{"messages": [{"role": "robot"}]}', "messages[0]: unknown role"),
    (chat(temperature="hot"), "'temperature' is not usable: expected a number, got \"hot\""),
    (chat(temperature=-1), "temperature is out of range"),
    (chat(temperature=1e300), "temperature is out of range"),
    (chat(top_p=2), "top_p is out of range"), (chat(max_tokens=0), "'max_tokens' is not usable"),
    (chat(max_tokens=2**70), "'max_tokens' is not usable"), (chat(stop=[1]), "'stop' is not usable"),
    (chat(seed="x"), "'seed' is not usable"), (chat(stream=1), "'stream' is not usable"),
    *((chat(**{name: value}), f"'{name}' is not usable") for name, value in (
        ("repeat_last_n", 2**64 - 1), ("seed", 2**64), ("reasoning_effort", 5), ("reasoning_effort", "much"))),
    (chat(messages=[{"role": "assistant", "reasoning_content": 5}]), "reasoning_content is no string"),
    (chat(messages=[{"role": "user", "content": [{"type": "image_url", "text": "x"}]}]),
     "messages[0]: a part of the content is no text"),
    (chat(tools=[{"function": {"name": ""}}]), "tools[0] has no function with a name"),
    (chat(n=2), "'n' is not supported"), (chat(logprobs=True), "'logprobs' is not supported"),
    *((chat(response_format=format), "'response_format' other than text")
      for format in ({"type": "json_object"}, {"type": 5}, {"type": None}, "text")),
    (chat(tools={}), "tools is no list"), (chat(tools=[{"function": {}}]), "tools[0] has no function"),
    (chat(tool_choice="required"), "'tool_choice' is not usable"),
    (chat(thinking={"type": "maybe"}), "'thinking' is not usable"),
    (chat(chat_template_kwargs=[]), "'chat_template_kwargs' is not usable"),
    (chat(messages=[{"role": "user", "content": "x" * 5000}]),
     "the prompt does not fit the model's context: expected fewer than 4096 tokens, got 50"),
    (chat(messages=[{"role": "user", "content": "x" * 30_000}]),
     "the prompt does not fit the model's context: expected fewer than 4096 tokens, got a text of 30"),
])
def test_refuses_bad_requests(body, words, toy):
    status, reply = toy.post(body)
    assert status == 400
    assert words in reply["error"]["message"]
    assert reply["error"]["type"] == "invalid_request_error"


def test_refuses_bad_completions(toy):
    for body, words in ((b"{}", "'prompt' is missing"), (b'{"prompt": [1, 2]}', "one string"),
                        (b'{"prompt": ""}', "the prompt is empty")):
        status, reply = toy.post(body, "/v1/completions")
        assert (status, words in reply["error"]["message"]) == (400, True), reply


def test_the_client_raises_what_it_should(toy):
    with pytest.raises(openai.BadRequestError, match="does not fit the model's context"):
        toy.say("x" * 5000)
    with pytest.raises(openai.NotFoundError):
        toy.client.embeddings.create(model="toy", input="x")


def test_refuses_what_is_too_large(toy):
    status, reply = toy.post(chat(user="x" * 200_000))
    assert status == 413
    assert "the request is too large: expected at most 100000 bytes" in reply["error"]["message"]


def test_refuses_requests_of_other_sites(toy):
    for headers in ({"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"},
                    {"Host": "elsewhere.example:80", "Origin": "http://elsewhere.example:80"},
                    {"Origin": "null"}, {"Host": "127.elsewhere.example"}):
        status, reply = toy.post(chat(), headers=headers)
        assert (status, reply["error"]["message"]) == (403, "pages of other sites may not ask")
        for path in ("/", "/health", "/v1/models"):
            assert toy.get(path, headers)[0] == 403
    for headers in ({"Origin": toy.url}, {"Host": f"LocalHost:{toy.port}"}, {"Host": "[::1]"}):
        assert toy.post(chat(), headers=headers)[0] == 200


def replies(toy, *requests):
    """All that comes on one connection, to which everything is sent at once, until it is closed."""
    with toy.connect() as connection:
        connection.sendall(b"".join(requests))
        return connection.makefile("rb").read()


def request(body=b"", headers=b"", start=b"POST /v1/chat/completions"):
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return start + b" HTTP/1.1\r\n" + headers + length + b"\r\n" + body


HEALTH = request(start=b"GET /health")


def test_answers_all_requests_of_a_connection(toy):
    last = request(headers=b"Connection: close\r\n", start=b"GET /health")
    reply = replies(toy, HEALTH, request(chat()), last)
    assert reply.count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize("first, status", [
    (request(HEALTH, b"Origin: http://elsewhere.example\r\n"), 403),
    (request(HEALTH, b"Content-Type: multipart/form-data; boundary=b\r\n"), 415),
    (request(b"", b"Transfer-Encoding: chunked\r\n") +
     b"%x\r\n%s\r\n" % (200_000, b"x" * 200_000) + HEALTH, 413),
    (request(HEALTH, start=b"POST /health"), 404),
    (request(HEALTH, start=b"PUT /v1/chat/completions"), 404),
    (request(HEALTH, start=b"GET /v1/models"), 200),
    (b"GET\r\n\r\n" + HEALTH, 400),
    (request(HEALTH, b"Content-Length: 7\r\n"), 400),
    (request(HEALTH, b"Transfer-Encoding: chunked\r\n"), 400),
    (request(headers=b"Content-Length: -1\r\n") + HEALTH, 400),
    (request(headers=b"Content-Length: 1x\r\n") + HEALTH, 400),
    (request(headers=b"Content-Length: 100001\r\n"), 413),
    (request(headers=b"Content-Length: 99999999999999999999999\r\n"), 413),
    (request(), 411),
    (request(chat(), b"Content-Encoding: gzip\r\n"), 415),
    (request(chat(), b"Transfer-Encoding: gzip, chunked\r\n"), 400),
    (request(headers=b"Transfer-Encoding: gzip\r\n"), 400),
    (request(chat(), b"Host: localhost\r\nHost: elsewhere.example\r\n"), 400),
    (request(chat(), b"Host: elsewhere.example\r\nExpect: 100-continue\r\n"), 403),
])
def test_takes_no_unread_rest_for_a_request(first, status, toy):
    reply = replies(toy, first, HEALTH)
    assert reply.startswith(b"HTTP/1.1 %d " % status), reply
    assert reply.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in reply


def test_an_exception_is_an_error(toy):
    status, reply = toy.post(chat(messages=[{"role": "user", "content": "THROW"}]))
    assert (status, reply["error"]["message"]) == (500, "the server could not answer")


@pytest.mark.parametrize("answer", ["<tool_call></tool_call>", "<tool_call>get_weather"])
def test_a_broken_tool_call_is_an_error(answer, toy):
    with pytest.raises(openai.InternalServerError, match="tool call"):
        toy.say(answer, tools=TOOLS)
    with pytest.raises(openai.APIError, match="tool call"):
        for _ in toy.say(answer, tools=TOOLS, stream=True):
            pass


def test_survives_a_model_that_fails(toy):
    with pytest.raises(openai.InternalServerError, match="told to fail"):
        toy.say("FAIL")
    with pytest.raises(openai.APIError, match="told to fail"):
        for _ in toy.say("FAIL", stream=True):
            pass
    assert toy.say("fine").choices[0].message.content == "fine"


def test_survives_garbage(toy):
    for garbage in (b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\n"
                    b"Content-Length: 99999\r\n\r\n{", b"A" * 100_000):
        with toy.connect() as connection:
            connection.sendall(garbage)
    assert toy.say("fine").choices[0].message.content == "fine"


# ---- Several clients ----------------------------------------------------------------------------


def in_background(function, *arguments, **options):
    """Runs in a thread; gives (thread, list that gets the result)."""
    results = []

    def run():
        try:
            results.append(function(*arguments, **options))
        except openai.APIError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_answers_several_at_once_and_lets_others_wait(start):
    server = start(2, 8, HOLD_CONTEXT)
    running = [in_background(server.say, f"HOLD {number}") for number in range(5)]
    wait_until(lambda: server.health() == {"status": "ok", "active": 2, "waiting": 3},
               "two answers are made and three wait")
    server.tell()
    for number, (thread, results) in enumerate(running):
        thread.join()
        assert results[0].choices[0].message.content.rstrip(".") == f"HOLD {number}"
    assert server.is_idle()


def test_refuses_when_too_many_wait(start):
    server = start(1, 1, HOLD_CONTEXT)
    running = [in_background(server.say, "HOLD") for _ in range(2)]
    wait_until(lambda: server.health() == {"status": "ok", "active": 1, "waiting": 1}, "one is answered, one waits")
    with pytest.raises(openai.InternalServerError, match="too many requests are waiting") as refused:
        server.say("THROW")  # refused before it is made into tokens
    assert refused.value.status_code == 503
    server.tell()
    for thread, results in running:
        thread.join()
        assert results[0].choices[0].finish_reason == "stop"
    assert server.say("x").choices[0].message.content == "x"


# The answers below would never end of themselves.


def test_a_client_that_leaves_while_it_waits_gives_its_place_up(start):
    server = start(1, 3, HOLD_CONTEXT)
    body = chat(messages=[{"role": "user", "content": "SAY:HOLD|"}])
    clients = []
    for _ in range(4):  # one is answered, three wait
        clients.append(server.connect())
        clients[-1].sendall(request(body))
        wait_until(lambda: sum(server.health()[key] for key in ("active", "waiting")) == len(clients), "it has come")
    for client in clients[2:]:
        client.close()
    wait_until(lambda: server.health() == {"status": "ok", "active": 1, "waiting": 1}, "their places are free")
    for client in clients[:2]:
        client.close()
    wait_until(server.is_idle, "all have ended")


def test_ends_the_answer_of_a_stream_that_is_closed(start):
    server = start(1, 4, HOLD_CONTEXT)
    stream = server.say("HOLD", stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    wait_until(server.is_idle, "the answer has ended")
    assert server.say("next").choices[0].message.content == "next"


@pytest.mark.parametrize("stream", [False, True])
def test_ends_the_answer_of_a_client_that_is_gone(stream, start):
    server = start(1, 4, HOLD_CONTEXT)
    body = json.dumps({"stream": stream, "messages": [
        {"role": "user", "content": "SAY:HOLD|"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    clients = []
    for _ in range(3):  # one is answered, two wait
        clients.append(server.connect())
        clients[-1].sendall(head.encode() + body)
    wait_until(lambda: server.health() == {"status": "ok", "active": 1, "waiting": 2}, "all are in")
    for client in clients:
        client.close()
    wait_until(server.is_idle, "the answers have ended")
    assert server.say("next").choices[0].message.content == "next"


def test_stops_in_the_middle_of_answers(start):
    server = start(1, 4, HOLD_CONTEXT)
    running = [in_background(server.say, "HOLD") for _ in range(2)]
    running.append(in_background(lambda: list(server.say("HOLD", stream=True))))
    wait_until(lambda: server.health()["waiting"] == 2, "two wait")
    server.stop()
    for thread, _ in running:
        thread.join()


def drip(connection):
    """Sends a header without end, until the server has had enough."""
    connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
    try:
        while not select.select([connection], [], [], 0.02)[0]:
            connection.sendall(b"x")
    except ConnectionError:
        pass


def test_waits_only_so_long_for_a_request(start):
    server = start(1, 4, 4096, 300)
    with server.connect() as connection:
        drip(connection)
    body = b"POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"
    with server.connect() as connection:
        connection.sendall(body)
        reply = connection.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 408 ") and b"has not arrived whole" in reply


def test_stops_in_the_middle_of_a_request(start):
    server = start(1, 4, 4096, 10**9)
    with server.connect() as connection:
        thread, _ = in_background(drip, connection)
        wait_until(lambda: server.health()["status"] == "ok", "it serves others")
        server.stop()
        thread.join()


def test_keeps_its_port_to_itself(toy):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError):
            other.bind(("127.0.0.1", toy.port))
