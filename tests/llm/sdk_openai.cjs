// What the official library of OpenAI for Node makes of the gateway: BASE_URL KEY on the command line. The
// library is looked for in the directory that OPENCLAW_TEST_NODE names.
'use strict';

const assert = require('node:assert/strict');
const { createRequire } = require('node:module');
const readline = require('node:readline/promises');

const installed = createRequire(`${process.env.OPENCLAW_TEST_NODE}/`);
const { OpenAI, toFile } = installed('openai');

const [base, apiKey] = process.argv.slice(2);
const baseURL = `${base}/v1`;
const client = new OpenAI({ baseURL, apiKey });
const once = { maxRetries: 0 };
const messages = [{ role: 'user', content: 'Hello?' }];
const parameters = {
  type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false,
};
const tools = [{ type: 'function', function: { name: 'weather', parameters } }];
const picture = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1').toString('base64');

const refused = async (kind, ask) => {
  try {
    await ask();
  } catch (error) {
    assert.ok(error instanceof kind, `${error}`);
    return error;
  }
  throw new Error(`no ${kind.name}`);
};

const drained = async (stream) => {
  for await (const _ of await stream);
};

const main = async () => {
  for (const provider of ['o', 'a', 'g', 'l']) {
    const chat = (model, more, options) => client.chat.completions.create(
      { model: `${provider}/${model}`, messages, ...more }, options);
    const said = await chat('say');
    assert.equal(said.choices[0].message.content, 'Hello, world');
    assert.equal(said.usage.completion_tokens, 12);

    let text = '';
    let usage;
    for await (const chunk of await chat('say', { stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, 'Hello, world');
    assert.equal(usage.prompt_tokens, 9);

    const called = await chat('tool', { tools });
    const call = called.choices[0].message.tool_calls[0].function;
    assert.deepEqual([call.name, JSON.parse(call.arguments)], ['weather', { city: 'Bern' }]);
    const streamed = client.chat.completions.stream({ model: `${provider}/tool`, messages, tools });
    const final = (await streamed.finalChatCompletion()).choices[0].message.tool_calls[0].function;
    assert.deepEqual([final.name, JSON.parse(final.arguments)], ['weather', { city: 'Bern' }]);

    const url = `data:image/png;base64,${picture}`;
    const content = [{ type: 'text', text: 'Hello?' }, { type: 'image_url', image_url: { url } }];
    const saw = await chat('see', { messages: [{ role: 'user', content }] });
    assert.equal(saw.choices[0].message.content, `saw ${picture}`);
    const format = { type: 'json_schema', json_schema: { name: 'place', schema: parameters, strict: true } };
    const parsed = await client.chat.completions.parse(
      { model: `${provider}/json`, messages, response_format: format });
    assert.deepEqual(JSON.parse(parsed.choices[0].message.content), { city: 'Bern' });
    const response = await client.responses.create({ model: `${provider}/say`, input: 'Hello?' });
    assert.equal(response.output_text, 'Hello, world');

    if (provider !== 'a') {
      const vectors = await client.embeddings.create({ model: `${provider}/embed`, input: ['ab', 'abcd'] });
      assert.deepEqual(vectors.data.map((one) => [...one.embedding]), [[2, 1, 0], [4, 2, 1]]);
    }

    const cut = await refused(OpenAI.APIError, () => drained(chat('cut', { stream: true })));
    assert.match(cut.message, /ended before its end/);
    for (const [model, kind] of [
      ['status-400', OpenAI.BadRequestError],
      ['status-429', OpenAI.RateLimitError],
      ['status-500', OpenAI.InternalServerError],
      ['empty', OpenAI.InternalServerError],
      ['error-inside', OpenAI.InternalServerError],
    ]) {
      for (const stream of [false, true]) {
        const error = await refused(kind, () => chat(model, { stream }, once));
        assert.ok(error.requestID, `${error}`);
      }
    }
    await refused(OpenAI.APIConnectionTimeoutError, () => chat('hang', {}, { ...once, timeout: 500 }));
    for await (const chunk of await chat('hang', { stream: true })) {
      if (chunk.choices[0]?.delta.content) break;
    }
  }

  const sound = await client.audio.speech.create({ model: 'o/tts-x', voice: 'alloy', input: 'Hello?' });
  assert.equal((await sound.arrayBuffer()).byteLength, 100_000);
  const file = await toFile(Buffer.alloc(1000), 'a.wav');
  assert.equal((await client.audio.transcriptions.create({ model: 'o/whisper-x', file })).text, 'Hello?');
  const unknown = await refused(OpenAI.NotFoundError, () => client.chat.completions.create(
    { model: 'alais', messages }));
  assert.match(unknown.message, /alias/);
  const stranger = new OpenAI({ baseURL, apiKey: 'oc-wrong-0123456789' });
  await refused(OpenAI.AuthenticationError, () => stranger.chat.completions.create({ model: 'o/say', messages }));

  console.log('left');
  const input = readline.createInterface({ input: process.stdin });
  await new Promise((resolve) => input.once('line', resolve));
  input.close();
  console.log('well');
};

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
