import os from 'node:os';
import { parseArgs } from 'node:util';
import { createStarService, type ServiceNote, type StarService } from '@troupe/collective/star';
import { LIMITS } from '@troupe/protocol';
import { TransportError, type Listener } from '@troupe/transport';
import { listenWebSocket } from '@troupe/transport/websocket';

export const USAGE = `Usage: troupe allreduce [--host H] [--port P] [--token TOKEN] [--json]

Averages and clips the gradients of a run, on a separate machine.

  --host H       address to listen on; 0.0.0.0 accepts other machines (default: 127.0.0.1)
  --port P       port to listen on; 0 takes a free one (default: 7071)
  --token TOKEN  the token that the coordinator must send (default: TROUPE_TOKEN)
  --json         print one JSON object per line`;

/** Where the app prints. */
export interface Output {
  out(line: string): void;
  err(line: string): void;
}

interface Settings {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  readonly json: boolean;
}

/** @throws Error, for the user, when a flag cannot be used */
function readSettings(args: string[], env: NodeJS.ProcessEnv): Settings {
  const { values } = parseArgs({
    args,
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '7071' },
      token: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const port = Number(values.port);
  if (!/^\d+$/.test(values.port) || port > 65_535)
    throw new Error(`--port ${values.port} is not a port: give a number from 0 to 65535.`);
  const token = values.token ?? env.TROUPE_TOKEN;
  if (!token)
    throw new Error('Give the token that the coordinator must send: --token TOKEN, or TROUPE_TOKEN in the environment.');
  if (token.length > LIMITS.tokenLength)
    throw new Error(`The token is longer than ${LIMITS.tokenLength} characters: give a shorter one.`);
  return { host: values.host, port, token, json: values.json };
}

/** Runs the service until `signal` aborts. Resolves with the exit code: 0, 1 (cannot listen) or 2 (usage). */
export async function runAllreduce(args: string[], env: NodeJS.ProcessEnv, output: Output, signal: AbortSignal): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    output.out(USAGE);
    return 0;
  }
  let settings: Settings;
  try {
    settings = readSettings(args, env);
  } catch (error) {
    output.err(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  try {
    await serveUntil(settings, output, signal);
    return 0;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    output.err(`${error.message}\n${error.remedy}`);
    return 1;
  }
}

async function serveUntil({ host, port, token, json }: Settings, output: Output, signal: AbortSignal): Promise<void> {
  const listener = await listenWebSocket({ host, port, frameBytes: LIMITS.frameBytes });
  const log = (note: ServiceNote) => output.out(json ? JSON.stringify({ event: 'note', ...note }) : describe(note));
  const service = createStarService({ token, log, deadline: (ms) => AbortSignal.timeout(ms) });
  output.out(json ? JSON.stringify({ event: 'listening', address: listener.address }) : invitation(listener.address));
  try {
    await acceptAll(listener, service, signal);
  } finally {
    await listener.close('the all-reduce service is stopping');
  }
}

/** Returns when `signal` aborts and every connection has ended. */
async function acceptAll(listener: Listener, service: StarService, signal: AbortSignal): Promise<void> {
  const serving = new Set<Promise<void>>();
  try {
    for (;;) {
      const connection = await listener.accept(signal);
      const served = service.serve(connection, signal).finally(() => serving.delete(served));
      serving.add(served);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    await Promise.all(serving);
  }
}

function describe({ level, text, remedy }: ServiceNote): string {
  return `${level === 'warn' ? 'warning: ' : ''}${text}${remedy === undefined ? '' : `\n  ${remedy}`}`;
}

/** What to type at the coordinator. Nobody can connect to "0.0.0.0", so this machine's name replaces it. */
function invitation(address: string): string {
  const reachable = address.replace(/\/\/(0\.0\.0\.0|\[::\])/, `//${os.hostname()}`);
  return [
    `All-reduce service listening on ${address}`,
    'Use it from a coordinator, with the same token in TROUPE_TOKEN:',
    `  troupe train --allreduce ${reachable}`,
    'Ctrl-C stops it.',
  ].join('\n');
}
