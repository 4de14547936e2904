/** A real coordinator in this process, with real sockets and workers. */
import { existsSync } from 'node:fs';
import fs from 'node:fs/promises';
import { request } from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createStarCollective } from '@troupe/collective/star';
import type { Engine, Gradient } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import type { LiveMessage, RunEvent } from '@troupe/run';
import { connectWebSocket } from '@troupe/transport/websocket';
import { runWorker } from '@troupe/worker';
import { WebSocket } from 'ws';
import { runCoordinator } from '../src/coordinator.js';
import { parseSettings, type Settings } from '../src/settings.js';

export const TOKEN = 'token-of-workers';
export const ADMIN = 'token-of-admins';

/** Of the volunteers of a run with this token of workers. */
export const volunteersOf = (token: string): string => `volunteers-of-${token}`;

/** B times T, of a round. */
export const SMALL_CHARACTERS = 4 * 8;
const SMALL = ['--hidden=8', '--batch=4', '--window=8', '--codec=fp32', '--schedule=constant', '--port=0'];

/** Any JSON. */
type Json = ReturnType<typeof JSON.parse>;

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: Json;
}

export interface Asking {
  readonly token?: string;
  readonly method?: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RunningCoordinator {
  readonly host: string;
  readonly events: readonly RunEvent[];
  event<K extends RunEvent['event']>(kind: K): Promise<Extract<RunEvent, { event: K }>>;
  ask(path: string, asking?: Asking): Promise<Answer>;
  /** Sends an order as an admin. */
  steer(order: unknown): Promise<Answer>;
  join(name: string, options?: JoinOptions): { readonly done: Promise<unknown>; leave(): void };
  /** Waits until at least this many rounds are complete. */
  round(least: number): Promise<void>;
  live(hello?: unknown): Viewer;
  /** Makes it save and stop, and waits for its end. */
  stop(): Promise<void>;
  /** Resolves when it has ended; rejects with its error. */
  readonly ended: Promise<void>;
}

export interface Viewer {
  readonly socket: WebSocket;
  readonly messages: LiveMessage[];
  /** The first message that passes, received already or later. */
  message(test: (message: LiveMessage) => boolean): Promise<LiveMessage>;
  readonly closed: Promise<number>;
}

export interface JoinOptions {
  /** Absent: that of workers. */
  readonly token?: string;
  /** Lists the worker in the credits. */
  readonly credited?: { readonly team: string } | undefined;
  /** Its owner changes results before they are sent. */
  readonly lie?: (result: Gradient, computed: number) => Gradient;
}

export async function scratch(): Promise<string> {
  return fs.mkdtemp(path.join(os.tmpdir(), 'troupe-coordinator-'));
}

/** Settings of a small run on a free port. @throws if the side thread is not built */
export function smallRun(flags: readonly string[], token = TOKEN, adminToken = ADMIN): Settings {
  const script = fileURLToPath(new URL('../dist/side-thread.js', import.meta.url));
  if (!existsSync(script)) throw new Error(`${script} is missing: run "npm run build" first`);
  return parseSettings([...SMALL, ...flags], {
    ...{ TROUPE_TOKEN: token, TROUPE_VOLUNTEER_TOKEN: volunteersOf(token), TROUPE_ADMIN_TOKEN: adminToken },
    TROUPE_ALLREDUCE_TOKEN: 'secret-of-the-service',
  });
}

export async function startCoordinator(...flags: string[]): Promise<RunningCoordinator> {
  const settings = smallRun(flags);
  const events: RunEvent[] = [];
  const stop = new AbortController();
  const leavings: (() => void)[] = [];
  const ended = runCoordinator({ settings, env: {}, report: (event) => events.push(event), signal: stop.signal });
  ended.catch(() => undefined);
  const event = async <K extends RunEvent['event']>(kind: K): Promise<Extract<RunEvent, { event: K }>> => {
    for (;;) {
      const found = events.find((one): one is Extract<RunEvent, { event: K }> => one.event === kind);
      if (found) return found;
      await Promise.race([delay(5), ended]);
    }
  };
  const { address } = await event('listening');
  const host = new URL(address).host;
  const ask = (where: string, asking: Asking = {}): Promise<Answer> => askHttp(host, where, asking);
  return {
    host,
    events,
    event,
    ask,
    steer: (body) => ask('/api/control', { token: ADMIN, body }),
    join(name, options) {
      const worker = startWorker(`${address}/control`, options?.token ?? TOKEN, name, options);
      leavings.push(worker.leave);
      return worker;
    },
    async round(least) {
      while (!events.some((one) => one.event === 'round' && one.round >= least)) await Promise.race([delay(5), ended]);
    },
    live: (hello) => openViewer(`ws://${host}/live`, hello),
    async stop() {
      stop.abort(new Error('asked to stop'));
      await ended;
      for (const leave of leavings) leave();
    },
    ended,
  };
}

export function askHttp(host: string, where: string, { token, method, body, headers }: Asking): Promise<Answer> {
  const [hostname, port] = [host.replace(/:\d+$/, ''), host.replace(/^.*:/, '')];
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        hostname,
        port,
        path: where,
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          const isJson = response.headers['content-type'] === 'application/json' && text !== '';
          resolve({ status: response.statusCode!, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** @param address of the control links: "ws://127.0.0.1:7070/control" */
export function startWorker(
  address: string,
  token: string,
  name: string,
  { lie, credited }: JoinOptions = {},
): { done: Promise<unknown>; leave(): void } {
  const stop = new AbortController();
  const dial = (to: string, signal: AbortSignal) => connectWebSocket(to, { signal });
  const done = runWorker({
    address,
    token,
    name,
    kind: token === TOKEN ? 'node' : 'browser',
    credited,
    signal: stop.signal,
    ports: {
      connect: dial,
      collective: createStarCollective({ connect: dial }),
      createEngine: async (model, limits) => lying(createReferenceEngine(model, limits), lie),
      nowMs: () => performance.now(),
      sleep: (ms, signal) => delay(ms, undefined, { signal }),
      random: () => 0.5,
      log: () => undefined,
    },
  }).then(
    () => 'ended',
    (error: unknown) => error,
  );
  return { done, leave: () => stop.abort(new Error('leaving')) };
}

function lying(engine: Engine, lie: JoinOptions['lie']): Engine {
  if (!lie) return engine;
  let computed = 0;
  return {
    info: engine.info,
    limits: engine.limits,
    setParameters: (parameters) => engine.setParameters(parameters),
    gradient: async (batch) => lie(await engine.gradient(batch), computed++),
    evaluate: (batch) => engine.evaluate(batch),
    step: (tokens, states) => engine.step(tokens, states),
    dispose: () => engine.dispose(),
  };
}

/** @param hello the first message; undefined = none */
export function openViewer(address: string, hello: unknown, headers: Record<string, string> = {}): Viewer {
  const socket = new WebSocket(address, { headers });
  const messages: LiveMessage[] = [];
  const closed = new Promise<number>((resolve, reject) => {
    socket.on('close', resolve);
    socket.on('error', reject);
  });
  closed.catch(() => undefined);
  if (hello !== undefined) socket.on('open', () => socket.send(typeof hello === 'string' ? hello : JSON.stringify(hello)));
  socket.on('message', (data: Buffer) => messages.push(JSON.parse(data.toString('utf8')) as LiveMessage));
  return {
    socket,
    messages,
    closed,
    async message(test) {
      for (;;) {
        const found = messages.find(test);
        if (found) return found;
        await Promise.race([
          delay(5),
          closed.then((code) => {
            if (!messages.some(test)) throw new Error(`the link closed with ${code} before the message awaited`);
          }),
        ]);
      }
    },
  };
}
