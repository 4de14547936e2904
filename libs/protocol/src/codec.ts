import * as v from 'valibot';
import { ProtocolError } from './errors.js';
import { LIMITS, type Limits } from '@troupe/config/limits';
import { MESSAGE_SCHEMAS, PROTOCOL_VERSION, type Message } from './messages.js';
import { malformed, pack, unpack } from './msgpack.js';

const schemas: Readonly<Record<string, v.GenericSchema<unknown, Message>>> = MESSAGE_SCHEMAS;

/**
 * Names the field and what it should be. It never repeats the value, which may be a secret or a
 * megabyte long.
 */
function describeIssue(type: string, issue: v.BaseIssue<unknown>): string {
  const field = JSON.stringify(v.getDotPath(issue)?.slice(0, 80) ?? '');
  if (issue.kind === 'schema' && issue.expected === 'never') return `${type}: unknown field ${field}`;
  if (issue.type === 'strict_object' && issue.received === 'undefined') return `${type}: field ${field} is missing`;
  // A rule over several fields brings its own text.
  if (issue.type === 'check') return `${type}: field ${field} ${issue.message}`;
  const wanted = issue.expected ?? issue.type.replaceAll('_', ' ');
  return `${type}: field ${field} must be ${wanted.slice(0, 160)}`;
}

/**
 * @throws ProtocolError `malformed_frame` if it is no known message, `invalid_message` if a field
 * breaks its schema
 */
function checkMessage(value: unknown): Message {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('a message that is no map');
  const type = Object.hasOwn(value, 'type') ? (value as { type: unknown }).type : undefined;
  if (typeof type !== 'string') throw malformed('a message without a type');
  if (!Object.hasOwn(schemas, type)) throw malformed(`a message of the unknown type ${JSON.stringify(type.slice(0, 40))}`);
  const result = v.safeParse(schemas[type], value, { abortEarly: true, abortPipeEarly: true });
  if (result.success) return result.output;
  const remedy = 'Run the same version of Troupe on both sides.';
  throw new ProtocolError('invalid_message', describeIssue(type, result.issues[0]), remedy);
}

function checkSize(bytes: number, limits: Limits): void {
  if (bytes <= limits.messageBytes) return;
  const message = `a message of ${bytes} bytes is over the limit of ${limits.messageBytes}`;
  throw new ProtocolError('limit_exceeded', message, 'Run the same version of Troupe on both sides.');
}

/**
 * The msgpack of a message. The sender checks the schema too, so that a mistake shows on the side
 * that made it.
 * @throws ProtocolError `invalid_message` or `limit_exceeded`
 */
export function encodeMessage(message: Message, limits: Limits = LIMITS): Uint8Array {
  const bytes = pack(checkMessage(message));
  checkSize(bytes.byteLength, limits);
  return bytes;
}

/**
 * The message in untrusted bytes. It throws no error other than ProtocolError.
 * @throws ProtocolError `malformed_frame`, `invalid_message` or `limit_exceeded`
 */
export function decodeMessage(bytes: Uint8Array, limits: Limits = LIMITS): Message {
  checkSize(bytes.byteLength, limits);
  return checkMessage(unpack(bytes, limits.messageItems));
}

/**
 * The protocol version to use with a peer that offers `offered`.
 * @throws ProtocolError `version_mismatch`, which says which side to update
 */
export function selectVersion(offered: readonly number[]): number {
  if (offered.includes(PROTOCOL_VERSION)) return PROTOCOL_VERSION;
  const older = offered.every((version) => version < PROTOCOL_VERSION);
  throw new ProtocolError(
    'version_mismatch',
    `the side that connects speaks protocol version ${offered.join(', ')}, the side that answers speaks ${PROTOCOL_VERSION}`,
    `Update Troupe on the side that ${older ? 'connects (the worker)' : 'answers (the coordinator)'}.`,
  );
}
