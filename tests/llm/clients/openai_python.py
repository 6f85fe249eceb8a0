"""The official library of OpenAI: chat completions and responses."""

import json

import openai
from cases import PICTURE_TEXT, RESULTS, SCHEMA, Said, run

URL = f"data:image/png;base64,{PICTURE_TEXT}"


class Chat:
    errors = {400: openai.BadRequestError, 401: openai.AuthenticationError, 404: openai.NotFoundError,
              429: openai.RateLimitError, 500: openai.InternalServerError, 503: openai.InternalServerError}
    broken = openai.APIError
    late = openai.APITimeoutError

    def __init__(self, base, key, **options):
        self.client = openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0, **options)

    def ask(self, model, call):
        content = call.text
        if call.image:
            content = [{"type": "text", "text": content}, {"type": "image_url", "image_url": {"url": URL}}]
        messages = [{"role": "user", "content": content}]
        if call.history:
            calls = [{"id": name, "type": "function", "function": {
                "name": "weather", "arguments": json.dumps({"city": city})}} for name, city, _ in RESULTS]
            messages[:0] = [{"role": "user", "content": "Weather?"}, {"role": "assistant", "tool_calls": calls}]
            messages[2:2] = [{"role": "tool", "tool_call_id": name, "content": told} for name, _, told in RESULTS]
        if call.system:
            messages.insert(0, {"role": "system", "content": call.system})
        words = {"model": model, "messages": messages}
        if call.tools:
            words["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
        if call.schema:
            words["response_format"] = {"type": "json_schema", "json_schema": {
                "name": "place", "strict": True, "schema": SCHEMA}}
        if not call.stream:
            answer = self.client.chat.completions.create(**words)
            message = answer.choices[0].message
            calls = [(one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls or []]
            assert answer.choices[0].finish_reason == ("tool_calls" if calls else "stop"), answer
            usage = answer.usage.prompt_tokens, answer.usage.completion_tokens
            return Said(message.content or "", calls, getattr(message, "reasoning_content", "") or "", usage)
        text, thought, usage, names, arguments = "", "", None, {}, {}
        stream = self.client.chat.completions.create(
            stream=True, stream_options={"include_usage": True}, **words)
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                thought += getattr(choice.delta, "reasoning_content", "") or ""
                for part in choice.delta.tool_calls or []:
                    names.setdefault(part.index, part.function.name)
                    arguments[part.index] = arguments.get(part.index, "") + (part.function.arguments or "")
        calls = [(name, json.loads(arguments[index])) for index, name in names.items()]
        return Said(text, calls, thought, (usage.prompt_tokens, usage.completion_tokens))

    def embed(self, model, texts):
        return [one.embedding for one in self.client.embeddings.create(model=model, input=texts).data]

    def leave(self, model):
        stream = self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello?"}], stream=True)
        next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
        stream.close()

    def others(self, _provider):
        sound = self.client.audio.speech.create(model="o/tts-x", voice="alloy", input="Hello?").content
        assert sound == bytes(range(256)) * 390 + bytes(range(160)), len(sound)
        heard = self.client.audio.transcriptions.create(model="o/whisper-x", file=("a.wav", sound))
        assert heard.text == "Hello?", heard
        assert not self.client.moderations.create(input="Hello?").results[0].flagged
        assert self.client.images.generate(model="o/gpt-image-x", prompt="A cat").data[0].b64_json == "AAAA"
        assert "alias" in [model.id for model in self.client.models.list()]

    special = {"others": others}


class Responses(Chat):
    def ask(self, model, call):
        content = [{"type": "input_text", "text": call.text}]
        if call.image:
            content.append({"type": "input_image", "image_url": URL, "detail": "auto"})
        items = [{"role": "user", "content": content}]
        if call.history:
            items[:0] = [{"role": "user", "content": "Weather?"}, *(
                {"type": "function_call", "call_id": name, "name": "weather",
                 "arguments": json.dumps({"city": city})} for name, city, _ in RESULTS), *(
                {"type": "function_call_output", "call_id": name, "output": told} for name, _, told in RESULTS)]
        words = {"model": model, "input": items}
        if call.system:
            words["instructions"] = call.system
        if call.tools:
            words["tools"] = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}]
        if call.schema:
            words["text"] = {"format": {"type": "json_schema", "name": "place", "strict": True, "schema": SCHEMA}}
        if call.stream:
            with self.client.responses.stream(**words) as stream:
                pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
                answer = stream.get_final_response()
            assert "".join(pieces) == answer.output_text, (pieces, answer)
        else:
            answer = self.client.responses.create(**words)
        calls = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
        thought = "".join(part.text for item in answer.output if item.type == "reasoning"
                          for part in [*item.summary, *(item.content or [])])
        return Said(answer.output_text, calls, thought, (answer.usage.input_tokens, answer.usage.output_tokens))

    def leave(self, model):
        stream = self.client.responses.create(model=model, input="Hello?", stream=True)
        next(event for event in stream if event.type == "response.output_text.delta")
        stream.close()


run({"openai": Chat, "openai-responses": Responses})
