import os from 'node:os';
import {
  ALLREDUCE_OPTIONS,
  describeOptions,
  readIceServers,
  shellAssignment,
  type IceAccess,
  type OptionValues,
} from '@troupe/config';
import { listenGuarded, newSecret, serveConnections, startStarService } from '@troupe/collective/node';
import type { ServiceNote } from '@troupe/collective/star';
import { createSendBudget, LIMITS, sentence } from '@troupe/protocol';
import {
  createFloodLimit,
  EXIT,
  isLoopback,
  parseOptions,
  placesOfThisProcess,
  UsageError,
  type AppShell,
} from '@troupe/process';
import { TransportError } from '@troupe/transport';

export const USAGE = `Usage: troupe allreduce [FLAGS]

Averages and clips the gradients of a run, on a separate machine.

${describeOptions(ALLREDUCE_OPTIONS)}`;

/** A socket of each worker, and some for others. */
const MOST_SOCKETS = LIMITS.workers + 1_000;
/** Lines a minute about links, of each level: strangers can cause them. */
const LINES_A_MINUTE = 300;

type Settings = OptionValues<typeof ALLREDUCE_OPTIONS> & {
  readonly ice: IceAccess | undefined;
  readonly secret: string;
  /** Nobody has given one. */
  readonly isMadeUp: boolean;
};

/** @throws UsageError */
function readSettings(args: AppShell['args'], env: AppShell['env']): Settings {
  const { values } = parseOptions(ALLREDUCE_OPTIONS, args, env);
  const result = readIceServers(values['--ice-servers'], env.TROUPE_TURN_SECRET);
  if (!result.ok) throw new UsageError(result.message, result.remedy);
  const given = values['--token'] ?? (env.TROUPE_ALLREDUCE_TOKEN || undefined);
  checkSecret(given, values['--host'], env);
  return { ...values, ice: result.ice, secret: given ?? newSecret(), isMadeUp: given === undefined };
}

/** The secret lets a client decide which contributions count, so it must not be a token that workers have. @throws UsageError */
function checkSecret(secret: string | undefined, host: string, { TROUPE_TOKEN: ofRun }: AppShell['env']): void {
  const remedy =
    'Give another in TROUPE_ALLREDUCE_TOKEN, for example the output of "openssl rand -hex 16"; or none, and one is made up.';
  if (secret === undefined) return;
  if (secret === ofRun)
    throw new UsageError(
      'The secret of this service equals TROUPE_TOKEN, and every worker could then stop the run here.',
      remedy,
    );
  if (isLoopback(host) || secret.length >= LIMITS.shortestOpenToken) return;
  throw new UsageError(
    `The secret has ${secret.length} characters, fewer than ${LIMITS.shortestOpenToken}: other machines could guess it.`,
    remedy,
  );
}

/**
 * Runs the service until `signal` aborts. Resolves with the exit code: 0, 1 (cannot listen) or 2
 * (usage).
 * @param most open sockets at each port, unless the process has room for fewer
 */
export async function runAllreduce(shell: AppShell, most = MOST_SOCKETS): Promise<number> {
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
    await serveUntil(settings, shell, most);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    // Asked to stop before its reducers listened.
    if (signal.aborted && error.code === 'aborted') return EXIT.ok;
    err(`${sentence(error.message)}\n${error.remedy}`);
    return EXIT.failed;
  }
}

async function serveUntil(settings: Settings, { env, out, signal }: AppShell, most: number): Promise<void> {
  const { '--host': host, '--port': port, '--reducers': reducers, '--json': json, ice, secret } = settings;
  const ports = 1 + reducers;
  const places = Math.floor(placesOfThisProcess(ports * most) / ports);
  const { listener, doors } = await listenGuarded({ host, port, places });
  const logThreads = (note: ServiceNote) => out(json ? JSON.stringify({ event: 'note', ...note }) : describe(note));
  const log = withoutFloods(logThreads);
  const budget = createSendBudget({ onEvicted: ({ text, remedy }) => log({ level: 'warn', text, remedy }) });
  try {
    const { service, reducerPorts, close } = await startStarService({
      host,
      port,
      reducers,
      token: secret,
      log,
      logThreads,
      places,
      ...doors,
      budget,
      ice,
      env,
      signal,
    });
    const { address } = listener;
    const madeUp = settings.isMadeUp ? secret : undefined;
    const listening = { event: 'listening', address, reducerPorts, ...(madeUp !== undefined && { token: madeUp }) };
    out(json ? JSON.stringify(listening) : invitation(address, reducerPorts, madeUp));
    await serveConnections(listener, service, signal).finally(close);
  } finally {
    await listener.close('the all-reduce service is stopping');
  }
}

/** Of further lines it tells the number. */
function withoutFloods(log: (note: ServiceNote) => void): (note: ServiceNote) => void {
  const limit = createFloodLimit<ServiceNote['level']>({
    nowMs: () => performance.now(),
    mostOf: () => LINES_A_MINUTE,
    onMore: (level, count) => log({ level, text: `${count.toLocaleString('en')} more lines about links` }),
  });
  return (note) => {
    if (limit.passes(note.level)) log(note);
  };
}

function describe({ level, text, remedy }: ServiceNote): string {
  return `${level === 'warn' ? 'warning: ' : ''}${text}${remedy === undefined ? '' : `\n  ${remedy}`}`;
}

/**
 * What to type at the coordinator. Nobody can connect to "0.0.0.0", so this machine's name replaces
 * it.
 */
function invitation(address: string, reducerPorts: readonly number[], madeUp: string | undefined): string {
  const reachable = address.replace(/\/\/(0\.0\.0\.0|\[::\])/, `//${os.hostname()}`);
  return [
    `All-reduce service listening on ${address}`,
    ...(reducerPorts.length > 0 ? [`Its reducers listen on the ports ${reducerPorts.join(', ')}.`] : []),
    ...(madeUp === undefined
      ? ['Use it from a coordinator, with the same secret in TROUPE_ALLREDUCE_TOKEN:', `  troupe train --allreduce ${reachable}`]
      : [
          'Use it from a coordinator:',
          `  ${shellAssignment('TROUPE_ALLREDUCE_TOKEN', madeUp)} troupe train --allreduce ${reachable}`,
          'Further services of the run, and this one when it starts again, need the same secret in TROUPE_ALLREDUCE_TOKEN.',
        ]),
    'Ctrl-C stops it.',
  ].join('\n');
}
