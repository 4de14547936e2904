/** A reverse proxy in Node, in front of a coordinator: it serves the coordinator under a path. */
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export interface ProxyOptions {
  /** "127.0.0.1:7070". */
  readonly target: string;
  /** The path under which it serves the target; "" = all paths. */
  readonly path: string;
  /** Forward requests without that path. */
  readonly strips?: boolean;
  /** Forward requests for WebSockets as plain requests, as nginx does by default. */
  readonly dropsUpgrade?: boolean;
}

export interface ReverseProxy {
  /** "127.0.0.1:8080". */
  readonly host: string;
  close(): void;
}

export async function startReverseProxy(options: ProxyOptions): Promise<ReverseProxy> {
  const sockets = new Set<Duplex>();
  const server = http.createServer((request, response) => {
    if (!request.url!.startsWith(options.path)) return void response.writeHead(404).end('not here');
    const onward = http.request(onwardOptions(request, options), (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  const join = (request: IncomingMessage, socket: Socket, head: Buffer): void => {
    const onward = http.request(onwardOptions(request, options));
    sockets.add(socket);
    onward.end();
    socket.on('error', () => onward.destroy());
    onward.on('error', () => socket.destroy());
    onward.on('response', (answer) => answer.pipe(writeHead(socket, answer)));
    onward.on('upgrade', (answer, target, first) => {
      sockets.add(target);
      target.on('error', () => socket.destroy());
      writeHead(socket, answer).write(first);
      target.write(head);
      socket.pipe(target).pipe(socket);
    });
  };
  server.on('upgrade', join);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}

function onwardOptions(request: IncomingMessage, { target, path, strips, dropsUpgrade }: ProxyOptions): http.RequestOptions {
  const { headers, method, url = '/' } = request;
  const [host, port] = target.split(':');
  return {
    host,
    port,
    method: method!,
    path: strips ? url.slice(path.length) || '/' : url,
    headers: {
      ...(dropsUpgrade ? withoutUpgrade(headers) : headers),
      'x-forwarded-for': [headers['x-forwarded-for'], request.socket.remoteAddress].filter(Boolean).join(', '),
      'x-forwarded-proto': [headers['x-forwarded-proto'], 'http'].filter(Boolean).join(', '),
      'x-forwarded-host': [headers['x-forwarded-host'], headers.host].filter(Boolean).join(', '),
    },
  };
}

function withoutUpgrade({ upgrade: _, ...rest }: IncomingHttpHeaders): IncomingHttpHeaders {
  return { ...rest, connection: 'close', via: '1.1 a-proxy' };
}

function writeHead(socket: Duplex, { statusCode, statusMessage, rawHeaders }: IncomingMessage): Duplex {
  const lines = Array.from({ length: rawHeaders.length / 2 }, (_, i) => `${rawHeaders[2 * i]}: ${rawHeaders[2 * i + 1]}`);
  socket.write(`HTTP/1.1 ${statusCode} ${statusMessage}\r\n${lines.join('\r\n')}\r\n\r\n`);
  return socket;
}
