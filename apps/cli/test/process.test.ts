/** The command line as a separate process: signals, and no orphans when it is killed. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { isAlive, pidsIn, until } from './fixtures/shell.js';

const started: Session[] = [];
afterEach(() => {
  for (const { child, text } of started.splice(0)) {
    child.kill('SIGKILL');
    for (const pid of pidsIn(text).filter(isAlive)) process.kill(pid, 'SIGKILL');
  }
});

interface Session {
  readonly child: ChildProcess;
  /** Standard output and standard error so far. */
  text: string;
  readonly exit: Promise<[code: number | null, signal: string | null]>;
}

function start(script: string, args: readonly string[], env: Record<string, string> = {}): Session {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, ['--conditions=@troupe/source', file, ...args], {
    env: { ...process.env, ...env },
    detached: true,
  });
  const session: Session = { child, text: '', exit: once(child, 'close') as Session['exit'] };
  child.stdout.on('data', (data) => (session.text += String(data)));
  child.stderr.on('data', (data) => (session.text += String(data)));
  started.push(session);
  return session;
}

async function training() {
  const session = start('./fixtures/troupe.mjs', ['train', '--workers', '2'], { TEST_ROUNDS: '100000', TEST_WORKERS: '2' });
  await until(() => session.text.includes('sample at round'), `a sample; so far: ${session.text}`);
  return session;
}

describe.skipIf(process.platform === 'win32')('the process troupe', () => {
  it('saves and exits with 0 on SIGINT to its process group, as a terminal sends it', async () => {
    const session = await training();
    process.kill(-session.child.pid!, 'SIGINT');
    expect(await session.exit).toEqual([0, null]);
    expect(session.text).toContain('Stopped and saved at round');
    expect(pidsIn(session.text).filter(isAlive)).toEqual([]);
  });

  it('leaves no orphans when it is killed', async () => {
    const session = await training();
    const pids = pidsIn(session.text);
    expect(pids.filter(isAlive)).toHaveLength(3);
    session.child.kill('SIGKILL');
    await session.exit;
    await until(() => !pids.some(isAlive), 'the end of the children');
  });

  it('passes a stop request on to the app that it runs, and exits with its code', async () => {
    const session = start('./fixtures/troupe.mjs', ['coordinator', '--hidden', '7', '--token', 't']);
    await until(() => session.text.includes('started'), `the start; so far: ${session.text}`);
    expect(session.text).toMatch(/argv --hidden=7"/);
    session.child.kill('SIGINT');
    expect(await session.exit).toEqual([0, null]);
    expect(session.text).toContain('"reason":"stopped"');
  });

  it('exits with the code of an app that fails', async () => {
    const session = start('./fixtures/troupe.mjs', ['coordinator'], { TEST_COORDINATOR: 'crashes' });
    expect(await session.exit).toEqual([7, null]);
    expect(session.text).toContain('the floor is gone');
  });
});
