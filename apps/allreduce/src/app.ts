import os from 'node:os';
import { ALLREDUCE_OPTIONS, describeOptions, type OptionValues } from '@troupe/config';
import { createStarService, type ServiceNote, type StarService } from '@troupe/collective/star';
import { createSendBudget, LIMITS, sentence } from '@troupe/protocol';
import { EXIT, parseOptions, UsageError, type AppShell } from '@troupe/process';
import { TransportError, type Listener } from '@troupe/transport';
import { listenWebSocket } from '@troupe/transport/websocket';

export const USAGE = `Usage: troupe allreduce [FLAGS]

Averages and clips the gradients of a run, on a separate machine.

${describeOptions(ALLREDUCE_OPTIONS)}`;

type Settings = OptionValues<typeof ALLREDUCE_OPTIONS>;

/**
 * Runs the service until `signal` aborts. Resolves with the exit code: 0, 1 (cannot listen) or 2
 * (usage).
 */
export async function runAllreduce({ args, env, out, err, signal }: AppShell): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    out(USAGE);
    return EXIT.ok;
  }
  let settings: Settings;
  try {
    settings = parseOptions(ALLREDUCE_OPTIONS, args, env).values;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    err(`${error.message}\n${error.remedy}\n\n${USAGE}`);
    return EXIT.usage;
  }
  try {
    await serveUntil(settings, out, signal);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    err(`${sentence(error.message)}\n${error.remedy}`);
    return EXIT.failed;
  }
}

async function serveUntil(settings: Settings, out: AppShell['out'], signal: AbortSignal): Promise<void> {
  const { '--host': host, '--port': port, '--token': token, '--json': json } = settings;
  const listener = await listenWebSocket({ host, port, frameBytes: LIMITS.frameBytes });
  const log = (note: ServiceNote) => out(json ? JSON.stringify({ event: 'note', ...note }) : describe(note));
  const budget = createSendBudget({ onEvicted: ({ text, remedy }) => log({ level: 'warn', text, remedy }) });
  const service = createStarService({
    token,
    log,
    budget,
    deadline: (ms) => AbortSignal.timeout(ms),
    nowMs: () => performance.now(),
  });
  out(json ? JSON.stringify({ event: 'listening', address: listener.address }) : invitation(listener.address));
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

/**
 * What to type at the coordinator. Nobody can connect to "0.0.0.0", so this machine's name replaces
 * it.
 */
function invitation(address: string): string {
  const reachable = address.replace(/\/\/(0\.0\.0\.0|\[::\])/, `//${os.hostname()}`);
  return [
    `All-reduce service listening on ${address}`,
    'Use it from a coordinator, with the same token in TROUPE_TOKEN:',
    `  troupe train --allreduce ${reachable}`,
    'Ctrl-C stops it.',
  ].join('\n');
}
