/** `troupe worker`: flags -> runWorker with Node's ports. */
import os from 'node:os';
import { parseArgs } from 'node:util';
import { ENGINE_CHOICES, isEngineChoice, takesThreads, type EngineChoice } from '@troupe/engines';
import { runWorker, type WorkerLog } from '@troupe/worker';
import { createNodePorts } from './node-ports.js';

const USAGE = `Usage: troupe worker ws://HOST:PORT --token TOKEN [--name NAME] [--engine NAME] [--threads N] [--no-gpu] [--json]

Computes gradients for the coordinator at that address until the run is over.

  --token TOKEN   the token that the coordinator prints (default: TROUPE_TOKEN)
  --name NAME     the worker's name on the dashboard (default: the host name)
  --engine NAME   ${ENGINE_CHOICES.join(', ')} (default auto: the fastest one here, by measurement)
  --threads N     threads for engines that use the processor (default 1)
  --no-gpu        do not use GPUs
  --json          print one JSON object per line

The coordinator prints its address. With a certificate it begins with wss://. If a private authority signed the certificate, set
NODE_EXTRA_CA_CERTS=FILE. In a reproducible run every worker uses the wasm engine with one thread.`;

const MAX_THREADS = 256;

interface Settings {
  readonly address: string;
  readonly token: string;
  readonly name: string;
  readonly engine: EngineChoice;
  readonly threads: number;
  readonly gpu: boolean;
  readonly json: boolean;
}

function readSettings(argv: string[], env: NodeJS.ProcessEnv): Settings {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: {
      token: { type: 'string' },
      name: { type: 'string' },
      engine: { type: 'string', default: 'auto' },
      threads: { type: 'string', default: '1' },
      'no-gpu': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  if (positionals.length !== 1) throw new Error('Give one address: the one that the coordinator prints.');
  const token = values.token ?? env.TROUPE_TOKEN;
  if (!token) throw new Error('Give the token that the coordinator prints: --token TOKEN, or TROUPE_TOKEN in the environment.');
  const { engine, json } = values;
  if (!isEngineChoice(engine)) throw new Error(`There is no engine "${engine}". Choose one of: ${ENGINE_CHOICES.join(', ')}.`);
  const threads = /^\d+$/.test(values.threads) ? Number(values.threads) : NaN;
  if (!(threads >= 1 && threads <= MAX_THREADS)) {
    throw new Error(`--threads ${values.threads} is not a whole number from 1 to ${MAX_THREADS}.`);
  }
  if (threads > 1 && !takesThreads(engine)) {
    throw new Error(`--threads ${threads} works only with engines that use the processor; --engine ${engine} takes one thread.`);
  }
  const address = controlAddress(positionals[0]);
  return { address, token, name: values.name ?? os.hostname(), engine, threads, gpu: !values['no-gpu'], json };
}

/** "host:7070", "ws://host:7070" and "ws://host:7070/control" all mean the coordinator's control link. */
function controlAddress(text: string): string {
  const url = new URL(/^\w+:\/\//.test(text) ? text : `ws://${text}`);
  if (url.protocol === 'http:' || url.protocol === 'https:') url.protocol = url.protocol.replace('http', 'ws');
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:')
    throw new Error(`${text} is not a WebSocket address. Write it as ws://HOST:PORT or wss://HOST:PORT.`);
  return `${url.protocol}//${url.host}${url.pathname === '/' ? '/control' : url.pathname}`;
}

function describe(entry: WorkerLog): string | undefined {
  switch (entry.kind) {
    case 'connecting':
      return `joining ${entry.address}`;
    case 'welcome':
      return `welcome to run ${entry.runId}: ${entry.parameters.toLocaleString('en')} parameters`;
    case 'engine':
      return `engine: ${entry.text}`;
    case 'engine_lost':
      return `the engine ${entry.engine} is lost (${entry.reason}); its lease is returned, and another engine opens`;
    case 'ready':
      return `ready at round ${entry.round} with ${entry.engine}, ${Math.round(entry.charsPerSecond).toLocaleString('en')} chars/s`;
    case 'computed':
      return entry.round % 100 === 0
        ? `round ${entry.round}: ${entry.credit.toLocaleString('en')} characters computed so far`
        : undefined;
    case 'refused':
      return `round ${entry.round}: contribution not counted (${entry.result}): ${entry.reason}`;
    case 'resync':
      return `fetching the parameters again: ${entry.reason}`;
    case 'lost':
      return `${entry.reason}. Trying again in ${(entry.retryInMs / 1000).toFixed(1)} s. ${entry.remedy}`;
    case 'stopped':
      return `stopped: ${entry.reason}`;
    default:
      return entry satisfies never;
  }
}

async function main(): Promise<number> {
  let settings: Settings;
  try {
    settings = readSettings(process.argv.slice(2), process.env);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}\n`);
    return 2;
  }
  const stop = new AbortController();
  process.stdout.on('error', () => stop.abort(new Error('the output is closed')));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(new Error(signal)));
  process.on('disconnect', () => stop.abort(new Error('the process that started this worker ended')));
  const log = (entry: WorkerLog): void => {
    const line = settings.json ? JSON.stringify(entry) : describe(entry);
    if (line !== undefined) process.stdout.write(`${line}\n`);
  };
  try {
    await runWorker({ ...settings, kind: 'node', ports: await createNodePorts({ ...settings, log }), signal: stop.signal });
    return 0;
  } catch (error) {
    const { message, remedy, stack } = error as Error & { remedy?: string };
    process.stderr.write(remedy === undefined || process.env.TROUPE_DEBUG ? `${stack ?? message}\n` : `${message}\n${remedy}\n`);
    return 1;
  } finally {
    if (process.connected) process.disconnect();
  }
}

process.exitCode = await main();
