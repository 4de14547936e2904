import { execFileSync, spawnSync } from 'node:child_process';
import { createLayout, type ModelConfig } from '@troupe/model';
import { describe, expect, it } from 'vitest';
import {
  CheckpointError,
  FORMAT_VERSION,
  asModel,
  checkpointBlocks,
  decodeCheckpoint,
  encodeCheckpoint,
  trainedParameters,
  weightsOnly,
  type Checkpoint,
} from '../src/index.js';
import { sha256 } from '../src/node/index.js';
import { MODEL, MODELS, awkwardFloats, bits, exampleCheckpoint } from './example.js';

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests change headers at any depth
type Header = Record<string, any>;

const encode = (checkpoint: Checkpoint = exampleCheckpoint()) => encodeCheckpoint(checkpoint, sha256);

function failure(file: Uint8Array): CheckpointError {
  try {
    decodeCheckpoint(file, sha256);
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  throw new Error('the file was accepted');
}

function parts(file: Uint8Array): { header: Header; data: Uint8Array } {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  return { header: JSON.parse(Buffer.from(file.subarray(8, 8 + length)).toString()), data: file.slice(8 + length) };
}

function assemble(header: unknown, data: Uint8Array): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

/** A checkpoint with a changed header, without `sha256`, so that the later checks are reached. */
function altered(change: (header: Header, data: Uint8Array) => unknown, of = exampleCheckpoint()): Uint8Array {
  const { header, data } = parts(encode(of));
  delete header.__metadata__.sha256;
  change(header, data);
  return assemble(header, data);
}

function describedAs(change: (description: Header) => unknown, of = exampleCheckpoint()): Uint8Array {
  return altered((header) => {
    const description = JSON.parse(header.__metadata__.troupe);
    change(description);
    header.__metadata__.troupe = JSON.stringify(description);
  }, of);
}

/** A checkpoint with parameters to which 0.5 can be added. */
function ordinary(model: ModelConfig): Checkpoint {
  return exampleCheckpoint({ parameters: Float32Array.from({ length: createLayout(model).size }, (_, i) => Math.sin(i)) }, model);
}

/** A checkpoint of `model` with one changed number. */
function poked(model: ModelConfig, tensor: string, index: number, value: number): Uint8Array {
  return altered((header, data) => {
    const [begin] = header[tensor].data_offsets;
    new DataView(data.buffer, data.byteOffset).setFloat32(begin + 4 * index, value, true);
  }, ordinary(model));
}

/** The changed parameters: [tensor, index, difference]. */
function changes(model: ModelConfig, file: Uint8Array): [string, number, number][] {
  const [before, after] = [ordinary(model).parameters, decodeCheckpoint(file, sha256).parameters];
  return createLayout(model).tensors.flatMap(({ name, offset, size }) =>
    Array.from({ length: size }, (_, i): [string, number, number] => [name, i, after[offset + i] - before[offset + i]]).filter(
      ([, i]) => !Object.is(after[offset + i], before[offset + i]),
    ),
  );
}

const named = ({ cell, embedding = 0, tied = false, layerNorm = false }: ModelConfig): string =>
  `${cell}${embedding > 0 ? `, embedding ${embedding}` : ''}${tied ? ', tied' : ''}${layerNorm ? ', layer norm' : ''}`;

describe('a checkpoint', () => {
  it('survives encoding and decoding bit for bit', () => {
    const checkpoint = exampleCheckpoint();
    expect(bits(decodeCheckpoint(encode(checkpoint), sha256))).toEqual(bits(checkpoint));
  });

  it('has the same bytes each time it is written, in whatever order its objects were built', () => {
    const turned = (value: unknown): unknown => {
      if (value instanceof Float32Array) return value.slice();
      if (Array.isArray(value)) return value.map(turned);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .toReversed()
          .map(([key, field]) => [key, turned(field)]),
      );
    };
    const written = sha256(encode());
    expect(sha256(encode())).toBe(written);
    expect(sha256(encode(turned(exampleCheckpoint()) as Checkpoint))).toBe(written);
    expect(sha256(encode(decodeCheckpoint(encode(), sha256)))).toBe(written);
    expect(sha256(encode(exampleCheckpoint({ round: 1201 })))).not.toBe(written);
  });

  it('may omit when it was saved, so that the same state always gives the same bytes', () => {
    const { savedAt: _, ...timeless } = exampleCheckpoint();
    const read = decodeCheckpoint(encode(timeless), sha256);
    expect(bits(read)).toEqual(bits(timeless));
    expect('savedAt' in read).toBe(false);
    expect(sha256(encode(read))).toBe(sha256(encode(timeless)));
    expect(failure(describedAs((description) => (description.savedAt = 7))).message).toContain('savedAt');
  });

  it('carries the average of its parameters, and has either as the model', () => {
    const average = awkwardFloats(exampleCheckpoint().parameters.length, 9);
    const checkpoint = exampleCheckpoint({ twin: average });
    const names = (file: Uint8Array) => Object.keys(parts(file).header).filter((name) => /^(average|trained)\./.test(name));
    expect(bits(decodeCheckpoint(encode(checkpoint), sha256))).toEqual(bits(checkpoint));
    expect(names(encode(checkpoint))).toContain('average.lstm.weight_ih_l0');
    const averaged = asModel(checkpoint, 'average');
    const read = decodeCheckpoint(encode(averaged), sha256);
    expect(names(encode(averaged))).toContain('trained.linear.bias');
    expect(read).toMatchObject({ averaged: true, parameters: average, twin: checkpoint.parameters });
    expect(trainedParameters(read)).toEqual({ parameters: checkpoint.parameters, average });
    expect(bits(asModel(read, 'trained'))).toEqual(bits(checkpoint));
    expect(() => encode(exampleCheckpoint({ twin: average.slice(1) }))).toThrow(expect.objectContaining({ code: 'mismatch' }));
  });

  it('says of weights alone that they are an average', () => {
    const checkpoint = asModel(exampleCheckpoint({ twin: awkwardFloats(exampleCheckpoint().parameters.length, 9) }), 'average');
    const read = decodeCheckpoint(encode(weightsOnly(checkpoint)), sha256);
    expect(read).toMatchObject({ averaged: true, weightsOnly: true, parameters: checkpoint.parameters });
    expect(read.twin).toBeUndefined();
    expect(asModel(exampleCheckpoint(), 'average').averaged).toBeUndefined();
  });

  it('can be read from bytes at an odd offset', () => {
    const file = encode();
    const shifted = new Uint8Array(file.length + 3).subarray(3);
    shifted.set(file);
    expect(bits(decodeCheckpoint(shifted, sha256))).toEqual(bits(exampleCheckpoint()));
  });

  it('shares no memory with the written checkpoint or the read file', () => {
    const checkpoint = exampleCheckpoint();
    const file = encode(checkpoint);
    checkpoint.parameters.fill(0);
    const read = decodeCheckpoint(file, sha256);
    file.fill(0);
    expect(bits(read)).toEqual(bits(exampleCheckpoint()));
  });

  it('has the tensors of a PyTorch module, and its data at a multiple of 8 bytes', () => {
    const file = encode();
    const { header, data } = parts(file);
    expect((file.length - data.length) % 8).toBe(0);
    expect(header.__metadata__.format).toBe('pt');
    const shapes = Object.fromEntries(Object.entries(header).map(([name, entry]) => [name, entry.shape]));
    expect(shapes).toMatchObject({
      'lstm.weight_ih_l0': [12, 5],
      'lstm.weight_hh_l0': [12, 3],
      'lstm.bias_ih_l0': [12],
      'lstm.bias_hh_l0': [12],
      'lstm.weight_ih_l1': [12, 3],
      'linear.weight': [5, 3],
      'linear.bias': [5],
      'optimizer.second_moment.linear.bias': [5],
      'streams.h': [2, 4, 3],
      'streams.c': [2, 4, 3],
    });
    const [begin, end] = header['lstm.bias_hh_l1'].data_offsets;
    expect(data.subarray(begin, end).every((byte) => byte === 0)).toBe(true);
  });

  it.each(MODELS.map((model) => [named(model), model] as const))(
    'of a model %s survives encoding and decoding bit for bit',
    (_, model) => {
      const checkpoint = exampleCheckpoint({}, model);
      expect(bits(decodeCheckpoint(encode(checkpoint), sha256))).toEqual(bits(checkpoint));
    },
  );

  it.each(['gru', 'gru-reset-after'] as const)("of a %s has exactly the tensors of PyTorch's nn.GRU", (cell) => {
    const { header } = parts(encode(exampleCheckpoint({}, { ...MODEL, cell, embedding: 3, tied: true })));
    const model = Object.entries(header).filter(([name]) => !/^(optimizer\.|__metadata__)/.test(name));
    const layer = (k: number): [string, number[]][] => [
      [`gru.weight_ih_l${k}`, [9, 3]],
      [`gru.weight_hh_l${k}`, [9, 3]],
      [`gru.bias_ih_l${k}`, [9]],
      [`gru.bias_hh_l${k}`, [9]],
    ];
    expect(model.map(([name, { shape }]) => [name, shape])).toEqual([
      ['embedding.weight', [5, 3]],
      ...layer(0),
      ...layer(1),
      ['linear.weight', [5, 3]],
      ['linear.bias', [5]],
      ['streams.h', [2, 4, 3]],
    ]);
  });

  it("of a gru-reset-after has the candidate's recurrent bias in the last third of bias_hh", () => {
    const model: ModelConfig = { ...MODEL, cell: 'gru-reset-after' };
    const checkpoint = exampleCheckpoint({}, model);
    const { header, data } = parts(encode(checkpoint));
    const { offset, size } = createLayout(model).tensors.find(({ name }) => name === 'gru.bias_hn_l1')!;
    const [begin, end] = header['gru.bias_hh_l1'].data_offsets;
    expect(data.subarray(begin, begin + 4 * 6).every((byte) => byte === 0)).toBe(true);
    const ours = new Uint8Array(checkpoint.parameters.slice(offset, offset + size).buffer);
    expect(data.subarray(begin + 4 * 6, end)).toEqual(ours);
  });

  it.each<[ModelConfig['cell'], number, string, number]>([
    ['lstm', 1, 'lstm.bias_ih_l0', 1],
    ['rnn-tanh', 1, 'rnn.bias_ih_l0', 1],
    ['rnn-relu', 2, 'rnn.bias_ih_l0', 2],
    ['gru', 4, 'gru.bias_ih_l0', 4],
    ['gru', 7, 'gru.bias_ih_l0', 7],
    ['gru-reset-after', 4, 'gru.bias_ih_l0', 4],
  ])('of a %s adds the bias that PyTorch has trained in bias_hh[%i] to %s[%i]', (cell, index, tensor, at) => {
    const model = { ...MODEL, cell };
    const module = tensor.split('.')[0];
    const [change, ...others] = changes(model, poked(model, `${module}.bias_hh_l0`, index, 0.5));
    expect(others).toEqual([]);
    expect(change.slice(0, 2)).toEqual([tensor, at]);
    expect(change[2]).toBeCloseTo(0.5, 6);
  });

  it("of a gru-reset-after reads the candidate's recurrent bias from bias_hh", () => {
    const model: ModelConfig = { ...MODEL, cell: 'gru-reset-after' };
    const file = poked(model, 'gru.bias_hh_l0', 7, 42);
    expect(changes(model, file).map(([name, i]) => [name, i])).toEqual([['gru.bias_hn_l0', 1]]);
    const { offset } = createLayout(model).tensors.find(({ name }) => name === 'gru.bias_hn_l0')!;
    expect(decodeCheckpoint(file, sha256).parameters[offset + 1]).toBe(42);
  });

  it.each(['linear.weight', 'embedding.weight'])('with tied weights is refused if only %s was changed', (tensor) => {
    const file = poked({ ...MODEL, cell: 'gru', embedding: 3, tied: true }, tensor, 4, 42);
    expect(failure(file)).toMatchObject({
      code: 'mismatch',
      message: expect.stringContaining('embedding.weight and linear.weight differ at element 4'),
      remedy: expect.stringContaining('same matrix'),
    });
  });

  it('of format version 1, which had only LSTMs, can be read', () => {
    expect(MODEL).toEqual({ cell: 'lstm', layers: 2, hidden: 3, vocabulary: 5 });
    expect(
      bits(
        decodeCheckpoint(
          describedAs((d) => (d.formatVersion = 1)),
          sha256,
        ),
      ),
    ).toEqual(bits(exampleCheckpoint()));
  });

  it.each<[string, Partial<Checkpoint>]>([
    ['parameters of another length', { parameters: new Float32Array(3) }],
    [
      'an optimizer slot of another length',
      { optimizer: { slots: [{ name: 'momentum', values: new Float32Array(1) }], scalars: [] } },
    ],
    ['a scalar that JSON cannot represent', { optimizer: { slots: [], scalars: [{ name: 'x', value: Number.NaN }] } }],
    ['fewer cursors than states', { cursors: [0] }],
    ['a vocabulary of another size', { vocabulary: ['a', 'b'] }],
    ['a duplicate character', { vocabulary: ['a', 'b', 'c', 'd', 'a'] }],
  ])('is not written with %s', (_, change) => {
    expect(() => encode(exampleCheckpoint(change))).toThrow(expect.objectContaining({ code: 'mismatch' }));
  });
});

describe('a damaged checkpoint', () => {
  it('is detected at every truncated length', () => {
    const file = encode();
    for (let length = 0; length < file.length; length += length < 64 ? 1 : 97) {
      const error = failure(file.subarray(0, length));
      expect(error.code).toBe('truncated');
      expect(error.message).toContain(`has ${length} bytes and needs `);
    }
  });

  it('is detected wherever a relevant bit flips', () => {
    const file = encode();
    const whole = bits(exampleCheckpoint());
    let found = 0;
    for (let at = 0; at < file.length; at += 13) {
      const flipped = file.slice();
      flipped[at] ^= 1 << (at % 8);
      try {
        // A flip in the word "format" or in the padding changes nothing that the reader uses.
        expect(bits(decodeCheckpoint(flipped, sha256)), `byte ${at}`).toEqual(whole);
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        found++;
      }
    }
    expect(found).toBeGreaterThan(0.98 * Math.floor(file.length / 13));
  });

  it('is detected when tensors are swapped', () => {
    const { header, data } = parts(encode());
    const [first, second] = ['optimizer.first_moment.linear.bias', 'optimizer.second_moment.linear.bias'];
    [header[first], header[second]] = [header[second], header[first]];
    expect(failure(assemble(header, data)).code).toBe('corrupt');
  });

  it.each<[string, (header: Header) => unknown, string]>([
    ['an overlap', (header) => (header['linear.bias'].data_offsets[0] -= 4), 'overlaps'],
    ['a gap', (header) => (header['linear.bias'].data_offsets[0] += 4), 'gap of 4 bytes'],
    ['an offset out of range', (header) => (header['linear.bias'].data_offsets[1] = -1), 'malformed'],
    ['reversed offsets', (header) => header['linear.bias'].data_offsets.reverse(), 'malformed'],
    ['a fractional shape', (header) => (header['linear.bias'].shape = [2.5]), 'malformed'],
    ['an entry that is null', (header) => (header['linear.bias'] = null), 'malformed'],
    ['metadata that is a list', (header) => (header.__metadata__ = []), 'metadata'],
    ['a description that is not JSON', (header) => (header.__metadata__.troupe = '{'), 'metadata'],
  ])('with %s is refused', (_, change, message) => {
    expect(failure(altered(change))).toMatchObject({ code: 'corrupt', message: expect.stringContaining(message) });
  });

  it('with bytes after the last tensor is refused', () => {
    expect(failure(Buffer.concat([encode(), Buffer.from('x')]))).toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining('1 bytes'),
    });
  });

  it.each([
    ['broken JSON', '{"a": '],
    ['a list', '{}x'],
    ['invalid UTF-8', Buffer.from([0x7b, 0xff, 0x7d])],
  ])('with a header of %s is refused', (_, header) => {
    const bytes = Buffer.from(header as string);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.length));
    expect(failure(Buffer.concat([length, bytes])).code).toBe('corrupt');
  });
});

describe('a file that does not fit its own model', () => {
  it.each<[string, Uint8Array, string]>([
    [
      'a missing tensor',
      altered((header) => ((header.other = header['linear.bias']), delete header['linear.bias'])),
      'linear.bias',
    ],
    ['another shape', altered((header) => (header['linear.weight'].shape = [3, 5])), '[3, 5], expected float32 [5, 3]'],
    ['another type', altered((header) => (header['linear.weight'].dtype = 'F16')), 'is F16'],
    ['an absurd number of layers', describedAs((d) => (d.model.layers = 1 << 24)), 'layers'],
    ['an absurd hidden size', describedAs((d) => (d.model.hidden = 1 << 24)), 'parameters'],
    ['an absurd number of streams', describedAs((d) => (d.streams = 2 ** 50)), 'streams.h'],
    ['an unknown cell', describedAs((d) => (d.model.cell = 'xlstm')), 'model'],
    ['a negative embedding', describedAs((d) => (d.model.embedding = -1)), 'model'],
    ['a tied embedding of another size', describedAs((d) => Object.assign(d.model, { embedding: 2, tied: true })), 'model'],
    ['a dropout of 1', describedAs((d) => (d.model.dropout = 1)), 'model'],
    ['a missing embedding', describedAs((d) => (d.model.embedding = 2)), 'embedding.weight'],
    ['a format version of 0', describedAs((d) => (d.formatVersion = 0)), 'formatVersion'],
    ['a cell with other tensors', describedAs((d) => (d.model.cell = 'rnn-relu')), 'rnn.weight_ih_l0'],
    ['a negative round', describedAs((d) => (d.round = -1)), 'round'],
    ['cursors that are text', describedAs((d) => (d.cursors = ['0', '1', '2', '3'])), 'cursors'],
    ['fewer cursors', describedAs((d) => d.cursors.pop()), 'streamStates'],
    ['a vocabulary of another size', describedAs((d) => d.vocabulary.pop()), 'vocabulary'],
    ['no corpus', describedAs((d) => delete d.corpus), 'corpus'],
    ['a scalar that is null', describedAs((d) => (d.optimizer.scalars[0].value = null)), 'optimizer'],
    ['a slot without tensors', describedAs((d) => d.optimizer.slots.push('third_moment')), 'optimizer.third_moment'],
    ['a description that is a number', altered((header) => (header.__metadata__.troupe = '3')), 'metadata'],
  ])('is refused because of %s', (_, file, message) => {
    expect(failure(file)).toMatchObject({ code: 'mismatch', message: expect.stringContaining(message) });
  });

  it('is refused if a tensor has fewer bytes than its shape needs', () => {
    const file = altered((header) => {
      header['linear.bias'].data_offsets[1] -= 4;
      const next = Object.values(header).find((entry) => entry.data_offsets?.[0] === header['linear.bias'].data_offsets[1] + 4);
      next.data_offsets[0] -= 4;
    });
    expect(failure(file)).toMatchObject({ code: 'corrupt', message: expect.stringMatching(/has \d+ bytes instead of/) });
  });

  it('is refused before a huge tensor is allocated', () => {
    const streams = 2 ** 40;
    const file = altered((header) => {
      const description = JSON.parse(header.__metadata__.troupe);
      header.__metadata__.troupe = JSON.stringify({ ...description, streams });
      for (const name of ['streams.h', 'streams.c']) header[name].shape[1] = streams;
    });
    expect(failure(file)).toMatchObject({ code: 'corrupt', message: expect.stringContaining('streams.h') });
  });

  it('of a newer format is refused with both versions named', () => {
    const error = failure(describedAs((d) => (d.formatVersion = FORMAT_VERSION + 1)));
    expect(error).toMatchObject({ code: 'unsupported_version', message: expect.stringMatching(/version 4.*up to 3/) });
  });
});

describe('a foreign file', () => {
  it.each([
    ['torch.save', Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(100)]), 'torch.save'],
    ['pickle', Buffer.concat([Buffer.from([0x80, 2]), Buffer.alloc(100)]), 'pickle'],
    ['HDF5', Buffer.concat([Buffer.from([0x89]), Buffer.from('HDF\r\n\x1a\n'), Buffer.alloc(20)]), 'HDF5'],
    ['a poem', Buffer.from("Shall I compare thee to a summer's day?"), 'a text file'],
    ['JSON', Buffer.from('{"a": 1, "b": [1, 2, 3]}'), 'JSON'],
    ['noise', Buffer.alloc(64, 0xfe), 'does not begin with a safetensors header'],
    ['zeros', Buffer.alloc(64), 'does not begin with a safetensors header'],
  ])('of the kind %s is recognised', (_, file, message) => {
    expect(failure(file)).toMatchObject({ code: 'not_a_checkpoint', message: expect.stringContaining(message) });
  });

  it('of safetensors without the metadata of Troupe is named as such', () => {
    const other = assemble({ 'bert.embeddings': { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, new Uint8Array(4));
    expect(failure(other)).toMatchObject({ code: 'not_a_checkpoint', message: expect.stringContaining('bert.embeddings') });
    expect(failure(assemble({}, new Uint8Array()))).toMatchObject({ code: 'not_a_checkpoint' });
  });

  it.each([
    ['lstm', 'LSTM'],
    ['gru', 'GRU'],
    ['gru-reset-after', 'GRU'],
    ['rnn-tanh', 'RNN'],
  ] as const)('of safetensors with the tensors of a character %s is refused with what is missing', (cell, name) => {
    const file = altered(
      (header) => {
        delete header.__metadata__;
        header.other = header['linear.bias'];
        delete header['linear.bias'];
      },
      exampleCheckpoint({}, { ...MODEL, cell }),
    );
    const error = failure(file);
    expect(error).toMatchObject({
      code: 'not_a_checkpoint',
      message: expect.stringMatching(new RegExp(`character ${name}.*"troupe" is missing.*linear\\.bias`)),
    });
    expect(error.message).not.toContain('linear.weight');
  });
});

const python = '/usr/bin/python3';
const hasNumpy = spawnSync(python, ['-c', 'import numpy']).status === 0;
if (!hasNumpy) console.warn(`SKIPPED: ${python} has no numpy, so no second reader checks the checkpoint's format`);

const READER = `
import json, struct, sys
import numpy as np
file = sys.stdin.buffer.read()
(n,) = struct.unpack('<Q', file[:8])
header = json.loads(file[8:8 + n])
troupe = json.loads(header.pop('__metadata__')['troupe'])
out = {'vocabulary': troupe['vocabulary']}
for name, entry in header.items():
    begin, end = entry['data_offsets']
    values = np.frombuffer(file[8 + n + begin:8 + n + end], '<f4').reshape(entry['shape'])
    out[name] = {'shape': values.shape, 'bits': values.view('<u4').ravel().tolist()}
print(json.dumps(out))
`;

describe('a second reader', () => {
  it.skipIf(!hasNumpy)('in Python finds every tensor at the offset in the header', () => {
    const checkpoint = exampleCheckpoint();
    const output = execFileSync(python, ['-c', READER], { input: encode(checkpoint) });
    const read: Header = JSON.parse(output.toString());
    const bitsOf = (values: Float32Array) => [...new Uint32Array(values.slice().buffer)];
    expect(read.vocabulary).toEqual(checkpoint.vocabulary);
    for (const { name, shape, offset, size } of createLayout(MODEL).tensors) {
      expect(read[name]).toEqual({ shape, bits: bitsOf(checkpoint.parameters.subarray(offset, offset + size)) });
    }
    // Stream 2, layer 1, C: [B, L, S, H] against [L, B, H].
    const at = ((2 * 2 + 1) * 2 + 1) * 3;
    expect(read['streams.c'].bits.slice((1 * 4 + 2) * 3, (1 * 4 + 3) * 3)).toEqual(
      bitsOf(checkpoint.streamStates.subarray(at, at + 3)),
    );
  });
});

it('a checkpoint is encoded without a copy of its parameters or its optimizer state', () => {
  const checkpoint = exampleCheckpoint();
  const arrays = [checkpoint.parameters, ...checkpoint.optimizer.slots.map(({ values }) => values)];
  const buffers = new Set(checkpointBlocks(checkpoint, sha256).map(({ buffer }) => buffer));
  for (const { buffer } of arrays) expect(buffers).toContain(buffer);
});

describe('weightsOnly', () => {
  it.each(MODELS)('keeps the model, its text and its config, and nothing of the run: %o', (model) => {
    const checkpoint = exampleCheckpoint({}, model);
    const file = encode(weightsOnly(checkpoint));
    const read = decodeCheckpoint(file, sha256);
    const { runId, round, config, vocabulary, corpus, parametersDigest } = checkpoint;
    expect(read).toMatchObject({ runId, round, model, config, vocabulary, corpus, parametersDigest, weightsOnly: true });
    expect(Buffer.from(read.parameters.buffer)).toEqual(Buffer.from(checkpoint.parameters.buffer));
    expect(Object.keys(parts(file).header).filter((name) => /^(optimizer|streams)\./.test(name))).toEqual([]);
  });

  it('is refused if it says so in another way', () => {
    const file = describedAs((description) => (description.weightsOnly = 'yes'), weightsOnly(exampleCheckpoint()));
    expect(failure(file)).toMatchObject({ code: 'mismatch', message: expect.stringContaining('weightsOnly') as string });
  });
});
