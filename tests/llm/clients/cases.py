"""Runs cases of client libraries: BASE_URL KEY CASE... on the command line.

A case is `CLIENT/PROVIDER/FEATURE`. A script hands over a class for each of its clients, which says one call
in the words of its library and tells what came back:

- `Client(base, key)`, and with `timeout` in seconds
- `ask(model, call)`: `call` is a `Call`; returns `Said`
- `embed(model, texts)`: vectors
- `leave(model)`: begins a stream and leaves it after its first piece
- `errors`: the class for each status, `broken`: what a stream that breaks off raises, `late`: a time-out

Each case is told on a line: `ok CASE` or `failed CASE: why`. At the end it says `left` and waits for a line,
so that who watches sees that connections end because answers were left, not because the process is gone.
"""

import base64
import dataclasses
import json
import sys
import traceback

PICTURE = b"\x89PNG\r\n\x1a\n"
PICTURE_TEXT = base64.b64encode(PICTURE).decode()
SCHEMA = {"title": "Place", "type": "object", "description": "a place", "additionalProperties": False,
          "properties": {"city": {"type": "string"}}, "required": ["city"]}
# A conversation of which the last turn is asked again: calls with their results, in their order.
RESULTS = [("call_1", "Bern", "20 degrees"), ("call_2", "Rome", "30 degrees")]


@dataclasses.dataclass
class Call:
    text: str = "Hello?"
    stream: bool = False
    system: str = ""
    tools: bool = False
    image: bool = False
    schema: bool = False
    history: bool = False


@dataclasses.dataclass
class Said:
    text: str = ""
    calls: list = dataclasses.field(default_factory=list)
    thought: str = ""
    usage: tuple = None


def chat(client, provider, stream):
    said = client.ask(f"{provider}/say", Call(stream=stream))
    assert said.text == "Hello, world", said
    assert said.usage == (9, 12), said


def tools(client, provider, stream, model, cities):
    said = client.ask(f"{provider}/{model}", Call(stream=stream, tools=True))
    assert said.calls == [("weather", {"city": city}) for city in cities], said


def recite(client, provider, stream):
    said = client.ask(f"{provider}/recite", Call("Thanks", stream, system="Be brief", tools=True, history=True))
    wanted = ["system: Be brief", "user: Weather?", 'call: weather {"city":"Bern"}',
              'call: weather {"city":"Rome"}', "20 degrees", "30 degrees"]
    places = [said.text.find(piece) for piece in wanted]
    assert -1 not in places and places == sorted(places) and "user: Thanks" in said.text, said


def see(client, provider, stream):
    said = client.ask(f"{provider}/see", Call(stream=stream, image=True))
    assert said.text == f"saw {PICTURE_TEXT}", said


def form(client, provider, stream):
    said = client.ask(f"{provider}/json", Call(stream=stream, schema=True))
    assert json.loads(said.text) == {"city": "Bern"}, said


def think(client, provider, stream):
    said = client.ask(f"{provider}/think", Call(stream=stream))
    assert (said.thought, said.text) == ("They greet.", "Hello, world"), said


def embed(client, provider):
    if provider == "a":
        # Its API has no vectors, which is told as the client's mistake.
        error = raises(client.errors[400], lambda: client.embed("a/embed", ["ab", "abcd"]))
        assert "no vectors" in str(error), error
        return
    vectors = client.embed(f"{provider}/embed", ["ab", "abcd"])
    assert vectors == [[2, 1, 0], [4, 2, 1]], vectors


def raises(kind, ask):
    try:
        said = ask()
    except kind as error:
        return error
    raise AssertionError(f"no error: {said}")


def status(client, provider, stream, model, code):
    error = raises(client.errors[code], lambda: client.ask(f"{provider}/{model}", Call(stream=stream)))
    told = getattr(error, "status_code", None) or getattr(error, "code", None)
    assert not isinstance(told, int) or told // 100 == code // 100, (told, error)


def cut(client, provider, stream, model="cut"):
    error = raises(client.broken if stream else client.errors[500],
                   lambda: client.ask(f"{provider}/{model}", Call(stream=stream)))
    assert not stream or "ended before its end" in str(error), error


def late(client, provider, made):
    hasty = made(timeout=0.5)
    raises(hasty.late, lambda: hasty.ask(f"{provider}/hang", Call()))


def unknown(client):
    error = raises(client.errors[404], lambda: client.ask("alais", Call()))
    assert "alias" in str(error), error


def run(clients):
    base, key, cases = sys.argv[1], sys.argv[2], sys.argv[3:]
    ready = {}
    for case in cases:
        try:
            name, provider, feature = case.split("/")
            if name not in ready:
                ready[name] = clients[name](base, key)
            client = ready[name]
            stream = feature.endswith("-stream")
            feature = feature.removesuffix("-stream")
            if feature in ("chat", "recite", "see", "form", "think"):
                globals()[feature](client, provider, stream)
            elif feature in ("tool", "tools"):
                tools(client, provider, stream, feature, {"tool": ["Bern"], "tools": ["Bern", "Rome"]}[feature])
            elif feature == "embed":
                embed(client, provider)
            elif feature.startswith("status-"):
                status(client, provider, stream, feature, int(feature.removeprefix("status-")))
            elif feature in ("empty", "error-inside"):
                status(client, provider, stream, feature, 500)
            elif feature in ("cut", "cut-before"):
                cut(client, provider, stream, feature)
            elif feature == "late":
                late(client, provider, lambda **options: clients[name](base, key, **options))
            elif feature == "leave":
                client.leave(f"{provider}/hang")
            elif feature == "unknown-model":
                unknown(client)
            elif feature == "wrong-key":
                raises(client.errors[401], lambda: clients[name](base, "oc-wrong-0123456789").ask("o/say", Call()))
            else:
                client.special[feature](client, provider)
            print(f"ok {case}", flush=True)
        except BaseException as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"failed {case}: {reason[:400]}", flush=True)
    print("left", flush=True)
    input()
