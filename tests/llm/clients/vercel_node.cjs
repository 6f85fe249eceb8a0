// The AI library of Vercel, in the formats of its providers.
'use strict';

const { installed, picture, results, run, schema } = require('./cases.cjs');
const ai = installed('ai');
const { createOpenAI } = installed('@ai-sdk/openai');
const { createAnthropic } = installed('@ai-sdk/anthropic');
const { createGoogleGenerativeAI } = installed('@ai-sdk/google');

globalThis.AI_SDK_LOG_WARNINGS = false;
const tools = { weather: ai.tool({ inputSchema: ai.jsonSchema(schema) }) };

const client = (chat, vectors) => {
  const words = (model, call) => {
    const content = [{ type: 'text', text: call.text }];
    if (call.image) content.push({ type: 'image', image: picture, mediaType: 'image/png' });
    const messages = [{ role: 'user', content }];
    if (call.history) {
      messages.unshift(
        { role: 'user', content: 'Weather?' },
        { role: 'assistant', content: results.map(([toolCallId, city]) => (
          { type: 'tool-call', toolCallId, toolName: 'weather', input: { city } })) },
        { role: 'tool', content: results.map(([toolCallId, , value]) => (
          { type: 'tool-result', toolCallId, toolName: 'weather', output: { type: 'text', value } })) });
    }
    return {
      model: chat(model), messages, maxRetries: 0, system: call.system,
      ...call.tools && { tools },
      ...call.form && { output: ai.Output.object({ schema: ai.jsonSchema(schema) }) },
      ...call.timeout && { abortSignal: AbortSignal.timeout(call.timeout) },
    };
  };
  return {
    isStatus: (error, status) => {
      const told = error.statusCode ?? error.data?.error?.code ?? error.code;
      return ai.APICallError.isInstance(error)
        && (told === status || (status >= 500 && Math.floor(told / 100) === 5));
    },
    isBroken: () => true,
    told: (error) => `${error?.message ?? error} ${JSON.stringify(error)}`,
    isLate: (error) => error.name === 'TimeoutError' || error.name === 'AbortError',
    ask: async (model, call) => {
      if (!call.stream) {
        const answer = await ai.generateText(words(model, call));
        return {
          text: answer.text,
          thought: answer.reasoningText,
          calls: answer.toolCalls.map((one) => [one.toolName, one.input]),
          usage: [answer.usage.inputTokens, answer.usage.outputTokens],
        };
      }
      const said = { text: '', thought: '', calls: [] };
      for await (const part of ai.streamText({ ...words(model, call), onError: () => {} }).fullStream) {
        if (part.type === 'text-delta') said.text += part.text;
        if (part.type === 'reasoning-delta') said.thought += part.text;
        if (part.type === 'tool-call') said.calls.push([part.toolName, part.input]);
        if (part.type === 'finish') said.usage = [part.totalUsage.inputTokens, part.totalUsage.outputTokens];
        if (part.type === 'error') throw part.error;
      }
      return said;
    },
    embed: async (model, values) => {
      const { embeddings } = await ai.embedMany({ model: vectors(model), values, maxRetries: 0 });
      return embeddings;
    },
    leave: async (model) => {
      const leaving = new AbortController();
      const stream = ai.streamText(
        { model: chat(model), prompt: 'Hello?', abortSignal: leaving.signal, onError: () => {} });
      for await (const _ of stream.textStream) break;
      leaving.abort();
    },
  };
};

run({
  'vercel-openai': (base, apiKey) => {
    const made = createOpenAI({ baseURL: `${base}/v1`, apiKey });
    return client(made.chat, made.embeddingModel);
  },
  'vercel-openai-responses': (base, apiKey) => {
    const made = createOpenAI({ baseURL: `${base}/v1`, apiKey });
    return client(made.responses, made.embeddingModel);
  },
  'vercel-anthropic': (base, apiKey) => client(createAnthropic({ baseURL: `${base}/v1`, apiKey })),
  'vercel-google': (base, apiKey) => {
    const made = createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey });
    return client(made, made.embeddingModel);
  },
});
