"""What the official library of OpenAI makes of the gateway: BASE_URL KEY on the command line."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2])
hello = [{"role": "user", "content": "Hello?"}]
tools = [{"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]

for provider in ("one", "two"):
    said = client.chat.completions.create(model=f"{provider}/say", messages=hello)
    assert said.choices[0].message.content == "Hello, world", said
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (9, 12), said.usage
    assert said.usage.prompt_tokens_details.cached_tokens == 4, said.usage
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

    try:
        for _ in client.chat.completions.create(model=f"{provider}/cut", messages=hello, stream=True):
            pass
        raise SystemExit(f"{provider}: a stream that was cut passed for whole")
    except openai.APIError as error:
        assert "ended before its end" in str(error), error

patient = client.with_options(max_retries=0)
for model, wanted in (
    ("one/status-400", openai.BadRequestError),
    ("one/status-429", openai.RateLimitError),
    ("one/status-500", openai.InternalServerError),
    ("one/empty", openai.InternalServerError),
    ("one/error-inside", openai.InternalServerError),
    ("nobody/knows", openai.NotFoundError),
):
    try:
        patient.chat.completions.create(model=model, messages=hello)
        raise SystemExit(f"{model}: no error")
    except wanted as error:
        assert error.request_id, error

try:
    openai.OpenAI(base_url=sys.argv[1], api_key="oc-wrong-0123456789").chat.completions.create(
        model="one/say", messages=hello)
    raise SystemExit("a wrong key passed")
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key", error
print("well")
