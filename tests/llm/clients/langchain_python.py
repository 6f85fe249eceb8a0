"""LangChain, in the formats of all providers."""

import anthropic
import httpx
import ollama
import openai
from cases import PICTURE_TEXT, RESULTS, SCHEMA, Said, run
from google.genai import errors as google
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from langchain_google_genai._common import GoogleGenerativeAIError
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


class Model:
    timeout = None

    def __init__(self, base, key, timeout=None):
        self.base, self.key, self.timeout = base, key, timeout

    def ask(self, name, call):
        content = call.text
        if call.image:
            content = [{"type": "text", "text": content},
                       {"type": "image", "base64": PICTURE_TEXT, "mime_type": "image/png"}]
        messages = [HumanMessage(content)]
        if call.history:
            calls = [{"id": name, "name": "weather", "args": {"city": city}} for name, city, _ in RESULTS]
            messages[:0] = [HumanMessage("Weather?"), AIMessage("", tool_calls=calls),
                            *(ToolMessage(told, tool_call_id=name, name="weather") for name, _, told in RESULTS)]
        if call.system:
            messages.insert(0, SystemMessage(call.system))
        model = self.made(name)
        if call.tools:
            model = model.bind_tools([SCHEMA | {"title": "weather"}])
        if call.schema:
            made = model.with_structured_output(SCHEMA, method="json_schema", include_raw=True)
            if call.stream:
                pieces = {}
                for piece in made.stream(messages):
                    pieces |= piece
                message = pieces["raw"]
                assert pieces["parsed"] == {"city": "Bern"}, pieces
            else:
                answer = made.invoke(messages)
                message = answer["raw"]
                assert answer["parsed"] == {"city": "Bern"}, answer
        elif call.stream:
            message = None
            for piece in model.stream(messages):
                message = piece if message is None else message + piece
        else:
            message = model.invoke(messages)
        usage = message.usage_metadata
        return Said(message.text, [(one["name"], one["args"]) for one in message.tool_calls],
                    "".join(block.get("reasoning", "") for block in message.content_blocks
                            if block["type"] == "reasoning"),
                    usage and (usage["input_tokens"], usage["output_tokens"]))

    def leave(self, name):
        stream = self.made(name).stream("Hello?")
        next(piece for piece in stream if piece.text)
        stream.close()


class OpenAi(Model):
    errors = {400: openai.BadRequestError, 401: openai.AuthenticationError, 404: openai.NotFoundError,
              429: openai.RateLimitError, 500: openai.InternalServerError, 503: openai.InternalServerError}
    broken = openai.APIError
    late = openai.APITimeoutError
    responses = False

    def made(self, name):
        return ChatOpenAI(model=name, base_url=f"{self.base}/v1", api_key=self.key, max_retries=0,
                          timeout=self.timeout, use_responses_api=self.responses, stream_usage=True)

    def embed(self, model, texts):
        return OpenAIEmbeddings(model=model, base_url=f"{self.base}/v1", api_key=self.key, max_retries=0,
                                check_embedding_ctx_length=False).embed_documents(texts)


class Responses(OpenAi):
    broken = (openai.APIError, ValueError)
    responses = True


class Anthropic(Model):
    errors = {400: anthropic.BadRequestError, 401: anthropic.AuthenticationError, 404: anthropic.NotFoundError,
              429: anthropic.RateLimitError, 500: anthropic.InternalServerError,
              503: anthropic.InternalServerError}
    broken = anthropic.APIError
    late = anthropic.APITimeoutError

    def made(self, name):
        return ChatAnthropic(model=name, base_url=self.base, api_key=self.key, max_retries=0,
                             timeout=self.timeout, max_tokens=100)


class Google(Model):
    errors = dict.fromkeys((400, 401, 404, 429, 500, 503), (GoogleGenerativeAIError, google.APIError))
    broken = (GoogleGenerativeAIError, google.APIError)
    late = Exception

    def made(self, name):
        return ChatGoogleGenerativeAI(model=name, base_url=self.base, api_key=self.key, max_retries=1,
                                      timeout=self.timeout, vertexai=False)

    def embed(self, model, texts):
        return GoogleGenerativeAIEmbeddings(model=model, base_url=self.base, api_key=self.key,
                                            vertexai=False).embed_documents(texts)


class Ollama(Model):
    errors = dict.fromkeys((400, 401, 404, 429, 500, 503), ollama.ResponseError)
    broken = ollama.ResponseError
    late = httpx.TimeoutException

    def options(self):
        return {"headers": {"Authorization": f"Bearer {self.key}"}, "timeout": self.timeout}

    def made(self, name):
        return ChatOllama(model=name, base_url=self.base, client_kwargs=self.options(), reasoning=True)

    def embed(self, model, texts):
        return OllamaEmbeddings(model=model, base_url=self.base,
                                client_kwargs=self.options()).embed_documents(texts)


run({"langchain-openai": OpenAi, "langchain-openai-responses": Responses, "langchain-anthropic": Anthropic,
     "langchain-google": Google, "langchain-ollama": Ollama})
