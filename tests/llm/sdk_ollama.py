"""What the official library of Ollama makes of the gateway: BASE_URL KEY on the command line."""

import base64
import sys

import ollama


def made(key, **options):
    return ollama.Client(host=sys.argv[1], headers={"Authorization": f"Bearer {key}"}, **options)


client = made(sys.argv[2])
hello = [{"role": "user", "content": "Hello?"}]
picture = b"\x89PNG\r\n\x1a\n"
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]

for provider in ("o", "a", "g", "l"):
    said = client.chat(model=f"{provider}/say", messages=hello)
    assert said.message.content == "Hello, world" and said.done and said.done_reason == "stop", said
    assert (said.prompt_eval_count, said.eval_count) == (9, 12), said
    pieces = list(client.chat(model=f"{provider}/say", messages=hello, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == "Hello, world", pieces
    assert pieces[-1].done and pieces[-1].eval_count == 12, pieces[-1]
    assert client.generate(model=f"{provider}/say", prompt="Hello?").response == "Hello, world"

    for stream in (False, True):
        called = client.chat(model=f"{provider}/tool", messages=hello, tools=tools, stream=stream)
        called = list(called) if stream else [called]
        calls = [call.function for piece in called for call in piece.message.tool_calls or []]
        assert [(call.name, call.arguments) for call in calls] == [("weather", {"city": "Bern"})], called

    seen = [{"role": "user", "content": "Hello?", "images": [picture]}]
    said = client.chat(model=f"{provider}/see", messages=seen)
    assert said.message.content == f"saw {base64.b64encode(picture).decode()}", said
    said = client.chat(model=f"{provider}/json", messages=hello, format=schema)
    assert said.message.content == '{"city":"Bern"}', said

    if provider != "a":
        vectors = client.embed(model=f"{provider}/embed", input=["ab", "abcd"])
        assert vectors.embeddings == [[2, 1, 0], [4, 2, 1]], vectors

    try:
        list(client.chat(model=f"{provider}/cut", messages=hello, stream=True))
        raise SystemExit(f"{provider}: a stream that was cut passed for whole")
    except ollama.ResponseError as error:
        assert "ended before its end" in str(error), error

    for model, status in (
        ("status-400", 400), ("status-429", 429), ("status-500", 500), ("empty", 502), ("error-inside", 500),
    ):
        for stream in (False, True):
            try:
                said = client.chat(model=f"{provider}/{model}", messages=hello, stream=stream)
                said = list(said) if stream else said
                raise SystemExit(f"{provider}/{model}: no error")
            except ollama.ResponseError as error:
                assert error.status_code // 100 == status // 100, (provider, model, error.status_code)

    try:
        made(sys.argv[2], timeout=0.5).chat(model=f"{provider}/hang", messages=hello)
        raise SystemExit("who waits for ever was answered")
    except Exception as error:
        assert "timed out" in str(error).lower() or "Timeout" in type(error).__name__, repr(error)

    stream = client.chat(model=f"{provider}/hang", messages=hello, stream=True)
    assert next(stream).message.content == "Hel"
    stream.close()

assert "alias" in [model.model for model in client.list().models]
assert "tools" in client.show("alias").capabilities
assert client.chat(model="alias:latest", messages=hello).message.content == "Hello, world"
assert client.ps().models == []
try:
    client.chat(model="alais", messages=hello)
    raise SystemExit("an unknown model answered")
except ollama.ResponseError as error:
    assert error.status_code == 404 and "alias" in str(error), error
try:
    made("oc-wrong-0123456789").chat(model="l/say", messages=hello)
    raise SystemExit("a wrong key passed")
except ollama.ResponseError as error:
    assert error.status_code == 401, error

print("left", flush=True)
input()
print("well")
