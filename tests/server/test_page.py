"""The page to chat in, in a real browser."""
import json

import pytest

from browser import Browser
from sluice_cli import wait_until
from toy_server import ToyServer


@pytest.fixture
def server():
    toy = ToyServer(1, 4, 20_000)
    yield toy
    toy.stop()


@pytest.fixture
def page(server, tmp_path):
    browser = Browser(server.url + "/", tmp_path)
    yield browser
    browser.close()


def send(page, text):
    page.run(f"document.getElementById('text').value = {json.dumps(text)};"
             "document.getElementById('form').requestSubmit()")


def messages(page):
    """(class, visible text) of each message."""
    return page.run("[...document.querySelectorAll('.message')].map("
                    "(block) => [block.className, block.innerText.trim()])")


IDLE = "document.getElementById('send').textContent === 'Send'"


def test_shows_the_model_and_its_answers(page):
    page.wait_for("document.title === 'toy'")
    send(page, "SAY:Let me think.</think>Grüße <b>👋</b>|")
    page.wait_for(IDLE)
    assert messages(page) == [["message user", "SAY:Let me think.</think>Grüße <b>👋</b>|"],
                              ["message assistant", "Reasoning\nGrüße <b>👋</b>"]]
    assert page.run("document.querySelector('details > div').textContent") == "Let me think."
    assert page.problems == []


def test_keeps_the_conversation_until_a_new_one(page, server):
    page.run("document.getElementById('think').click()")
    send(page, "SAY:one|")
    page.wait_for(IDLE)
    send(page, "SAY:two|")
    page.wait_for(IDLE)
    assert [text for _, text in messages(page)] == ["SAY:one|", "one", "SAY:two|", "two"]
    page.run("document.getElementById('clear').click()")
    assert messages(page) == []


def test_shows_errors(page):
    send(page, "x" * 30_000)
    page.wait_for(IDLE)
    kind, text = messages(page)[-1]
    assert kind == "message error"
    assert "does not fit the model's context" in text
    send(page, "FAIL")
    page.wait_for(IDLE)
    assert "told to fail" in messages(page)[-1][1]


def test_stops_an_answer(page, server):
    page.run("document.getElementById('think').click()")
    send(page, "SAY:SLOW " + "x" * 5000 + "|")
    page.wait_for("document.querySelector('.assistant')?.innerText.includes('SLOW')")
    page.run("document.getElementById('send').click()")
    page.wait_for(IDLE)
    wait_until(server.is_idle, "the answer has ended")
    assert "error" not in json.dumps([kind for kind, _ in messages(page)])
