/**
 * Serves the volunteer page from a server other than the coordinator: it records requests and can
 * act as a bad proxy.
 */
import fs from 'node:fs/promises';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { builtPage } from './stage.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
};

export interface PageServer {
  /** "http://127.0.0.1:PORT". */
  readonly origin: string;
  /** The answer of /api/run; undefined: 404. */
  facts: unknown;
  /** Paths of all requests, with their queries. */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export interface ServeOptions {
  /**
   * "127.0.0.1:PORT" of a coordinator: this server forwards its links and its API, like a proxy.
   */
  readonly coordinator?: string | undefined;
  /** False: drops the header that lets threads share memory, as some proxies do. */
  readonly isolated?: boolean;
  /** Serves everything under this path, and nothing else: "/troupe". The coordinator does not see the path. Default "". */
  readonly under?: string;
}

export async function servePage({ coordinator, isolated = true, under = '' }: ServeOptions = {}): Promise<PageServer> {
  const folder = builtPage('volunteer');
  const headers = JSON.parse(await fs.readFile(path.join(folder, 'headers.json'), 'utf8')) as Record<string, string>;
  if (!isolated) delete headers['cross-origin-embedder-policy'];
  const requests: string[] = [];
  const server: Server = createServer((incoming, response) => {
    requests.push(incoming.url ?? '/');
    const url = strip(incoming, under);
    const name = url === '/join/' ? 'index.html' : path.basename(url);
    const type = TYPES[path.extname(name)];
    if (url === '/api/run' && page.facts !== undefined) {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(page.facts));
    } else if (url.startsWith('/api/') && coordinator !== undefined) {
      forward(incoming, response, coordinator);
    } else if (url.startsWith('/join/') && type !== undefined) {
      fs.readFile(path.join(folder, name)).then(
        (body) => response.writeHead(200, { ...headers, 'content-type': type }).end(body),
        () => response.writeHead(404).end(),
      );
    } else response.writeHead(404).end();
  });
  const links = new Set<Duplex>();
  if (coordinator !== undefined) {
    server.on('upgrade', (incoming, socket) => {
      if (strip(incoming, under) === '') return void socket.destroy();
      links.add(socket.on('close', () => links.delete(socket)));
      forwardLink(incoming, socket, coordinator);
    });
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const page: PageServer = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    facts: undefined,
    requests,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      // Upgraded connections no longer belong to the server.
      for (const link of links) link.destroy();
      await closed;
    },
  };
  return page;
}

/** The URL without the path; "" if it is elsewhere. */
function strip(incoming: IncomingMessage, path: string): string {
  const { url = '' } = incoming;
  incoming.url = url.startsWith(`${path}/`) ? url.slice(path.length) : '';
  return incoming.url;
}

function forward(incoming: IncomingMessage, response: ServerResponse, coordinator: string): void {
  const outgoing = request(`http://${coordinator}${incoming.url}`, { headers: incoming.headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  outgoing.on('error', () => response.writeHead(502).end());
  outgoing.end();
}

/** Forwards bytes in both directions; when one side closes, so does the other. */
function forwardLink({ method, url, rawHeaders }: IncomingMessage, socket: Duplex, coordinator: string): void {
  const [host, port] = coordinator.split(':');
  const upstream = connect(Number(port), host);
  const lines = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${rawHeaders[i + 1]}`] : []));
  upstream.write(`${method} ${url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
  for (const [one, other] of [
    [socket, upstream],
    [upstream, socket],
  ]) {
    one.pipe(other);
    one.on('error', () => other.destroy()).on('close', () => other.destroy());
  }
}
