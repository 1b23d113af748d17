"""tests/server/toy_server.cpp as a process: a server whose model says what it is told."""
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request

import openai

from sluice_cli import TIMEOUT_SECONDS


class ToyServer:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [os.environ["TOY_SERVER"], *map(str, arguments)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0,
                                    timeout=TIMEOUT_SECONDS)

    def say(self, answer, think=False, **options):
        """The reply to a message that tells the model what to say."""
        return self.client.chat.completions.create(
            model="toy", messages=[{"role": "user", "content": f"SAY:{answer}|"}],
            extra_body={"chat_template_kwargs": {"enable_thinking": think}}, **options)

    def health(self):
        return json.loads(urllib.request.urlopen(self.url + "/health").read())

    def post(self, body, path="/v1/chat/completions", headers=None):
        """(status, JSON) of a request with any body."""
        request = urllib.request.Request(self.url + path, data=body, headers={
            "Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def get(self, path, headers):
        """(status, body) of a request without one."""
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers)) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def is_idle(self):
        health = self.health()
        return health["active"] == 0 and health["waiting"] == 0

    def tell(self):
        """Ends the answers of "HOLD"."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECONDS)

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(TIMEOUT_SECONDS) == 0, self.process.stderr.read()
