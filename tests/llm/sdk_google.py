"""What the official library of Google makes of the gateway: BASE_URL KEY on the command line."""

import base64
import sys

import pydantic
from google import genai
from google.genai import errors, types


def made(key, **options):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=sys.argv[1], **options))


client = made(sys.argv[2])
picture = b"\x89PNG\r\n\x1a\n"
weather = types.Tool(function_declarations=[types.FunctionDeclaration(
    name="weather", parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}})])
with_tools = types.GenerateContentConfig(
    tools=[weather], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))


class Place(pydantic.BaseModel):
    city: str


for provider in ("o", "a", "g", "l"):
    said = client.models.generate_content(model=f"{provider}/say", contents="Hello?")
    assert said.text == "Hello, world", said
    usage = said.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count) == (9, 12), usage
    assert said.candidates[0].finish_reason == types.FinishReason.STOP, said

    pieces = list(client.models.generate_content_stream(model=f"{provider}/say", contents="Hello?"))
    assert "".join(piece.text or "" for piece in pieces) == "Hello, world", pieces
    assert pieces[-1].usage_metadata.candidates_token_count == 12, pieces[-1]

    said = client.models.generate_content(model=f"{provider}/tool", contents="Hello?", config=with_tools)
    calls = said.function_calls
    assert [(call.name, call.args) for call in calls] == [("weather", {"city": "Bern"})], said
    pieces = client.models.generate_content_stream(
        model=f"{provider}/tool", contents="Hello?", config=with_tools)
    calls = [call for piece in pieces for call in piece.function_calls or []]
    assert [(call.name, call.args) for call in calls] == [("weather", {"city": "Bern"})], calls

    said = client.models.generate_content(
        model=f"{provider}/see", contents=["Hello?", types.Part.from_bytes(data=picture, mime_type="image/png")])
    assert said.text == f"saw {base64.b64encode(picture).decode()}", said
    said = client.models.generate_content(
        model=f"{provider}/json", contents="Hello?",
        config=types.GenerateContentConfig(response_mime_type="application/json", response_schema=Place))
    assert said.parsed == Place(city="Bern"), said

    if provider != "a":
        vectors = client.models.embed_content(model=f"{provider}/embed", contents=["ab", "abcd"])
        assert [one.values for one in vectors.embeddings] == [[2, 1, 0], [4, 2, 1]], vectors

    try:
        list(client.models.generate_content_stream(model=f"{provider}/cut", contents="Hello?"))
        raise SystemExit(f"{provider}: a stream that was cut passed for whole")
    except errors.APIError as error:
        assert "ended before its end" in str(error), error

    for model, wanted, code in (
        ("status-400", errors.ClientError, 400),
        ("status-429", errors.ClientError, 429),
        ("status-500", errors.ServerError, 500),
        ("empty", errors.ServerError, 502),
        ("error-inside", errors.ServerError, 500),
    ):
        for stream in (False, True):
            try:
                if stream:
                    list(client.models.generate_content_stream(model=f"{provider}/{model}", contents="Hello?"))
                else:
                    client.models.generate_content(model=f"{provider}/{model}", contents="Hello?")
                raise SystemExit(f"{provider}/{model}: no error")
            except wanted as error:
                assert error.code // 100 == code // 100, error

    # One that nothing holds closes its connections.
    hasty = made(sys.argv[2], timeout=500)
    try:
        hasty.models.generate_content(model=f"{provider}/hang", contents="Hello?")
        raise SystemExit("who waits for ever was answered")
    except Exception as error:
        assert "timed out" in str(error).lower() or "Timeout" in type(error).__name__, repr(error)

    stream = client.models.generate_content_stream(model=f"{provider}/hang", contents="Hello?")
    assert next(stream).text == "Hel"
    stream.close()

assert client.models.count_tokens(model="o/say", contents="Hello, you?").total_tokens > 0
assert "models/alias" in [model.name for model in client.models.list()]
assert client.models.get(model="alias").name == "models/alias"
try:
    client.models.generate_content(model="alais", contents="Hello?")
    raise SystemExit("an unknown model answered")
except errors.ClientError as error:
    assert error.code == 404 and "alias" in str(error), error
stranger = made("oc-wrong-0123456789")
try:
    stranger.models.generate_content(model="g/say", contents="Hello?")
    raise SystemExit("a wrong key passed")
except errors.ClientError as error:
    assert error.code == 401 and "INVALID_API_KEY" in str(error), error

print("left", flush=True)
input()
print("well")
