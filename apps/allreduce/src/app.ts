import os from 'node:os';
import { ALLREDUCE_OPTIONS, describeOptions, readIceServers, type IceAccess, type OptionValues } from '@troupe/config';
import { serveConnections, startStarService } from '@troupe/collective/node';
import type { ServiceNote } from '@troupe/collective/star';
import { createSendBudget, LIMITS, sentence } from '@troupe/protocol';
import { EXIT, parseOptions, UsageError, type AppShell } from '@troupe/process';
import { TransportError } from '@troupe/transport';
import { listenWebSocket } from '@troupe/transport/websocket';

export const USAGE = `Usage: troupe allreduce [FLAGS]

Averages and clips the gradients of a run, on a separate machine.

${describeOptions(ALLREDUCE_OPTIONS)}`;

type Settings = OptionValues<typeof ALLREDUCE_OPTIONS> & { readonly ice: IceAccess | undefined };

/** @throws UsageError */
function readSettings(args: AppShell['args'], env: AppShell['env']): Settings {
  const { values } = parseOptions(ALLREDUCE_OPTIONS, args, env);
  const result = readIceServers(values['--ice-servers'], env.TROUPE_TURN_SECRET);
  if (!result.ok) throw new UsageError(result.message, result.remedy);
  return { ...values, ice: result.ice };
}

/**
 * Runs the service until `signal` aborts. Resolves with the exit code: 0, 1 (cannot listen) or 2
 * (usage).
 */
export async function runAllreduce(shell: AppShell): Promise<number> {
  const { args, env, out, err, signal } = shell;
  if (args.includes('--help') || args.includes('-h')) {
    out(USAGE);
    return EXIT.ok;
  }
  let settings: Settings;
  try {
    settings = readSettings(args, env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    err(`${error.message}\n${error.remedy}\n\n${USAGE}`);
    return EXIT.usage;
  }
  try {
    await serveUntil(settings, shell);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    // Asked to stop before its reducers listened.
    if (signal.aborted && error.code === 'aborted') return EXIT.ok;
    err(`${sentence(error.message)}\n${error.remedy}`);
    return EXIT.failed;
  }
}

async function serveUntil(settings: Settings, { env, out, signal }: AppShell): Promise<void> {
  const { '--host': host, '--port': port, '--reducers': reducers, '--token': token, '--json': json, ice } = settings;
  const listener = await listenWebSocket({ host, port, frameBytes: LIMITS.frameBytes });
  const log = (note: ServiceNote) => out(json ? JSON.stringify({ event: 'note', ...note }) : describe(note));
  const budget = createSendBudget({ onEvicted: ({ text, remedy }) => log({ level: 'warn', text, remedy }) });
  try {
    const { service, reducerPorts, close } = await startStarService({
      host,
      port,
      reducers,
      token,
      log,
      logThreads: log,
      budget,
      ice,
      env,
      signal,
    });
    const { address } = listener;
    out(json ? JSON.stringify({ event: 'listening', address, reducerPorts }) : invitation(address, reducerPorts));
    await serveConnections(listener, service, signal).finally(close);
  } finally {
    await listener.close('the all-reduce service is stopping');
  }
}

function describe({ level, text, remedy }: ServiceNote): string {
  return `${level === 'warn' ? 'warning: ' : ''}${text}${remedy === undefined ? '' : `\n  ${remedy}`}`;
}

/**
 * What to type at the coordinator. Nobody can connect to "0.0.0.0", so this machine's name replaces
 * it.
 */
function invitation(address: string, reducerPorts: readonly number[]): string {
  const reachable = address.replace(/\/\/(0\.0\.0\.0|\[::\])/, `//${os.hostname()}`);
  return [
    `All-reduce service listening on ${address}`,
    ...(reducerPorts.length > 0 ? [`Its reducers listen on the ports ${reducerPorts.join(', ')}.`] : []),
    'Use it from a coordinator, with the same token in TROUPE_TOKEN:',
    `  troupe train --allreduce ${reachable}`,
    'Ctrl-C stops it.',
  ].join('\n');
}
