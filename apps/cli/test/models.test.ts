/**
 * The commands without child processes (sample, eval, corpus, bench), with the real engine on a
 * small model.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCheckpoint, writeCheckpoint } from '@troupe/checkpoint/node';
import { splitCorpus } from '@troupe/corpus';
import { loadCorpus } from '@troupe/corpus/node';
import { createLayout, evaluateLoss, initialParameters } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { troupe, type SessionOptions } from './fixtures/shell.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'troupe-cli-'));
const runFolder = path.join(folder, 'runs', '001');
const verses = path.join(folder, 'verses.txt');
const foreign = path.join(folder, 'foreign.txt');
let checkpointFile = '';
let expectedLoss = NaN;

async function outputOf(argv: readonly string[], options?: SessionOptions) {
  const session = troupe(argv, options);
  return { code: await session.exitCode, stdout: session.stdout.text, stderr: session.stderr.text };
}

beforeAll(async () => {
  const { vocabulary: letters, tokens } = await loadCorpus('sonnets');
  const sonnets = letters.decode(tokens);
  const text = sonnets.slice(0, 6000);
  writeFileSync(verses, text);
  writeFileSync(foreign, `${text}\u{1f3ad}`);
  const corpus = await loadCorpus(verses);
  const { vocabulary, tokens: ids } = corpus;
  const model = { cell: 'lstm', layers: 1, hidden: 12, vocabulary: vocabulary.size } as const;
  const parameters = initialParameters(model, createLayout(model), 3);
  const written = await writeCheckpoint(
    runFolder,
    {
      runId: 'r1',
      round: 7,
      model,
      config: {},
      vocabulary: vocabulary.characters,
      corpus: { name: verses, sha256: corpus.sha256, characters: ids.length, trainFraction: 0.9 },
      parameters,
      parametersDigest: '0123456789abcdef',
      optimizer: { slots: [], scalars: [] },
      streamStates: new Float32Array(24),
      cursors: [0],
      rng: null,
      history: null,
      savedAt: '2024-01-01T00:00:00.000Z',
    },
    { best: true },
  );
  checkpointFile = written.path;
  const engine = createReferenceEngine(model, { maxStreams: 1, maxWindow: 64 });
  engine.setParameters(parameters);
  expectedLoss = (await evaluateLoss(engine, model, splitCorpus(ids).validation, { window: 64, lanes: 1, warmup: 0 }))
    .lossPerChar;
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('troupe eval --protocol', () => {
  const evaluated = async (...flags: string[]) => {
    const { stdout } = await outputOf(['eval', '--checkpoint', checkpointFile, '--json', ...flags]);
    return JSON.parse(stdout) as { lossPerChar: number; tokens: number; protocol: string };
  };

  it('measures in blocks and dynamically, says so, and carries the state by default', async () => {
    const [carried, blocks, dynamic] = [
      await evaluated(),
      await evaluated('--protocol=blocks'),
      await evaluated('--protocol=dynamic'),
    ];
    expect(carried).toMatchObject({ protocol: 'carried', lanes: 1 });
    expect(carried.lossPerChar).toBeCloseTo(expectedLoss, 4);
    expect(blocks).toMatchObject({ protocol: 'blocks', block: 256, tokens: 256 * Math.floor(carried.tokens / 256) });
    expect(dynamic).toMatchObject({ protocol: 'dynamic', tokens: carried.tokens, segment: 32 });
    // The model is untrained.
    expect(dynamic.lossPerChar).toBeLessThan(carried.lossPerChar);
    const { stdout } = await outputOf(['eval', '--checkpoint', checkpointFile, '--protocol', 'blocks']);
    expect(stdout).toContain('in blocks of 256, each from a state of zeros');
  });

  it('refuses flags of another protocol', async () => {
    const { code, stderr } = await outputOf(['eval', '--checkpoint', checkpointFile, '--protocol=blocks', '--lanes=4']);
    expect(code).toBe(2);
    expect(stderr).toContain('it belongs to the protocol carried');
  });
});

describe('troupe sample', () => {
  it('writes the prime and the requested number of characters, the same for the same seed', async () => {
    const argv = ['sample', '--checkpoint', checkpointFile, '--prime', 'Shall', '--length', '40', '--seed', '5'];
    const first = await outputOf(argv);
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(/^Shall[^]{40}\n$/);
    expect(await outputOf(argv)).toEqual(first);
    expect((await outputOf([...argv, '--seed', '6'])).stdout).not.toBe(first.stdout);
  });

  it('reads the prime as the text was read, and leaves out unknown characters when asked, saying which', async () => {
    const sample = (prime: string, ...flags: string[]) =>
      outputOf(['sample', '--checkpoint', checkpointFile, '--length', '20', '--prime', prime, ...flags]);
    const plain = await sample('Shall\nI');
    expect(await sample('\ufeffShall\r\nI')).toEqual(plain);
    const refused = await sample('Shall\nI \u00fc');
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('add --skip-unknown') as string });
    const skipped = await sample('Sh\u{1f3ad}all\nI\u00fc', '--skip-unknown');
    expect(skipped).toMatchObject({ code: 0, stdout: plain.stdout });
    expect(skipped.stderr).toBe('note: the model does not know "\u{1f3ad}", "\u00fc"; left out of the prime\n');
  });

  it('takes the best checkpoint of a run folder', async () => {
    const { code, stdout } = await outputOf(['sample', '--checkpoint', runFolder, '--length', '10', '--json']);
    expect(code).toBe(0);
    const shown = JSON.parse(stdout) as { checkpoint: string; round: number; text: string };
    expect(shown).toMatchObject({ checkpoint: path.join(runFolder, 'best.safetensors'), round: 7 });
    expect(shown.text).toHaveLength(10);
  });

  it('takes by default the newest run that has a checkpoint, and says so when there is none', async () => {
    const cwd = process.cwd();
    const place = mkdtempSync(path.join(os.tmpdir(), 'troupe-runs-'));
    process.chdir(place);
    try {
      expect(await outputOf(['sample'])).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('no run with a checkpoint') as string,
      });
      await writeCheckpoint(path.join(place, 'runs', '001'), (await readCheckpoint(checkpointFile)).checkpoint);
      mkdirSync(path.join(place, 'runs', '002'));
      const { stdout } = await outputOf(['sample', '--length', '5', '--json']);
      expect(JSON.parse(stdout)).toMatchObject({ checkpoint: path.join('runs', '001', 'round-00000007.safetensors') });
    } finally {
      process.chdir(cwd);
      rmSync(place, { recursive: true });
    }
  });

  it('stops when its reader is gone', async () => {
    const unread = AbortSignal.abort();
    const argv = ['sample', '--checkpoint', checkpointFile, '--length', '1000000'];
    expect(await outputOf(argv, { shell: { unread } })).toMatchObject({ code: 0, stdout: '' });
  });

  it('names a character that the model does not know, and the characters that it knows', async () => {
    const { code, stderr } = await outputOf(['sample', '--checkpoint', checkpointFile, '--prime', 'caf\u00e9']);
    expect(code).toBe(1);
    expect(stderr).toContain('U+00E9');
    expect(stderr).toContain('abcdefghi');
  });

  it('gives a remedy for a wrong path', async () => {
    const { code, stderr } = await outputOf(['sample', '--checkpoint', path.join(folder, 'nothing')]);
    expect(code).toBe(1);
    expect(stderr.trimEnd().split('\n')).toHaveLength(2);
  });

  it('refuses an empty prime', async () => {
    expect(await outputOf(['sample', '--checkpoint', checkpointFile, '--prime', ''])).toMatchObject({ code: 2 });
  });
});

describe('troupe eval', () => {
  it('measures a text with accents in the other form than the model knows', async () => {
    const model = { cell: 'lstm', layers: 1, hidden: 4, vocabulary: 4 } as const;
    const stored = await readCheckpoint(checkpointFile);
    const file = await writeCheckpoint(path.join(folder, 'accents'), {
      ...stored.checkpoint,
      model,
      vocabulary: ['\n', 'a', 'e', '\u00e9'],
      parameters: initialParameters(model, createLayout(model), 3),
      streamStates: new Float32Array(8),
    });
    const lossOf = async (name: string, text: string) => {
      writeFileSync(path.join(folder, name), text);
      const argv = ['eval', '--checkpoint', file.path, '--corpus', path.join(folder, name), '--json'];
      return (JSON.parse((await outputOf(argv)).stdout) as { lossPerChar: number }).lossPerChar;
    };
    expect(await lossOf('nfd.txt', 'ae\u0301\n'.repeat(40))).toBe(await lossOf('nfc.txt', 'a\u00e9\n'.repeat(40)));
  });

  it('finds the text of the run where its folder says that it is', async () => {
    const moved = path.join(folder, 'elsewhere', 'run');
    mkdirSync(moved, { recursive: true });
    const file = path.join(moved, 'best.safetensors');
    const stored = await readCheckpoint(checkpointFile);
    await writeCheckpoint(
      moved,
      { ...stored.checkpoint, corpus: { ...stored.checkpoint.corpus, name: 'verses.txt' } },
      { best: true },
    );
    const lost = await outputOf(['eval', '--checkpoint', file]);
    expect(lost.code).toBe(1);
    expect(lost.stderr).toMatch(/verses\.txt, is not where it was, or has changed\.\n.*--corpus PATH/);
    writeFileSync(path.join(moved, 'run.json'), JSON.stringify({ format: 1, flags: { '--corpus': verses } }));
    const found = await outputOf(['eval', '--checkpoint', file, '--json']);
    expect(JSON.parse(found.stdout)).toMatchObject({ corpus: 'verses.txt', trainedOn: true });
  });

  it('measures the loss of the whole validation part, by default on the corpus of the run', async () => {
    const { code, stdout } = await outputOf(['eval', '--checkpoint', checkpointFile, '--json']);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as Record<string, number>;
    expect(result).toMatchObject({ checkpoint: checkpointFile, round: 7, corpus: 'verses.txt', tokens: 599, trainedOn: true });
    expect(result.lossPerChar).toBeCloseTo(expectedLoss, 5);
    expect(result.bitsPerChar).toBeCloseTo(expectedLoss / Math.LN2, 5);
    expect(result.perplexity).toBeCloseTo(Math.exp(expectedLoss), 3);
    expect(result.charsPerSecond).toBeGreaterThan(0);
  });

  it('prints the loss for people, and notes that the model was trained on another text', async () => {
    const other = path.join(folder, 'other.txt');
    writeFileSync(other, 'the summer and the winter of the year\n'.repeat(30));
    const { code, stdout } = await outputOf(['eval', '--checkpoint', checkpointFile, '--corpus', other]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d\.\d{4} nats\/char\n/);
    expect(stdout).toContain('the model was trained on another text');
  });

  it('refuses a corpus with characters that the model does not know', async () => {
    const { code, stdout, stderr } = await outputOf(['eval', '--checkpoint', checkpointFile, '--corpus', foreign, '--json']);
    expect(code).toBe(1);
    expect(stderr).toContain('U+1F3AD');
    expect(JSON.parse(stdout)).toMatchObject({ event: 'error', code: 'unknown_character' });
  });
});

describe('--engine', () => {
  it('gives the same loss as the default engine except for rounding, and names the engine', async () => {
    const argv = ['eval', '--checkpoint', checkpointFile, '--json'];
    const usual = JSON.parse((await outputOf(argv)).stdout) as Record<string, unknown>;
    const reference = JSON.parse((await outputOf([...argv, '--engine', 'reference'])).stdout) as Record<string, unknown>;
    expect(usual.engine).toMatch(/^wasm /);
    expect(reference.engine).toBe('reference float64');
    expect(reference.lossPerChar).toBeCloseTo(usual.lossPerChar as number, 5);
  });

  it('fails in two lines if the engine is absent: what is missing, and the command that installs it', async ({ skip }) => {
    const { stdout } = await outputOf(['doctor', '--engine', 'tfjs-node-gpu', '--json']);
    const { engines } = JSON.parse(stdout) as { engines: { present: boolean }[] };
    skip(engines[0].present, 'SKIPPED: @tensorflow/tfjs-node-gpu is installed here, and no other engine is sure to be absent');
    for (const command of ['sample', 'eval']) {
      const { code, stderr } = await outputOf([command, '--checkpoint', checkpointFile, '--engine', 'tfjs-node-gpu']);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^error: .*tfjs-node-gpu.*\nnpm install --no-save @tensorflow\/tfjs-node-gpu.*\n$/);
    }
  });
});

describe('troupe corpus', () => {
  it('lists the named corpora', async () => {
    const { stdout } = await outputOf(['corpus', 'list']);
    for (const name of ['sonnets', 'tiny-shakespeare', 'complete-works']) expect(stdout).toContain(`${name}\n`);
    const { corpora } = JSON.parse((await outputOf(['corpus', 'list', '--json'])).stdout) as { corpora: { name: string }[] };
    expect(corpora.map(({ name }) => name)).toContain('sonnets');
  });

  it('describes a file', async () => {
    const { code, stdout } = await outputOf(['corpus', 'info', verses, '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      name: 'verses.txt',
      characters: 6000,
      train: 5400,
      validation: 600,
      source: { kind: 'file' },
    });
  });

  it('explains what is wrong with a file in two lines', async () => {
    const latin = path.join(folder, 'latin1.txt');
    writeFileSync(latin, Buffer.from('un caf\xe9 d\xe9j\xe0 ferm\xe9\n'.repeat(9), 'latin1'));
    const { code, stderr } = await outputOf(['corpus', 'info', latin]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: .*not UTF-8: byte 6 \(0xe9\) is invalid\.\n.*as windows-1252: "un café déjà fermé".*add --encoding windows-1252.*\n$/,
    );
  });

  it('finds a named corpus in TROUPE_CORPUS_DIR and refuses other bytes under its name', async () => {
    writeFileSync(path.join(folder, 'input.txt'), 'not the plays');
    const { code, stderr } = await outputOf(['corpus', 'fetch', 'tiny-shakespeare'], { env: { TROUPE_CORPUS_DIR: folder } });
    expect(code).toBe(1);
    expect(stderr).toContain('86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed');
  });
});

describe('troupe bench', () => {
  it('measures the requested sizes', async () => {
    const { code, stdout } = await outputOf(['bench', '--config', '1x8,2,4', '--config', '2x8,2,4', '--seconds', '0', '--json']);
    expect(code).toBe(0);
    const { results } = JSON.parse(stdout) as { results: Record<string, number>[] };
    expect(results).toMatchObject([
      { layers: 1, hidden: 8, batch: 2, window: 4, steps: 5 },
      { layers: 2, hidden: 8, batch: 2, window: 4, steps: 5 },
    ]);
    for (const { charsPerSecond, stepMs, gflops } of results) {
      expect(charsPerSecond).toBeCloseTo(8000 / stepMs, 6);
      expect(gflops).toBeGreaterThan(0);
    }
  });

  it('measures the requested engine and threads', async () => {
    const argv = ['bench', '--config', '1x8,2,4', '--seconds', '0', '--json', '--engine', 'reference'];
    const { results } = JSON.parse((await outputOf(argv)).stdout) as { results: { engine: string }[] };
    expect(results).toMatchObject([{ engine: 'reference float64' }]);
  });

  it('shows the machine and a line for each size', async () => {
    const { stdout } = await outputOf(['bench', '--config', '1x8,2,4', '--seconds', '0']);
    expect(stdout).toMatch(/\n1x8 B=2 T=4 +\S+ chars\/s +\S+ GFLOP\/s/);
  });
});
