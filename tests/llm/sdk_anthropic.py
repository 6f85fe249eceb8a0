"""What the official library of Anthropic makes of the gateway: BASE_URL KEY on the command line."""

import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key=sys.argv[2])
call = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hello?"}]}
tools = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]

for provider in ("one", "two"):
    said = client.messages.create(model=f"{provider}/say", **call)
    assert said.content[0].text == "Hello, world", said
    usage = said.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (5, 4, 12), usage
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

    try:
        with client.messages.stream(model=f"{provider}/cut", **call) as stream:
            stream.until_done()
        raise SystemExit(f"{provider}: a stream that was cut passed for whole")
    except anthropic.APIError as error:
        assert "ended before its end" in str(error), error

patient = client.with_options(max_retries=0)
for model, wanted in (
    ("two/status-400", anthropic.BadRequestError),
    ("two/status-429", anthropic.RateLimitError),
    ("two/status-500", anthropic.InternalServerError),
    ("two/empty", anthropic.InternalServerError),
    ("nobody/knows", anthropic.NotFoundError),
):
    try:
        patient.messages.create(model=model, **call)
        raise SystemExit(f"{model}: no error")
    except wanted as error:
        assert error.request_id, error

try:
    anthropic.Anthropic(base_url=sys.argv[1], api_key="oc-wrong-0123456789").messages.create(
        model="two/say", **call)
    raise SystemExit("a wrong key passed")
except anthropic.AuthenticationError:
    pass
print("well")
