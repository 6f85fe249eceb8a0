// Runs cases of client libraries as `cases.py` does, which tells how: BASE_URL KEY CASE... on the command line.
// The libraries are looked for in the directory that OPENCLAW_TEST_NODE names. A client has `ask`, `embed` and
// `leave`, `mistaken` and the like that tell whether an error is of the right kind, and options at its creation.
'use strict';

const assert = require('node:assert/strict');
const { createRequire } = require('node:module');
const readline = require('node:readline/promises');

const installed = createRequire(`${process.env.OPENCLAW_TEST_NODE}/`);
const picture = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1').toString('base64');
const schema = {
  type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false,
};
const results = [['call_1', 'Bern', '20 degrees'], ['call_2', 'Rome', '30 degrees']];
const hello = { text: 'Hello?', stream: false };

const raises = async (isRight, ask) => {
  let said;
  try {
    said = await ask();
  } catch (error) {
    assert.ok(isRight(error), `${error?.name} ${error?.status ?? error?.statusCode}: ${error}`);
    return error;
  }
  throw new Error(`no error: ${JSON.stringify(said)}`);
};

const features = {
  chat: async (client, provider, stream) => {
    const said = await client.ask(`${provider}/say`, { ...hello, stream });
    assert.equal(said.text, 'Hello, world');
    assert.deepEqual(said.usage, [9, 12]);
  },
  tool: async (client, provider, stream) => {
    const said = await client.ask(`${provider}/tool`, { ...hello, stream, tools: true });
    assert.deepEqual(said.calls, [['weather', { city: 'Bern' }]]);
  },
  tools: async (client, provider, stream) => {
    const said = await client.ask(`${provider}/tools`, { ...hello, stream, tools: true });
    assert.deepEqual(said.calls, [['weather', { city: 'Bern' }], ['weather', { city: 'Rome' }]]);
  },
  recite: async (client, provider, stream) => {
    const { text } = await client.ask(
      `${provider}/recite`, { text: 'Thanks', stream, system: 'Be brief', tools: true, history: true });
    const places = ['system: Be brief', 'user: Weather?', 'call: weather {"city":"Bern"}',
      'call: weather {"city":"Rome"}', '20 degrees', '30 degrees'].map((piece) => text.indexOf(piece));
    assert.ok(!places.includes(-1) && text.includes('user: Thanks'), text);
    assert.deepEqual(places, places.toSorted((one, other) => one - other), text);
  },
  see: async (client, provider, stream) => {
    const said = await client.ask(`${provider}/see`, { ...hello, stream, image: true });
    assert.equal(said.text, `saw ${picture}`);
  },
  form: async (client, provider, stream) => {
    const said = await client.ask(`${provider}/json`, { ...hello, stream, form: true });
    assert.deepEqual(JSON.parse(said.text), { city: 'Bern' });
  },
  think: async (client, provider, stream) => {
    const said = await client.ask(`${provider}/think`, { ...hello, stream });
    assert.deepEqual([said.thought, said.text], ['They greet.', 'Hello, world']);
  },
  embed: async (client, provider) => {
    const ask = () => client.embed(`${provider}/embed`, ['ab', 'abcd']);
    if (provider === 'a') {
      assert.match(`${await raises((error) => client.isStatus(error, 400), ask)}`, /no vectors/);
    } else {
      assert.deepEqual(await ask(), [[2, 1, 0], [4, 2, 1]]);
    }
  },
  cut: async (client, provider, stream, model = 'cut') => {
    const ask = () => client.ask(`${provider}/${model}`, { ...hello, stream });
    const error = await raises((error) => stream ? client.isBroken(error) : client.isStatus(error, 500), ask);
    if (stream) assert.match(client.told?.(error) ?? error.message, /ended before its end/);
  },
  'cut-before': (client, provider, stream) => features.cut(client, provider, stream, 'cut-before'),
  late: (client, provider) => raises(
    client.isLate, () => client.ask(`${provider}/hang`, { ...hello, timeout: 500 })),
  leave: (client, provider) => client.leave(`${provider}/hang`),
  'unknown-model': async (client) => {
    const error = await raises((error) => client.isStatus(error, 404), () => client.ask('alais', hello));
    assert.match(error.message, /alias/);
  },
};

const check = async (clients, base, key, name, provider, feature) => {
  const client = clients[name](base, key);
  const stream = feature.endsWith('-stream');
  const plain = feature.replace(/-stream$/, '');
  const status = { empty: 500, 'error-inside': 500 }[plain] ?? Number(plain.match(/^status-(\d+)$/)?.[1]);
  if (status) {
    await raises((error) => client.isStatus(error, status),
      () => client.ask(`${provider}/${plain}`, { ...hello, stream }));
  } else if (plain === 'wrong-key') {
    const stranger = clients[name](base, 'oc-wrong-0123456789');
    await raises((error) => client.isStatus(error, 401), () => stranger.ask('o/say', hello));
  } else {
    await (features[plain] ?? client[plain])(client, provider, stream);
  }
};

const run = async (clients) => {
  const [base, key, ...cases] = process.argv.slice(2);
  for (const each of cases) {
    try {
      await check(clients, base, key, ...each.split('/'));
      console.log(`ok ${each}`);
    } catch (error) {
      console.error(error);
      console.log(`failed ${each}: ${`${error}`.replaceAll('\n', ' ').slice(0, 400)}`);
    }
  }
  console.log('left');
  const input = readline.createInterface({ input: process.stdin });
  await new Promise((resolve) => input.once('line', resolve));
  process.exit(0);
};

module.exports = { installed, picture, results, run, schema };
