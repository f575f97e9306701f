"""What the client checks share: arguments, and a way to say what was verified or what is wrong."""

import argparse
import json
import sys
import urllib.request


def arguments(what):
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--rest-url", required=True, help="base address of the exchange's REST side, http://host:port")
    parser.add_argument("--ws-url", required=True, help="base address of its WebSocket side, ws://host:port")
    parser.add_argument("--symbol", default="BTC/USDT")
    return parser.parse_args()


def verify(condition, what, *facts):
    """Prints what holds; ends the program with what does not, and the facts."""
    if not condition:
        print(f"MISMATCH: {what}: {' | '.join(repr(f)[:400] for f in facts)}")
        sys.exit(1)
    print(f"verified: {what}")


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def post(url, body=None):
    data = b"" if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
