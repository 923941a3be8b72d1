#!/usr/bin/env python3
"""launch/mpirun.sh: after SIGTERM a server on two ranks finishes its stream and ends with 0; exit codes of ranks are its own: drain_test.py SOURCES ENGINE"""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys

SOURCES, ENGINE = map(pathlib.Path, sys.argv[1:])
TOKENS = 400


class Server:
    def __init__(self):
        self.process = subprocess.Popen([SOURCES / "launch/mpirun.sh", "-np", "2", ENGINE, "serve", "--model", SOURCES / "models/harbour/hf", "--port", "0"],
                                        env=os.environ, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def stream(self):
        """The answer of a completion that has begun."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = {"prompt": "The gull", "max_tokens": TOKENS, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "ignore_eos": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.status
        assert answer.readline().startswith(b"data: ")
        return answer


def main():
    server = Server()
    answer = server.stream()
    server.process.send_signal(signal.SIGTERM)
    rest = answer.read().decode()
    assert rest.rstrip().endswith("data: [DONE]"), rest[-200:]
    usage = json.loads(rest.rsplit("data: ", 2)[1])["usage"]
    assert usage["completion_tokens"] == TOKENS, usage
    code = server.process.wait(60)
    assert code == 0, code

    idle = Server()
    idle.process.send_signal(signal.SIGTERM)
    assert idle.process.wait(60) == 0

    lost = subprocess.run([SOURCES / "launch/mpirun.sh", "-np", "2", ENGINE, "generate", "--model", "/nowhere"], capture_output=True, text=True, timeout=60)
    assert lost.returncode == 66, (lost.returncode, lost.stderr)
    print(f"{TOKENS} tokens came whole, exit codes 0, 0 and 66")


if __name__ == "__main__":
    main()
