"""A headless Chromium, driven through its debugging pipe."""
import json
import os
import shutil
import subprocess


class Browser:
    """One tab. `folder` keeps the browser's profile."""

    def __init__(self, url, folder):
        chromium = shutil.which("chromium")
        assert chromium, "no chromium on PATH: ./dev test installs it"
        # Its sandbox does not work for root and in some containers; the page is our own.
        arguments = [chromium, "--headless", "--remote-debugging-pipe", "--disable-gpu",
                     "--no-first-run", "--no-sandbox", f"--user-data-dir={folder}",
                     "--disable-dev-shm-usage"]
        # The browser reads commands from descriptor 3 and writes to descriptor 4.
        command_end, self.commands = os.pipe()
        self.answers, answer_end = os.pipe()
        shell = f"exec \"$@\" 3<&{command_end} 4>&{answer_end}"
        self.process = subprocess.Popen(["bash", "-c", shell, "bash", *arguments],
                                        pass_fds=(command_end, answer_end), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(command_end)
        os.close(answer_end)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.problems = []  # what the page's console says is wrong
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("Page.enable")
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def run(self, script):
        """The value of a script in the page; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, condition):
        """Waits until a script gives something true, and gives it."""
        return self.run("new Promise((resolve) => { const look = () => { const found = " + condition
                        + "; found ? resolve(found) : setTimeout(look, 20); }; look(); })")

    def close(self):
        self.call("Browser.close")
        self.process.wait(60)
        os.close(self.commands)
        os.close(self.answers)

    def _read(self):
        while b"\0" not in self.buffer:
            part = os.read(self.answers, 65536)
            assert part, "the browser has ended"
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event):
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(event["params"]["exceptionDetails"])
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.problems.append(event["params"]["entry"]["text"])
