"""What the official library of OpenAI makes of the gateway: BASE_URL KEY on the command line."""

import base64
import sys

import openai
import pydantic

base, key = sys.argv[1] + "/v1", sys.argv[2]
client = openai.OpenAI(base_url=base, api_key=key)
patient = client.with_options(max_retries=0)
hello = [{"role": "user", "content": "Hello?"}]
tools = [{"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
picture = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
seen = [{"role": "user", "content": [
    {"type": "text", "text": "Hello?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}]}]


class Place(pydantic.BaseModel):
    city: str


for provider in ("o", "a", "g", "l"):
    cached = 0 if provider == "l" else 4
    said = client.chat.completions.create(model=f"{provider}/say", messages=hello)
    assert said.choices[0].message.content == "Hello, world", said
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (9, 12), said.usage
    assert said.usage.prompt_tokens_details.cached_tokens == cached or not cached, said.usage
    assert said.model == f"{provider}/say", said.model

    pieces, usage = [], None
    stream = client.chat.completions.create(
        model=f"{provider}/say", messages=hello, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        pieces += [choice.delta.content or "" for choice in chunk.choices]
        usage = chunk.usage or usage
    assert "".join(pieces) == "Hello, world", pieces
    assert usage.completion_tokens == 12, usage

    for stream in (False, True):
        called = client.chat.completions.create(
            model=f"{provider}/tool", messages=hello, tools=tools, stream=stream)
        if stream:
            parts = [part for chunk in called for choice in chunk.choices
                     for part in choice.delta.tool_calls or []]
            name = "".join(part.function.name or "" for part in parts)
            arguments = "".join(part.function.arguments or "" for part in parts)
        else:
            call = called.choices[0].message.tool_calls[0]
            assert called.choices[0].finish_reason == "tool_calls", called
            name, arguments = call.function.name, call.function.arguments
        assert name == "weather" and arguments.replace(" ", "") == '{"city":"Bern"}', (name, arguments)

    said = client.chat.completions.create(model=f"{provider}/see", messages=seen)
    assert said.choices[0].message.content == f"saw {picture}", said
    said = client.chat.completions.parse(model=f"{provider}/json", messages=hello, response_format=Place)
    assert said.choices[0].message.parsed == Place(city="Bern"), said

    said = client.responses.create(model=f"{provider}/say", input="Hello?")
    assert said.output_text == "Hello, world", said
    with client.responses.stream(model=f"{provider}/say", input="Hello?") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == "Hello, world"

    if provider != "a":
        vectors = client.embeddings.create(model=f"{provider}/embed", input=["ab", "abcd"])
        assert [one.embedding for one in vectors.data] == [[2, 1, 0], [4, 2, 1]], vectors

    try:
        for _ in client.chat.completions.create(model=f"{provider}/cut", messages=hello, stream=True):
            pass
        raise SystemExit(f"{provider}: a stream that was cut passed for whole")
    except openai.APIError as error:
        assert "ended before its end" in str(error), error

    for model, wanted in (
        ("status-400", openai.BadRequestError),
        ("status-429", openai.RateLimitError),
        ("status-500", openai.InternalServerError),
        ("empty", openai.InternalServerError),
        ("error-inside", openai.InternalServerError),
    ):
        for stream in (False, True):
            try:
                patient.chat.completions.create(model=f"{provider}/{model}", messages=hello, stream=stream)
                raise SystemExit(f"{provider}/{model}: no error")
            except wanted as error:
                assert error.request_id, error

    try:
        patient.with_options(timeout=0.5).chat.completions.create(model=f"{provider}/hang", messages=hello)
        raise SystemExit("who waits for ever was answered")
    except openai.APITimeoutError:
        pass

    stream = client.chat.completions.create(model=f"{provider}/hang", messages=hello, stream=True)
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    stream.close()

sound = client.audio.speech.create(model="o/tts-x", voice="alloy", input="Hello?").content
assert sound == bytes(range(256)) * 390 + bytes(range(160)), len(sound)
heard = client.audio.transcriptions.create(model="o/whisper-x", file=("a.wav", sound))
assert heard.text == "Hello?", heard
assert not client.moderations.create(input="Hello?").results[0].flagged
assert client.images.generate(model="o/gpt-image-x", prompt="A cat").data[0].b64_json == "AAAA"
assert "alias" in [model.id for model in client.models.list()]

try:
    patient.chat.completions.create(model="alais", messages=hello)
    raise SystemExit("an unknown model answered")
except openai.NotFoundError as error:
    assert error.code == "model_not_found" and "alias" in str(error), error
try:
    openai.OpenAI(base_url=base, api_key="oc-wrong-0123456789").chat.completions.create(
        model="o/say", messages=hello)
    raise SystemExit("a wrong key passed")
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key", error

print("left", flush=True)
input()
print("well")
