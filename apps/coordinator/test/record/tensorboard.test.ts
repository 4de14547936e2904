import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { createTensorBoard, encodeRecord, maskedCrc } from '../../src/record/tensorboard.js';

/** The records of a TFRecord file. Compares their checksums. */
function records(file: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(maskedCrc(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(maskedCrc(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

type Field = { readonly field: number; readonly value: number | Buffer };

/** The fields of a protobuf message, decoded by the wire format alone. */
function fields(message: Buffer): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = message[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < message.length) {
    const key = varint();
    const field = key >>> 3;
    switch (key & 7) {
      case 0:
        found.push({ field, value: varint() });
        break;
      case 1:
        found.push({ field, value: message.readDoubleLE(at) });
        at += 8;
        break;
      case 2: {
        const length = varint();
        found.push({ field, value: message.subarray(at, at + length) });
        at += length;
        break;
      }
      case 5:
        found.push({ field, value: message.readFloatLE(at) });
        at += 4;
        break;
      default:
        throw new Error(`wire type ${key & 7}`);
    }
  }
  return found;
}

const one = (message: Buffer, field: number): number | Buffer | undefined =>
  fields(message).find((candidate) => candidate.field === field)?.value;
const text = (value: number | Buffer | undefined): string => (value as Buffer).toString('utf8');

async function written(firstStep: number, write: (board: ReturnType<typeof createTensorBoard>) => void) {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'troupe-tb-'));
  const failures: Error[] = [];
  const board = createTensorBoard(
    folder,
    firstStep,
    () => 1_700_000_000.25,
    (error) => failures.push(error),
  );
  write(board);
  board.begin();
  await board.close();
  const [name] = await fs.readdir(path.join(folder, 'tensorboard'));
  const events = records(await fs.readFile(path.join(folder, 'tensorboard', name)));
  await fs.rm(folder, { recursive: true });
  expect(failures).toEqual([]);
  return { name, events };
}

describe('event files for TensorBoard', () => {
  it('use the checksum of RFC 3720', () => {
    const unmasked = (masked: number): number => {
      const rotated = (masked - 0xa282ead8) >>> 0;
      return ((rotated >>> 17) | (rotated << 15)) >>> 0;
    };
    expect(unmasked(maskedCrc(Buffer.from('123456789')))).toBe(0xe3069283);
    expect(unmasked(maskedCrc(Buffer.alloc(32)))).toBe(0x8a9136aa);
    expect(records(Buffer.from(encodeRecord(Buffer.from('abc'))))).toEqual([Buffer.from('abc')]);
  });

  it('begin with the version and the step from which older files are void', async () => {
    const { name, events } = await written(4_000_000_000, () => undefined);
    expect(name).toMatch(/^events\.out\.tfevents\.1700000000\./);
    expect(text(one(events[0], 3))).toBe('brain.Event:2');
    expect(one(events[1], 2)).toBe(4_000_000_000);
    expect(one(one(events[1], 7) as Buffer, 1)).toBe(1);
  });

  it('contain scalars with tag, step and time, and omit what is not a finite number', async () => {
    const { events } = await written(0, (board) => board.scalars(300, { 'loss/train': 1.5, bad: NaN, workers: 3 }));
    const event = events[2];
    expect([one(event, 1), one(event, 2)]).toEqual([1_700_000_000.25, 300]);
    const values = fields(one(event, 5) as Buffer).map(({ value }) => value as Buffer);
    expect(values.map((value) => [text(one(value, 1)), one(value, 2)])).toEqual([
      ['loss/train', 1.5],
      ['workers', 3],
    ]);
  });

  it('contain texts as a tensor of one string for the text plugin', async () => {
    const { events } = await written(0, (board) => board.text(7, 'sample', 'Shall I – “compare”'));
    const [value] = fields(one(events[2], 5) as Buffer).map((field) => field.value as Buffer);
    const tensor = one(value, 8) as Buffer;
    expect([text(one(value, 1)), one(tensor, 1), text(one(tensor, 8))]).toEqual(['sample', 7, 'Shall I – “compare”']);
    expect(one(one(one(tensor, 2) as Buffer, 2) as Buffer, 1)).toBe(1);
    expect(text(one(one(one(value, 9) as Buffer, 1) as Buffer, 1))).toBe('text');
  });
});
