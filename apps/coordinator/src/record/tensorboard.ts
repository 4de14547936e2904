/**
 * Writes event files for TensorBoard: TFRecord framing around Event protobufs, of which it writes only scalars and texts.
 * Formats: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto.
 */
import os from 'node:os';
import path from 'node:path';
import { createAppender } from './appender.js';

export interface TensorBoardWriter {
  scalars(step: number, values: Readonly<Record<string, number>>): void;
  text(step: number, tag: string, text: string): void;
  /** Nothing is written before this. */
  begin(): void;
  close(): Promise<void>;
}

/** @param firstStep what older files have for this step and later ones is void */
export function createTensorBoard(
  folder: string,
  firstStep: number,
  nowS: () => number,
  onFailed: (error: Error) => void,
): TensorBoardWriter {
  const name = `events.out.tfevents.${Math.floor(nowS())}.${os.hostname()}.${process.pid}`;
  const appender = createAppender(path.join(folder, 'tensorboard', name), { onFailed });
  const write = (event: Uint8Array): void => appender.append(encodeRecord(event));
  write(fileVersion(nowS()));
  write(sessionStart(nowS(), firstStep));
  return {
    scalars(step, values) {
      const all = Object.entries(values).filter(([, value]) => Number.isFinite(value));
      write(
        summaryEvent(
          nowS(),
          step,
          all.map(([tag, value]) => scalarValue(tag, value)),
        ),
      );
    },
    text: (step, tag, text) => write(summaryEvent(nowS(), step, [textValue(tag, text)])),
    begin: () => appender.begin(),
    close: () => appender.close(),
  };
}

// ---- TFRecord: length u64, its CRC, data, its CRC; all little-endian

export function encodeRecord(data: Uint8Array): Uint8Array {
  const record = Buffer.alloc(12 + data.length + 4);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(maskedCrc(record.subarray(0, 8)), 8);
  record.set(data, 12);
  record.writeUInt32LE(maskedCrc(data), 12 + data.length);
  return record;
}

/** CRC-32C, Castagnoli. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

// ---- protobuf: fields in the order in which they are given

function fileVersion(wallTime: number): Buffer {
  return Buffer.concat([double(1, wallTime), bytes(3, 'brain.Event:2')]);
}

/** SessionLog.START: what older files have for this step and later ones is void. */
function sessionStart(wallTime: number, step: number): Buffer {
  return Buffer.concat([double(1, wallTime), whole(2, step), bytes(7, whole(1, 1))]);
}

function summaryEvent(wallTime: number, step: number, values: readonly Buffer[]): Buffer {
  const summary = Buffer.concat(values.map((value) => bytes(1, value)));
  return Buffer.concat([double(1, wallTime), whole(2, step), bytes(5, summary)]);
}

function scalarValue(tag: string, value: number): Buffer {
  return Buffer.concat([bytes(1, tag), float(2, value)]);
}

/** A string tensor [1] for TensorBoard's text page. */
function textValue(tag: string, text: string): Buffer {
  const shape = bytes(2, whole(1, 1));
  const tensor = Buffer.concat([whole(1, 7), bytes(2, shape), bytes(8, text)]);
  const metadata = bytes(1, bytes(1, 'text'));
  return Buffer.concat([bytes(1, tag), bytes(8, tensor), bytes(9, metadata)]);
}

function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return Buffer.from([...out, rest]);
}

const key = (field: number, wire: number): Buffer => varint(field * 8 + wire);

function whole(field: number, value: number): Buffer {
  return Buffer.concat([key(field, 0), varint(value)]);
}

function double(field: number, value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeDoubleLE(value);
  return Buffer.concat([key(field, 1), out]);
}

function float(field: number, value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return Buffer.concat([key(field, 5), out]);
}

function bytes(field: number, value: string | Uint8Array): Buffer {
  const content = Buffer.from(value);
  return Buffer.concat([key(field, 2), varint(content.length), content]);
}
