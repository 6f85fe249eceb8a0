// The official library of Anthropic for Node.
'use strict';

const { installed, picture, results, run, schema } = require('./cases.cjs');
const Anthropic = installed('@anthropic-ai/sdk').default;

const kinds = {
  400: Anthropic.BadRequestError, 401: Anthropic.AuthenticationError, 404: Anthropic.NotFoundError,
  429: Anthropic.RateLimitError, 500: Anthropic.InternalServerError, 503: Anthropic.InternalServerError,
};

const messages = (base, apiKey) => {
  const client = new Anthropic({ baseURL: base, apiKey, maxRetries: 0 });
  const words = (model, call) => {
    const source = { type: 'base64', media_type: 'image/png', data: picture };
    const text = { type: 'text', text: call.text };
    const said = [{ role: 'user', content: call.image ? [text, { type: 'image', source }] : [text] }];
    if (call.history) {
      said[0].content.unshift(...results.map(([id, , told]) => (
        { type: 'tool_result', tool_use_id: id, content: told })));
      said.unshift({ role: 'user', content: 'Weather?' }, { role: 'assistant', content: results.map(
        ([id, city]) => ({ type: 'tool_use', id, name: 'weather', input: { city } })) });
    }
    return {
      model, max_tokens: 100, messages: said,
      ...call.system && { system: call.system },
      ...call.tools && { tools: [{ name: 'weather', input_schema: schema }] },
      ...call.form && { output_config: { format: { type: 'json_schema', schema } } },
    };
  };
  return {
    isStatus: (error, status) => error instanceof kinds[status],
    isBroken: (error) => error instanceof Anthropic.APIError || error instanceof Anthropic.AnthropicError,
    isLate: (error) => error instanceof Anthropic.APIConnectionTimeoutError,
    ask: async (model, call) => {
      const options = call.timeout ? { timeout: call.timeout } : {};
      const answer = call.stream
        ? await client.messages.stream(words(model, call), options).finalMessage()
        : await client.messages.create(words(model, call), options);
      const of = (type) => answer.content.filter((block) => block.type === type);
      const { usage } = answer;
      return {
        text: of('text').map((block) => block.text).join(''),
        thought: of('thinking').map((block) => block.thinking).join(''),
        calls: of('tool_use').map((block) => [block.name, block.input]),
        usage: [usage.input_tokens + (usage.cache_read_input_tokens ?? 0), usage.output_tokens],
      };
    },
    leave: async (model) => {
      const stream = await client.messages.create(
        { model, max_tokens: 100, messages: [{ role: 'user', content: 'Hello?' }], stream: true });
      for await (const event of stream) {
        if (event.type === 'content_block_delta') break;
      }
    },
  };
};

run({ 'node-anthropic': messages });
