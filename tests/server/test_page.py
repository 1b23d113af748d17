"""The page to chat in, in a real browser."""
import json

from browser import Browser
from sluice_cli import wait_until
from toy_server import ToyServer

IDLE = "document.getElementById('send').textContent === 'Send'"


def send(page, text):
    page.run(f"document.getElementById('text').value = {json.dumps(text)};"
             "document.getElementById('form').requestSubmit()")


def say(page, text):
    """Sends a text and gives the last message of the page once the answer has ended."""
    send(page, text)
    page.wait_for(IDLE)
    return messages(page)[-1]


def messages(page):
    """[class, visible text] of each message."""
    return page.run("[...document.querySelectorAll('.message')].map("
                    "(block) => [block.className, block.innerText.trim()])")


def click(page, button):
    page.run(f"document.getElementById('{button}').click()")


def test_chats_in_a_browser(tmp_path):
    server = ToyServer(1, 4, 50_000)
    page = Browser(server.url + "/", tmp_path)
    try:
        page.wait_for("document.title === 'toy'")
        assert say(page, "SAY:Let me think.</think>Grüße <b>👋</b>|") == [
            "message assistant", "Reasoning\nGrüße <b>👋</b>"]
        assert page.run("document.querySelector('details > div').textContent") == "Let me think."
        assert page.problems == []

        click(page, "clear")
        click(page, "think")
        say(page, "SAY:one|")
        say(page, "SAY:two|")
        assert [text for _, text in messages(page)] == ["SAY:one|", "one", "SAY:two|", "two"]

        kind, text = say(page, "x" * 60_000)
        assert kind == "message error"
        assert "does not fit the model's context" in text
        assert "told to fail" in say(page, "FAIL")[1]
        assert say(page, "SAY:on|") == ["message assistant", "on"]

        send(page, "SAY:HOLD|")
        page.wait_for("[...document.querySelectorAll('.assistant')].at(-1).innerText.includes('HOLD.')")
        click(page, "send")  # which says Stop meanwhile
        page.wait_for(IDLE)
        wait_until(server.is_idle, "the answer has ended")
        assert messages(page)[-1][0] == "message assistant"
    finally:
        page.close()
        server.stop()
