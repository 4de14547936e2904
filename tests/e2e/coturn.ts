/** Starts the real coturn with the settings in deploy/coturn. */
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import fs from 'node:fs/promises';
import path from 'node:path';
import { root } from './troupe.js';

export const HOW_TO_GET_COTURN = 'apt install coturn';

/** Whether coturn is installed. Debian starts it as a service only when told to. */
export const hasCoturn = spawnSync('turnserver', ['--help']).error === undefined;

export interface CoturnOptions {
  /** For its files. */
  readonly folder: string;
  readonly secret: string;
  /** Where it listens and from where it relays; "0.0.0.0" listens everywhere. */
  readonly listen: string;
  readonly relay: string;
  /** Further lines of the settings. */
  readonly lines?: readonly string[];
}

export interface Coturn {
  readonly port: number;
  /** What it has logged so far. */
  log(): string;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return port;
}

/** The published settings, with another secret and other ports, so that it runs beside other servers. */
async function writeSettings(options: CoturnOptions, port: number): Promise<string> {
  const published = await fs.readFile(path.join(root, 'deploy/coturn/turnserver.conf'), 'utf8');
  const settings = published
    .replace(/^static-auth-secret=.*$/m, `static-auth-secret=${options.secret}`)
    .replace(/^listening-port=.*$/m, `listening-port=${port}`);
  const own = [
    `listening-ip=${options.listen}`,
    `relay-ip=${options.relay}`,
    `userdb=${options.folder}/turndb`,
    `pidfile=${options.folder}/turnserver.pid`,
    'no-tls',
  ];
  const file = path.join(options.folder, 'turnserver.conf');
  await fs.writeFile(file, `${settings}\n${[...own, ...(options.lines ?? [])].join('\n')}\n`);
  return file;
}

export async function startCoturn(options: CoturnOptions): Promise<Coturn> {
  const port = await freePort();
  const child = spawn('turnserver', ['-c', await writeSettings(options, port), '-v'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  for (let tries = 0; !(await answers(port, options.listen)); tries++) {
    if (tries < 100) continue;
    await stop();
    throw new Error(`turnserver does not answer: ${log}`);
  }
  return { port, log: () => log, stop };
}

/** Whether a STUN binding request is answered within 0.1 s. */
async function answers(port: number, listen: string): Promise<boolean> {
  const socket = createSocket('udp4');
  const request = Buffer.concat([Buffer.from([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]), Buffer.alloc(12, 7)]);
  const answered = await new Promise<boolean>((resolve) => {
    setTimeout(() => resolve(false), 100);
    socket.on('message', () => resolve(true));
    socket.on('error', () => {});
    socket.send(request, port, listen === '0.0.0.0' ? '127.0.0.1' : listen, () => {});
  });
  socket.close();
  return answered;
}
