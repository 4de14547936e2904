/** `troupe worker`: flags -> runWorker with Node's ports. */
import os from 'node:os';
import { parseArgs } from 'node:util';
import { ENGINE_CHOICES, isEngineChoice, takesThreads, type EngineChoice } from '@troupe/engines';
import { runWorker, type WorkerLog } from '@troupe/worker';
import { createNodePorts } from './node-ports.js';

const USAGE = `Usage: troupe worker ws://HOST:PORT --token TOKEN [--name NAME] [--engine NAME] [--threads N] [--no-gpu] [--json]

Computes gradients for the coordinator at that address until the run is over.
The coordinator prints the address and the token; the token may also stand in TROUPE_TOKEN.
One with a certificate is at wss://HOST:PORT; for one that a private authority has signed set NODE_EXTRA_CA_CERTS=FILE.
Engines: ${ENGINE_CHOICES.join(', ')}. The default, auto, measures which is fastest here.
--no-gpu: auto and tfjs leave GPUs to others.
In a reproducible run every worker computes with wasm, in one thread.`;

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
  if (positionals.length !== 1) throw new Error('Give one address: the one the coordinator printed.');
  const token = values.token ?? env.TROUPE_TOKEN;
  if (!token) throw new Error('Give the token that the coordinator printed: --token TOKEN, or TROUPE_TOKEN in the environment.');
  const { engine, json } = values;
  if (!isEngineChoice(engine)) throw new Error(`There is no engine "${engine}". Choose one of: ${ENGINE_CHOICES.join(', ')}.`);
  const threads = /^\d+$/.test(values.threads) ? Number(values.threads) : NaN;
  if (!(threads >= 1 && threads <= MAX_THREADS)) {
    throw new Error(`--threads ${values.threads} should be a whole number from 1 to ${MAX_THREADS}.`);
  }
  if (threads > 1 && !takesThreads(engine)) {
    throw new Error(
      `--threads ${threads} is for engines that compute on the processor, and --engine ${engine} takes one thread.`,
    );
  }
  const address = controlAddress(positionals[0]);
  return { address, token, name: values.name ?? os.hostname(), engine, threads, gpu: !values['no-gpu'], json };
}

/** "host:7070", "ws://host:7070" and "ws://host:7070/control" are all the coordinator's control door. */
function controlAddress(text: string): string {
  const url = new URL(/^\w+:\/\//.test(text) ? text : `ws://${text}`);
  if (url.protocol === 'http:' || url.protocol === 'https:') url.protocol = url.protocol.replace('http', 'ws');
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:')
    throw new Error(`${text} is no WebSocket address: it should look like ws://HOST:PORT or wss://HOST:PORT.`);
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
      return `the engine ${entry.engine} is of no use any more (${entry.reason}); its lease is given back and another engine opened`;
    case 'ready':
      return `ready at round ${entry.round} with ${entry.engine}, ${Math.round(entry.charsPerSecond).toLocaleString('en')} chars/s`;
    case 'computed':
      return entry.round % 100 === 0
        ? `round ${entry.round}: ${entry.credit.toLocaleString('en')} characters computed so far`
        : undefined;
    case 'refused':
      return `round ${entry.round}: contribution not counted (${entry.result}): ${entry.reason}`;
    case 'resync':
      return `fetching the parameters anew: ${entry.reason}`;
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
  process.stdout.on('error', () => stop.abort(new Error('nobody reads the output any more')));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(new Error(signal)));
  process.on('disconnect', () => stop.abort(new Error('the process that started this worker is gone')));
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
