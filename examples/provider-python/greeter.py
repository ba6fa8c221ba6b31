#!/usr/bin/env python3
"""Greets in the words of its links: a provider in Python over bare NATS, with nothing of lattice and no package.

The host starts it and writes one line to its standard input: who it is, where NATS is, which links it has. What it
does after that is five subscriptions: the function, links that come, links that go, health, shutdown.
"""

import base64
import json
import socket
import sys
from time import monotonic

# How long calls that are on their way are answered through a link that is gone.
LINGER = 1.5
# How many calls wait for a link that is not there yet.
MOST_WAITING = 100


class Nats:
    """As much of the NATS protocol as a provider needs. Messages of one connection come in order."""

    def __init__(self, url):
        host, _, port = url.removeprefix("nats://").rpartition(":")
        self.stream = socket.create_connection((host, int(port))).makefile("rwb")
        self.stream.readline()  # INFO
        self.send(b'CONNECT {"verbose":false,"headers":true,"lang":"python","version":"1"}')

    def send(self, line, payload=None):
        self.stream.write(line + b"\r\n" + (b"" if payload is None else payload + b"\r\n"))

    def subscribe(self, subject, number, queue=""):
        self.send(f"SUB {subject} {queue} {number}".encode())

    def publish(self, subject, payload, reply=""):
        self.send(f"PUB {subject} {reply} {len(payload)}".encode(), payload)

    def messages(self):
        """Gives (subscription, reply subject, headers, payload) of each message. Its end is an error."""
        self.stream.flush()
        while line := self.stream.readline():
            words = line.decode().split()
            if words[0] == "-ERR":
                sys.exit(f"NATS says: {line.decode().strip()}")
            if words[0] == "PING":
                self.send(b"PONG")
            elif words[0] in ("MSG", "HMSG"):
                sizes = 2 if words[0] == "HMSG" else 1
                total = int(words[-1])
                head = int(words[-2]) if sizes == 2 else 0
                body = self.stream.read(total + 2)[:total]
                reply = words[3] if len(words) == 4 + sizes else ""
                fields = (field.partition(":") for field in body[:head].decode().split("\r\n")[1:])
                headers = {name.strip().lower(): value.strip() for name, _, value in fields if name}
                yield int(words[2]), reply, headers, body[head:]
            self.stream.flush()
        sys.exit("NATS has closed the connection")


def encode(text):
    """A WIT string on the wire: its length in bytes as LEB128, and the bytes."""
    data, length = text.encode(), b""
    size = len(data)
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return length + data


def decode(data):
    length = shift = at = 0
    while True:
        length |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return data[at : at + length].decode()


def main():
    data = json.loads(base64.b64decode(sys.stdin.readline()))
    lattice, own = data["lattice_rpc_prefix"], data["provider_key"]
    greetings, ends, waiting = {}, {}, []

    def put(link):
        if link["target"] == own:
            config = dict(link.get("target_config") or {})
            key = link["source_id"], link["name"]
            greetings[key] = config.get("greeting", "Hello")
            ends.pop(key, None)

    def forget():
        for key in [key for key, end in ends.items() if end < monotonic()]:
            del greetings[key], ends[key]

    def answered(reply, link, payload):
        if link not in greetings:
            return False
        nats.publish(reply + ".results", encode(f"{greetings[link]}, {decode(payload)}!"))
        # The end of the results.
        nats.publish(reply + ".results", b"")
        return True

    for link in data.get("link_definitions", []):
        put(link)
    nats = Nats(data["lattice_rpc_url"] or "nats://127.0.0.1:4222")
    greet = f"{lattice}.{own}.wrpc.0.0.1.example:greet/greeter@0.1.0.greet"
    nats.subscribe(greet, 1, queue=f"{lattice}.{own}")
    # Each process has a key, at which its host tells it about links.
    key = data["provider_xkey_public_key"]
    nats.subscribe(f"wasmbus.rpc.{lattice}.{key}.linkdefs.put", 2)
    nats.subscribe(f"wasmbus.rpc.{lattice}.{own}.linkdefs.del", 3)
    nats.subscribe(f"wasmbus.rpc.{lattice}.{own}.health", 4)
    nats.subscribe(f"wasmbus.rpc.{lattice}.{own}.default.shutdown", 5)

    for number, reply, headers, payload in nats.messages():
        if number == 1:
            link = headers.get("source-id"), headers.get("link-name", "default")
            # Accepted: nobody listens at the second subject, since all parameters have come.
            nats.publish(reply, b"", reply="_.no.more.parameters")
            waiting.append((reply, link, payload))
        elif number == 2:
            put(json.loads(payload))
        elif number == 3:
            link = json.loads(payload)
            key = link["source_id"], link["name"]
            if key in greetings:
                ends.setdefault(key, monotonic() + LINGER)
        elif number == 4:
            nats.publish(reply, b'{"healthy":true}')
        elif number == 5 and json.loads(payload)["host_id"] == data["host_id"]:
            nats.publish(reply, b"shutting down")
            nats.stream.flush()
            return
        # A call may come before its link does. Its caller knows how long to wait.
        forget()
        waiting = [call for call in waiting if not answered(*call)][-MOST_WAITING:]


if __name__ == "__main__":
    main()
