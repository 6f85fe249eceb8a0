"""The official library of Anthropic, in both versions of its API."""

import anthropic
from cases import PICTURE_TEXT, RESULTS, SCHEMA, Said, run


class Messages:
    errors = {400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 404: anthropic.NotFoundError,
              429: anthropic.RateLimitError, 500: anthropic.InternalServerError,
              503: anthropic.InternalServerError}
    broken = anthropic.APIError
    late = anthropic.APITimeoutError
    version = {}

    def __init__(self, base, key, **options):
        self.client = anthropic.Anthropic(
            base_url=base, api_key=key, max_retries=0, default_headers=self.version, **options)

    def ask(self, model, call):
        content = call.text
        if call.image:
            content = [{"type": "text", "text": content}, {"type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": PICTURE_TEXT}}]
        messages = [{"role": "user", "content": content}]
        if call.history:
            messages = [
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": name, "name": "weather", "input": {"city": city}}
                    for name, city, _ in RESULTS]},
                {"role": "user", "content": [
                    *({"type": "tool_result", "tool_use_id": name, "content": told} for name, _, told in RESULTS),
                    {"type": "text", "text": content}]}]
        words = {"model": model, "max_tokens": 100, "messages": messages}
        if call.system:
            words["system"] = call.system
        if call.tools:
            words["tools"] = [{"name": "weather", "input_schema": SCHEMA}]
        if call.schema:
            words["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if call.stream:
            with self.client.messages.stream(**words) as stream:
                pieces = list(stream.text_stream)
                answer = stream.get_final_message()
        else:
            answer = self.client.messages.create(**words)
        text = "".join(block.text for block in answer.content if block.type == "text")
        assert not call.stream or "".join(pieces) == text, pieces
        calls = [(block.name, block.input) for block in answer.content if block.type == "tool_use"]
        assert answer.stop_reason == ("tool_use" if calls else "end_turn"), answer
        thoughts = [block for block in answer.content if block.type == "thinking"]
        # A provider's own signature comes back byte for byte, and no other provider has one.
        assert all(block.signature == "c2lnbmVkIGJ5IHRoZSBtb2NrCg==" or not model.startswith("a/")
                   for block in thoughts), thoughts
        usage = answer.usage
        return Said(text, calls, "".join(block.thinking for block in thoughts),
                    (usage.input_tokens + (usage.cache_read_input_tokens or 0), usage.output_tokens))

    def leave(self, model):
        stream = self.client.messages.create(
            model=model, max_tokens=100, messages=[{"role": "user", "content": "Hello?"}], stream=True)
        next(event for event in stream if event.type == "content_block_delta")
        stream.close()

    def others(self, _provider):
        hello = [{"role": "user", "content": "Hello?"}]
        assert self.client.messages.count_tokens(model="g/say", messages=hello).input_tokens > 0
        assert "alias" in [model.id for model in self.client.models.list()]

    special = {"others": others}


class Older(Messages):
    version = {"anthropic-version": "2023-06-01"}


run({"anthropic": Messages, "anthropic-2023": Older})
