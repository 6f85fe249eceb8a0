// The official library of OpenAI for Node.
'use strict';

const { installed, picture, results, run, schema } = require('./cases.cjs');
const { OpenAI, toFile } = installed('openai');
const assert = require('node:assert/strict');

const kinds = {
  400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 404: OpenAI.NotFoundError,
  429: OpenAI.RateLimitError, 500: OpenAI.InternalServerError, 503: OpenAI.InternalServerError,
};
const url = `data:image/png;base64,${picture}`;

const chat = (base, apiKey) => {
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
  const words = (model, call) => {
    const content = call.image
      ? [{ type: 'text', text: call.text }, { type: 'image_url', image_url: { url } }] : call.text;
    const messages = [{ role: 'user', content }];
    if (call.history) {
      const calls = results.map(([id, city]) => (
        { id, type: 'function', function: { name: 'weather', arguments: JSON.stringify({ city }) } }));
      messages.unshift({ role: 'user', content: 'Weather?' }, { role: 'assistant', tool_calls: calls },
        ...results.map(([id, , told]) => ({ role: 'tool', tool_call_id: id, content: told })));
    }
    if (call.system) messages.unshift({ role: 'system', content: call.system });
    return {
      model, messages,
      ...call.tools && { tools: [{ type: 'function', function: { name: 'weather', parameters: schema } }] },
      ...call.form && { response_format: {
        type: 'json_schema', json_schema: { name: 'place', strict: true, schema } } },
    };
  };
  return {
    isStatus: (error, status) => error instanceof kinds[status],
    isBroken: (error) => error instanceof OpenAI.APIError || error instanceof OpenAI.OpenAIError,
    isLate: (error) => error instanceof OpenAI.APIConnectionTimeoutError,
    ask: async (model, call) => {
      const options = call.timeout ? { timeout: call.timeout } : {};
      const answer = call.stream
        ? await client.chat.completions.stream(
          { ...words(model, call), stream_options: { include_usage: true } }, options).finalChatCompletion()
        : await client.chat.completions.create(words(model, call), options);
      const { message } = answer.choices[0];
      return {
        text: message.content ?? '',
        thought: message.reasoning_content,
        calls: (message.tool_calls ?? []).map((one) => (
          [one.function.name, JSON.parse(one.function.arguments)])),
        usage: [answer.usage.prompt_tokens, answer.usage.completion_tokens],
      };
    },
    embed: async (model, input) => {
      const { data } = await client.embeddings.create({ model, input });
      return data.map((one) => [...one.embedding]);
    },
    leave: async (model) => {
      const messages = [{ role: 'user', content: 'Hello?' }];
      for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
        if (chunk.choices[0]?.delta.content) break;
      }
    },
    others: async () => {
      const sound = await client.audio.speech.create({ model: 'o/tts-x', voice: 'alloy', input: 'Hello?' });
      assert.equal((await sound.arrayBuffer()).byteLength, 100_000);
      const file = await toFile(Buffer.alloc(1000), 'a.wav');
      const heard = await client.audio.transcriptions.create({ model: 'o/whisper-x', file });
      assert.equal(heard.text, 'Hello?');
    },
  };
};

const responses = (base, apiKey) => {
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
  const words = (model, call) => {
    const content = [{ type: 'input_text', text: call.text }];
    if (call.image) content.push({ type: 'input_image', image_url: url, detail: 'auto' });
    const input = [{ role: 'user', content }];
    if (call.history) {
      input.unshift({ role: 'user', content: 'Weather?' },
        ...results.map(([id, city]) => (
          { type: 'function_call', call_id: id, name: 'weather', arguments: JSON.stringify({ city }) })),
        ...results.map(([id, , told]) => ({ type: 'function_call_output', call_id: id, output: told })));
    }
    return {
      model, input,
      ...call.system && { instructions: call.system },
      ...call.tools && { tools: [{ type: 'function', name: 'weather', parameters: schema, strict: true }] },
      ...call.form && { text: { format: { type: 'json_schema', name: 'place', strict: true, schema } } },
    };
  };
  return {
    ...chat(base, apiKey),
    ask: async (model, call) => {
      const options = call.timeout ? { timeout: call.timeout } : {};
      const answer = call.stream
        ? await client.responses.stream(words(model, call), options).finalResponse()
        : await client.responses.create(words(model, call), options);
      return {
        text: answer.output_text,
        calls: answer.output.filter((item) => item.type === 'function_call').map((item) => (
          [item.name, JSON.parse(item.arguments)])),
        usage: [answer.usage.input_tokens, answer.usage.output_tokens],
      };
    },
    leave: async (model) => {
      for await (const event of await client.responses.create({ model, input: 'Hello?', stream: true })) {
        if (event.type === 'response.output_text.delta') break;
      }
    },
  };
};

run({ 'node-openai': chat, 'node-openai-responses': responses });
