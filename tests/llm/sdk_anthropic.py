"""What the official library of Anthropic makes of the gateway: BASE_URL KEY on the command line."""

import base64
import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key=sys.argv[2])
patient = client.with_options(max_retries=0)
hello = [{"role": "user", "content": "Hello?"}]
call = {"max_tokens": 100, "messages": hello}
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
          "additionalProperties": False}
tools = [{"name": "weather", "input_schema": schema}]
picture = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
seen = [{"role": "user", "content": [
    {"type": "text", "text": "Hello?"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}}]}]

for provider in ("o", "a", "g", "l"):
    said = client.messages.create(model=f"{provider}/say", **call)
    assert said.content[0].text == "Hello, world", said
    usage = said.usage
    plain, cached = (9, 0) if provider == "l" else (5, 4)
    assert (usage.input_tokens, usage.cache_read_input_tokens or 0, usage.output_tokens) == (
        plain, cached, 12), usage
    assert said.stop_reason == "end_turn" and said.model == f"{provider}/say", said

    with client.messages.stream(model=f"{provider}/say", **call) as stream:
        assert "".join(stream.text_stream) == "Hello, world"
        last = stream.get_final_message()
    assert last.usage.output_tokens == 12 and last.stop_reason == "end_turn", last

    called = client.messages.create(model=f"{provider}/tool", tools=tools, **call)
    block = next(block for block in called.content if block.type == "tool_use")
    assert block.name == "weather" and block.input == {"city": "Bern"}, block
    assert called.stop_reason == "tool_use", called
    with client.messages.stream(model=f"{provider}/tool", tools=tools, **call) as stream:
        block = next(block for block in stream.get_final_message().content if block.type == "tool_use")
    assert block.input == {"city": "Bern"}, block

    said = client.messages.create(model=f"{provider}/see", max_tokens=100, messages=seen)
    assert said.content[0].text == f"saw {picture}", said
    said = client.messages.create(
        model=f"{provider}/json", output_config={"format": {"type": "json_schema", "schema": schema}}, **call)
    assert said.content[0].text == '{"city":"Bern"}', said

    try:
        with client.messages.stream(model=f"{provider}/cut", **call) as stream:
            stream.until_done()
        raise SystemExit(f"{provider}: a stream that was cut passed for whole")
    except anthropic.APIError as error:
        assert "ended before its end" in str(error), error

    for model, wanted in (
        ("status-400", anthropic.BadRequestError),
        ("status-429", anthropic.RateLimitError),
        ("status-500", anthropic.InternalServerError),
        ("empty", anthropic.InternalServerError),
        ("error-inside", anthropic.InternalServerError),
    ):
        for stream in (False, True):
            try:
                patient.messages.create(model=f"{provider}/{model}", stream=stream, **call)
                raise SystemExit(f"{provider}/{model}: no error")
            except wanted as error:
                assert error.request_id, error

    try:
        patient.with_options(timeout=0.5).messages.create(model=f"{provider}/hang", **call)
        raise SystemExit("who waits for ever was answered")
    except anthropic.APITimeoutError:
        pass

    stream = client.messages.create(model=f"{provider}/hang", stream=True, **call)
    next(event for event in stream if event.type == "content_block_delta")
    stream.close()

assert client.messages.count_tokens(model="g/say", messages=hello).input_tokens > 0
assert "alias" in [model.id for model in client.models.list()]
try:
    patient.messages.create(model="alais", **call)
    raise SystemExit("an unknown model answered")
except anthropic.NotFoundError as error:
    assert "alias" in str(error), error
try:
    anthropic.Anthropic(base_url=sys.argv[1], api_key="oc-wrong-0123456789").messages.create(
        model="a/say", **call)
    raise SystemExit("a wrong key passed")
except anthropic.AuthenticationError:
    pass

print("left", flush=True)
input()
print("well")
