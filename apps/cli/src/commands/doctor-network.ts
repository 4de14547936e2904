/** `troupe doctor --network`: prints what stands between this machine and a run. */
import { EXIT, joinTarget, UsageError, type JoinTarget } from '@troupe/process';
import { findNodeRtc } from '@troupe/transport/webrtc-node';
import { CliError } from '../errors.js';
import { checkNetwork, type NetworkReport, type NetworkTarget } from '../network/check.js';
import type { Finding, Level } from '../network/facts.js';
import type { Shell } from '../shell.js';
import { styleFor, type Format, type Style } from '../terminal/style.js';

export interface NetworkFlags {
  readonly network: string;
  readonly token?: string;
  readonly json?: true;
}

/** @returns the exit code: 1 if a worker could not join. @throws CliError for an address that is none */
export async function doctorNetwork(shell: Shell, { network, token: flag, json }: NetworkFlags): Promise<number> {
  const { address, token: linked } = targetOf(network);
  const token = flag ?? linked ?? (shell.env.TROUPE_TOKEN || undefined);
  try {
    return await printReport(shell, { address, token }, json === true);
  } catch (error) {
    // Nobody reads on (troupe doctor --network URL | head).
    if (shell.unread.aborted) return EXIT.ok;
    throw error;
  }
}

async function printReport(shell: Shell, target: NetworkTarget, json: boolean): Promise<number> {
  const { address } = target;
  const style = styleFor(shell.stdout, shell.env);
  if (!json) shell.stdout.write(`${style('bold', address)}\n\n`);
  const report = await checkNetwork(target, {
    env: shell.env,
    signal: shell.unread,
    nowMs: shell.now,
    findRtc: findNodeRtc,
    onFinding(finding) {
      if (!json) shell.stdout.write(line(finding, style));
    },
  });
  shell.stdout.write(json ? `${JSON.stringify({ address, ...report })}\n` : `\n${closing(report, style)}`);
  return report.verdict.canJoin ? EXIT.ok : EXIT.failed;
}

/** @throws CliError */
function targetOf(text: string): JoinTarget {
  try {
    return joinTarget(text);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new CliError('usage', error.message, error.remedy, { cause: error });
  }
}

const MARKS: Readonly<Record<Level, readonly [Format, string]>> = {
  ok: ['green', '+'],
  fault: ['red', 'x'],
  limit: ['yellow', '!'],
  skipped: ['dim', '-'],
};

const CHECK_WIDTH = 12;

function line({ check, level, text, remedy }: Finding, style: Style): string {
  const indent = ' '.repeat(CHECK_WIDTH + 2);
  // URLs of servers are longer than the column.
  const label = check.length < CHECK_WIDTH ? check.padEnd(CHECK_WIDTH) : `${check}  `;
  const help = remedy === undefined ? '' : `${indent}${style('yellow', 'to fix it:')} ${remedy}\n`;
  return `${style(...MARKS[level])} ${style('bold', label)}${text}\n${help}`;
}

function closing({ verdict: { canJoin, text, remedy } }: NetworkReport, style: Style): string {
  const [first, ...rest] = text.split(/(?<=\.) /);
  const said = [style(canJoin ? 'bold' : 'red', first), ...rest].join(' ');
  return `${said}\n${remedy === undefined || !canJoin ? '' : `${remedy}\n`}`;
}
