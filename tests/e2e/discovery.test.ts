/** `troupe worker` without an address: real multicast between two machines, each a network namespace of its own. */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { childrenOf, end, hasTerminals, named, run, scratch, signal, SMALL, start, type Line, type Running } from './troupe.js';

const TOKEN = 'a-token-that-no-packet-may-hold';
const NAMES = { lab: `troupe-lab-${process.pid}`, desk: `troupe-desk-${process.pid}` };
const IPS = { lab: '10.214.1.1', desk: '10.214.1.2' };

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function removeNetworks(): void {
  for (const name of Object.values(NAMES)) spawnSync('ip', ['netns', 'delete', name]);
}

/** A cable between two machines that reach nothing else. @returns whether this process may make them */
function makeNetworks(): boolean {
  try {
    for (const name of Object.values(NAMES)) ip('netns', 'add', name);
    ip('-n', NAMES.lab, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', NAMES.desk);
    for (const machine of ['lab', 'desk'] as const) {
      ip('-n', NAMES[machine], 'addr', 'add', `${IPS[machine]}/24`, 'dev', 'eth0');
      ip('-n', NAMES[machine], 'link', 'set', 'eth0', 'up');
      ip('-n', NAMES[machine], 'link', 'set', 'lo', 'up');
    }
    return true;
  } catch {
    removeNetworks();
    return false;
  }
}

const canRun = makeNetworks();
removeNetworks();
const missing = canRun ? '' : ' (SKIPPED: it needs Linux, root and ip netns)';

describe.skipIf(!canRun)(`discovery on a network${missing}`, { timeout: 120_000 }, () => {
  let cwd = '';
  const started: Running[] = [];
  beforeAll(async () => {
    expect(makeNetworks()).toBe(true);
    cwd = await scratch();
  });
  afterEach(async () => {
    for (const running of started.splice(0)) {
      for (const { pid } of await childrenOf(running.child.pid!)) signal(pid, 'SIGKILL');
      await end(running);
    }
  });
  afterAll(async () => {
    removeNetworks();
    await fs.rm(cwd, { recursive: true, force: true });
  });

  const at = (machine: keyof typeof NAMES) => ({ cwd, within: ['ip', 'netns', 'exec', NAMES[machine]] });
  async function coordinate(out: string, ...flags: readonly string[]): Promise<Running> {
    const args = ['coordinator', ...SMALL, '--host', '0.0.0.0', '--rounds', '1000000', '--out', out, '--json', ...flags];
    const running = start(args, { ...at('lab'), env: { TROUPE_TOKEN: TOKEN } });
    started.push(running);
    await running.line(named('started'));
    return running;
  }
  const isJoined = (line: Line): boolean => line.event === 'worker' && line.change === 'joined';

  it('finds the coordinators that allow it, shows them, and joins none by itself', async () => {
    await coordinate('open', '--discoverable', '--port', '7070', '--name', 'Sonnets', '--organizer', 'Ada');
    await coordinate('hidden', '--port', '7071', '--name', 'Secrets');
    const { code, stdout, stderr } = await run(['worker', '--json'], { ...at('desk'), env: { TROUPE_TOKEN: TOKEN } });
    expect(code).toBe(2);
    expect(stderr).toContain(`1  Sonnets, by Ada  ws://${IPS.lab}:7070\n`);
    expect(stderr).toMatch(new RegExp(`worker ws://${IPS.lab}:7070`));
    expect(stdout + stderr).not.toContain('Secrets');
    expect(stdout + stderr).not.toContain(TOKEN);
  });

  it.skipIf(!hasTerminals)('joins the one that a person chooses (SKIPPED without python3)', async () => {
    const first = await coordinate('first', '--discoverable', '--port', '7070', '--name', 'A run');
    const second = await coordinate('second', '--discoverable', '--port', '7071', '--name', 'B run');
    const flags = ['worker', '--engine', 'wasm', '--threads', '1'];
    const worker = start(flags, { ...at('desk'), terminal: true, hasInput: true });
    started.push(worker);
    // A question becomes a line once it is answered.
    const shows = (pattern: RegExp) => expect.poll(worker.text, { timeout: 60_000 }).toMatch(pattern);
    await shows(/1 {2}A run.*7070\n {2}2 {2}B run.*7071/);
    worker.child.stdin!.write('7\r');
    await shows(/for none\) .*7/);
    worker.child.stdin!.write('2\r');
    await shows(/for none\) .*2$/m);
    worker.child.stdin!.write(`${TOKEN}\r`);
    expect(await second.line(isJoined)).toBeDefined();
    expect(first.lines.some(isJoined)).toBe(false);
    expect(worker.text()).not.toContain(TOKEN);
  });

  it('says why it may have found none, and how to go on', async () => {
    const { code, stderr } = await run(['worker'], at('desk'));
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /No coordinator answers on this network\.\n.*worker ws:\/\/HOST:7070\n.*--discoverable.*block multicast/,
    );
  });

  it('is refused to a coordinator that only its own machine reaches', async () => {
    const { code, stderr } = await run(['coordinator', ...SMALL, '--discoverable'], { cwd });
    expect(code).toBe(2);
    expect(stderr).toContain('Give --host 0.0.0.0 as well');
  });
});
