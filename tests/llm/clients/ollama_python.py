"""The official library of Ollama."""

import httpx
import ollama
from cases import PICTURE, RESULTS, SCHEMA, Said, run


class Ollama:
    errors = dict.fromkeys((400, 401, 404, 429, 500, 503), ollama.ResponseError)
    broken = ollama.ResponseError
    late = httpx.TimeoutException

    def __init__(self, base, key, **options):
        self.client = ollama.Client(host=base, headers={"Authorization": f"Bearer {key}"}, **options)

    def ask(self, model, call):
        message = {"role": "user", "content": call.text}
        if call.image:
            message["images"] = [PICTURE]
        messages = [message]
        if call.history:
            calls = [{"function": {"name": "weather", "arguments": {"city": city}}} for _, city, _ in RESULTS]
            messages[:0] = [{"role": "user", "content": "Weather?"},
                            {"role": "assistant", "content": "", "tool_calls": calls},
                            *({"role": "tool", "tool_name": "weather", "content": told}
                              for _, _, told in RESULTS)]
        if call.system:
            messages.insert(0, {"role": "system", "content": call.system})
        words = {"model": model, "messages": messages}
        if call.tools:
            words["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
        if call.schema:
            words["format"] = SCHEMA
        pieces = list(self.client.chat(stream=True, **words)) if call.stream else [self.client.chat(**words)]
        last = pieces[-1]
        assert last.done and last.done_reason == "stop", last
        return Said("".join(piece.message.content or "" for piece in pieces),
                    [(one.function.name, one.function.arguments)
                     for piece in pieces for one in piece.message.tool_calls or []],
                    "".join(piece.message.thinking or "" for piece in pieces),
                    (last.prompt_eval_count, last.eval_count))

    def embed(self, model, texts):
        return [list(one) for one in self.client.embed(model=model, input=texts).embeddings]

    def leave(self, model):
        stream = self.client.chat(model=model, messages=[{"role": "user", "content": "Hello?"}], stream=True)
        assert next(stream).message.content == "Hel"
        stream.close()

    def others(self, _provider):
        assert "alias" in [model.model for model in self.client.list().models]
        assert "tools" in self.client.show("alias").capabilities
        hello = [{"role": "user", "content": "Hello?"}]
        assert self.client.chat(model="alias:latest", messages=hello).message.content == "Hello, world"
        assert self.client.generate(model="o/say", prompt="Hello?").response == "Hello, world"
        assert self.client.ps().models == []

    special = {"others": others}


run({"ollama": Ollama})
