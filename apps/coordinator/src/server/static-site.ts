/** Serves a folder of built pages. It is read once, so nothing outside it can be requested. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { acceptsGzip } from './http.js';
import { cutOffWhenStalled } from './pace.js';

/** The page's own headers, for all of its files. The build copies this file. */
const HEADERS_FILE = 'headers.json';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
  '.woff2': 'font/woff2',
};
const COMPRESSIBLE = /^(text|application\/(json|wasm|manifest)|image\/svg)/;
/** A name that contains a hash of the content: "main-K3JX9Q2A.js". */
const HASHED = /[-.][0-9A-Z]{8,}\.\w+$/;

const DEFAULT_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; font-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
};

/** In a page, the address at which the client found this server: some programs that show a link take no relative ones. */
const BASE = '%BASE%';

interface StoredFile {
  readonly body: Buffer;
  readonly zipped: Buffer | undefined;
  readonly etag: string;
  /** It holds BASE. */
  readonly hasBase: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

export interface StaticSite {
  /**
   * @param pathname relative to the site, "/" for its page
   * @param site `base`: "https://lab.example/troupe"; pages may hold it. `connects`: other servers that pages may connect to:
   * "ws://10.0.0.2:7071"
   * @returns false if there is no such file
   */
  answer(
    pathname: string,
    request: IncomingMessage,
    response: ServerResponse,
    site: { readonly base: string; readonly connects?: readonly string[] },
  ): boolean;
}

/** @returns undefined if the page is not built */
export async function loadSite(folder: string): Promise<StaticSite | undefined> {
  const names = await filesOf(folder);
  if (!names.includes('index.html')) return undefined;
  const own = names.includes(HEADERS_FILE)
    ? (JSON.parse(await readFile(path.join(folder, HEADERS_FILE), 'utf8')) as Record<string, string>)
    : {};
  const files = new Map<string, StoredFile>();
  for (const name of names) {
    const type = TYPES[path.extname(name)];
    if (name === HEADERS_FILE || type === undefined) continue;
    files.set(
      `/${name}`,
      store(name, await readFile(path.join(folder, name)), { ...DEFAULT_HEADERS, ...own, 'content-type': type }),
    );
  }
  return {
    answer(pathname, request, response, { base, connects = [] }) {
      const file = files.get(pathname === '/' ? '/index.html' : pathname);
      if (file) send(allowing(at(base, file), connects), request, response);
      return file !== undefined;
    },
  };
}

/** Paths with slashes, relative to the folder. Empty if the folder does not exist. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'));
}

/** The file as it is at this address. */
function at(base: string, file: StoredFile): StoredFile {
  if (!file.hasBase) return file;
  const escaped = base.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
  const { 'cache-control': _caching, vary: _vary, ...headers } = file.headers;
  return store('index.html', Buffer.from(file.body.toString('utf8').replaceAll(BASE, escaped)), headers);
}

function store(name: string, body: Buffer, headers: Readonly<Record<string, string>>): StoredFile {
  const zipped = COMPRESSIBLE.test(headers['content-type']) && body.length > 1024 ? gzipSync(body) : undefined;
  const caching = HASHED.test(name) ? 'public, max-age=31536000, immutable' : 'no-cache';
  return {
    body,
    zipped,
    etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`,
    hasBase: path.extname(name) === '.html' && body.includes(BASE),
    headers: { ...headers, 'cache-control': caching, ...(zipped ? { vary: 'accept-encoding' } : {}) },
  };
}

/** A worker in a page runs under the headers of its own script, so all files have them. */
function allowing(file: StoredFile, connects: readonly string[]): StoredFile {
  if (connects.length === 0) return file;
  const policy = file.headers['content-security-policy'].replace("connect-src 'self'", (own) => [own, ...connects].join(' '));
  return { ...file, headers: { ...file.headers, 'content-security-policy': policy } };
}

function send({ body, zipped, etag, headers }: StoredFile, request: IncomingMessage, response: ServerResponse): void {
  if (request.headers['if-none-match']?.split(/, */).includes(etag)) {
    response.writeHead(304, { ...headers, etag }).end();
    return;
  }
  cutOffWhenStalled(response);
  const packed = zipped && acceptsGzip(request) ? zipped : undefined;
  const content = packed ?? body;
  response.writeHead(200, {
    ...headers,
    etag,
    'content-length': content.length,
    ...(packed ? { 'content-encoding': 'gzip' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : content);
}
