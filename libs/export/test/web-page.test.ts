import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { sha256 } from '@troupe/checkpoint/node';
import { decodeWebModel, PRECISIONS, roundedTo, webPage, type Player } from '../src/index.js';
import { exampleModel } from './example.js';

const player: Player = {
  html: `<meta content="default-src 'none'" /><link rel="stylesheet" href="player.css" />
<script id="model" type="application/json"></script><script id="weights" type="text/plain"></script>
<script id="licenses" type="text/plain"></script><script type="module" src="player.js"></script>`,
  script: 'const a = "$& é";\r\n',
  style: 'body { color: red }',
  licenses: 'MIT',
};

const blockOf = (html: string, id: string): string => new RegExp(`<script id="${id}"[^>]*>([^]*?)</script>`).exec(html)![1];

describe('webPage', () => {
  it.each(PRECISIONS)('holds the model, which is read as it was rounded: %s', (precision) => {
    const model = exampleModel();
    const html = webPage(model, player, { precision, sha256 });
    const read = decodeWebModel(blockOf(html, 'model'), blockOf(html, 'weights'));
    expect(read).toMatchObject({ name: '2x12 LSTM', vocabulary: model.vocabulary, corpus: 'sonnets</script>', round: 1200 });
    expect(read.parameters).toEqual(roundedTo(precision, model.parameters));
  });

  it('allows its own script and style by their hashes, and nothing else', () => {
    const html = webPage(exampleModel(), player, { precision: 'float16', sha256 });
    const [, policy] = /content="(.*?)"/.exec(html)!;
    const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
    const [, script] = /<script type="module">([^]*?)<\/script>/.exec(html)!;
    const [, style] = /<style>([^]*?)<\/style>/.exec(html)!;
    expect(policy).toBe(
      `default-src 'none'; script-src ${hash(script)} 'wasm-unsafe-eval'; style-src ${hash(style)}; ` +
        `img-src data:; base-uri 'none'; form-action 'none'`,
    );
    expect(script).toBe('const a = "$& é";\n');
  });

  it.each([
    ['a script that ends its element', { script: 'x = "</SCRIPT>"' }],
    ['a page without a place for the model', { html: player.html.replace('id="model"', 'id="m"') }],
    ['a page with two places for the script', { html: `${player.html}<script type="module" src="player.js"></script>` }],
  ])('refuses %s', (_, change) => {
    expect(() => webPage(exampleModel(), { ...player, ...change }, { precision: 'float16', sha256 })).toThrow(
      expect.objectContaining({ code: 'bad_player' }),
    );
  });

  it.each([
    [70_000, 'too large for float16', '--precision float32'],
    [NaN, 'a weight that is NaN', 'earlier checkpoint'],
  ])('refuses the weight %s in float16', (weight, message, remedy) => {
    const model = exampleModel();
    model.parameters[3] = weight;
    expect(() => webPage(model, player, { precision: 'float16', sha256 })).toThrow(
      expect.objectContaining({
        code: 'out_of_range',
        message: expect.stringContaining(message) as string,
        remedy: expect.stringContaining(remedy) as string,
      }),
    );
  });
});

describe('decodeWebModel', () => {
  const html = webPage(exampleModel(), player, { precision: 'float16', sha256 });
  const [facts, weights] = ['model', 'weights'].map((id) => blockOf(html, id));

  it.each([
    ['half of the weights', facts, weights.slice(0, 400)],
    ['weights that are no base64', facts, '!'],
    ['half of the facts', facts.slice(0, 40), weights],
  ])('refuses %s', (_, someFacts, someWeights) => {
    expect(() => decodeWebModel(someFacts, someWeights)).toThrow(expect.objectContaining({ code: 'damaged' }));
  });
});

describe('roundedTo', () => {
  it('rounds to the nearest half, ties to even, and keeps subnormal halves', () => {
    const weights = Float32Array.of(0.1, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -24, 2 ** -26, -65_504, -0);
    const halves = Float32Array.of(0.0999755859375, 1, 1 + 2 ** -9, 2 ** -24, 0, -65_504, -0);
    expect(roundedTo('float16', weights)).toEqual(halves);
    expect(roundedTo('float32', weights)).toBe(weights);
  });
});
