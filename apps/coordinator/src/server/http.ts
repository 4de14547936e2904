/** What all responses of the HTTP API have in common. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { LIMITS } from '@troupe/protocol';
import type { ApiError } from '@troupe/run';
import { cutOffWhenStalled } from './pace.js';

/** Compressing smaller responses gains nothing. */
const MIN_GZIP_BYTES = 2 * 1024;

/** A response with status 400 or above. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';
  readonly status: number;
  readonly code: string;
  readonly remedy: string;
  constructor(status: number, code: string, message: string, remedy: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.remedy = remedy;
  }
}

/** Browsers must not execute, frame or cache responses of the API. */
export const API_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const;

const compress = promisify(gzip);

export function acceptsGzip(request: IncomingMessage): boolean {
  return /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
}

export interface AnswerOptions {
  /** Default 200. */
  readonly status?: number;
  /** Such as "application/json". Default plain text. */
  readonly type?: string;
  /** They override API_HEADERS. */
  readonly headers?: Readonly<Record<string, string>>;
}

export async function sendText(
  request: IncomingMessage,
  response: ServerResponse,
  text: string,
  { status = 200, type = 'text/plain; charset=utf-8', headers = {} }: AnswerOptions = {},
): Promise<void> {
  const plain = Buffer.from(text);
  const zipped = plain.length >= MIN_GZIP_BYTES && acceptsGzip(request);
  const body = zipped ? await compress(plain) : plain;
  cutOffWhenStalled(response);
  response.writeHead(status, {
    ...API_HEADERS,
    'content-type': type,
    'content-length': body.length,
    ...(zipped ? { 'content-encoding': 'gzip', vary: 'accept-encoding' } : {}),
    ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

export function sendJson(
  request: IncomingMessage,
  response: ServerResponse,
  value: unknown,
  options: Omit<AnswerOptions, 'type'> = {},
): Promise<void> {
  return sendText(request, response, JSON.stringify(value), { ...options, type: 'application/json' });
}

/** Headers that a status requires. */
const REQUIRED_HEADERS: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  401: { 'www-authenticate': 'Bearer' },
  426: { upgrade: 'websocket', connection: 'upgrade, close' },
};

export function sendFailure(request: IncomingMessage, response: ServerResponse, failure: ApiFailure): Promise<void> {
  const { status, code, message, remedy } = failure;
  const headers: Record<string, string> = { ...REQUIRED_HEADERS[status] };
  // The rest of an unread body would be taken for the next request.
  if (request.method === 'POST') headers.connection = 'close';
  return sendJson(request, response, { code, message, remedy } satisfies ApiError, { status, headers });
}

/** The body of a POST. @throws ApiFailure 413, 415, 400 */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  // For this type, browsers first ask permission for pages of other sites, and get none.
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) {
    throw new ApiFailure(
      415,
      'not_json',
      'the content type of the body is not JSON',
      'Send the header content-type: application/json.',
    );
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > LIMITS.requestBytes) {
      throw new ApiFailure(413, 'too_long', `the body has more than ${LIMITS.requestBytes} bytes`, 'Send a shorter body.');
    }
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new ApiFailure(
      400,
      'bad_json',
      'the body is not JSON',
      'Send a JSON object; see the API description, /api/openapi.json.',
    );
  }
}

/** Answers a request to upgrade with an HTTP status, "403 Forbidden", instead of a WebSocket. */
export function refuseUpgrade(socket: Duplex, status: string): void {
  // If the client is already gone, the response has no reader.
  socket.on('error', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
