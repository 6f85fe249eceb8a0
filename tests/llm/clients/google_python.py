"""The official library of Google."""

from cases import PICTURE, RESULTS, SCHEMA, Said, run
from google import genai
from google.genai import errors as google, types


class Google:
    errors = {400: google.ClientError, 401: google.ClientError, 404: google.ClientError,
              429: google.ClientError, 500: google.ServerError, 503: google.ServerError}
    broken = google.APIError
    late = Exception

    def __init__(self, base, key, timeout=None):
        options = types.HttpOptions(base_url=base, timeout=timeout and int(timeout * 1000))
        self.client = genai.Client(api_key=key, http_options=options)

    def ask(self, model, call):
        parts = [types.Part(text=call.text)]
        if call.image:
            parts.append(types.Part.from_bytes(data=PICTURE, mime_type="image/png"))
        contents = [types.Content(role="user", parts=parts)]
        if call.history:
            contents[:0] = [
                types.Content(role="user", parts=[types.Part(text="Weather?")]),
                types.Content(role="model", parts=[types.Part(function_call=types.FunctionCall(
                    id=name, name="weather", args={"city": city})) for name, city, _ in RESULTS]),
                types.Content(role="user", parts=[types.Part(function_response=types.FunctionResponse(
                    id=name, name="weather", response={"output": told})) for name, _, told in RESULTS])]
        words = {}
        if call.system:
            words["system_instruction"] = call.system
        if call.tools:
            words["tools"] = [types.Tool(function_declarations=[types.FunctionDeclaration(
                name="weather", parameters_json_schema=SCHEMA)])]
            words["automatic_function_calling"] = types.AutomaticFunctionCallingConfig(disable=True)
        if call.schema:
            words |= {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
        ask = {"model": model, "contents": contents, "config": types.GenerateContentConfig(**words)}
        if call.stream:
            pieces = list(self.client.models.generate_content_stream(**ask))
        else:
            pieces = [self.client.models.generate_content(**ask)]
        parts = [part for piece in pieces for candidate in piece.candidates or []
                 for part in (candidate.content and candidate.content.parts) or []]
        assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP, pieces
        usage = pieces[-1].usage_metadata
        return Said("".join(part.text or "" for part in parts if not part.thought),
                    [(part.function_call.name, part.function_call.args) for part in parts if part.function_call],
                    "".join(part.text or "" for part in parts if part.thought),
                    (usage.prompt_token_count, usage.candidates_token_count))

    def embed(self, model, texts):
        return [one.values for one in self.client.models.embed_content(model=model, contents=texts).embeddings]

    def leave(self, model):
        stream = self.client.models.generate_content_stream(model=model, contents="Hello?")
        assert next(stream).text == "Hel"
        stream.close()

    def others(self, _provider):
        assert self.client.models.count_tokens(model="o/say", contents="Hello, you?").total_tokens > 0
        assert "models/alias" in [model.name for model in self.client.models.list()]
        assert self.client.models.get(model="alias").name == "models/alias"

    special = {"others": others}


run({"google": Google})
