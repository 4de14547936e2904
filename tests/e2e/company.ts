/** A coordinator, workers and the links between them, as real processes that tests disturb. */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createProxy, type Link } from './mischief.js';
import { appOf, end, named, signal, start, type Line, type Running } from './troupe.js';

export interface CompanyOptions {
  readonly cwd: string;
  readonly out: string;
  /** Flags of the run. */
  readonly flags: readonly string[];
}

export interface Company {
  /** The coordinator that runs now. */
  readonly coordinator: Running;
  /** The workers that were not killed. */
  readonly workers: readonly Running[];
  /** The links between the workers and the coordinator. */
  readonly links: readonly Link[];
  /** The events of all coordinators so far. */
  readonly events: readonly Line[];
  /** Starts a worker. */
  hire(...flags: readonly string[]): Running;
  /** Kills the worker and starts another one. */
  replace(worker: Running, ...flags: readonly string[]): Promise<void>;
  /** Sends SIGSTOP, and SIGCONT after `ms`. */
  freeze(process: Running, ms: number): Promise<void>;
  /** Kills the coordinator and starts another one, which resumes at once. */
  crash(): Promise<void>;
  close(): Promise<void>;
}

const TOKEN = 'a-token-of-this-test';

export async function createCompany({ cwd, out, flags }: CompanyOptions): Promise<Company> {
  const coordinators: Running[] = [];
  const workers = new Set<Running>();
  const everyone: Running[] = [];
  let port = 0;
  let hired = 0;

  const launch = (...args: string[]): Running => {
    const running = start(args, { cwd, env: { TROUPE_TOKEN: TOKEN } });
    everyone.push(running);
    return running;
  };
  const events = (): Line[] => coordinators.flatMap(({ lines }) => lines);
  const open = async (): Promise<void> => {
    const resume = events().some(named('checkpoint')) ? ['--resume'] : [];
    const coordinator = launch('coordinator', ...flags, ...resume, '--port', String(port), '--out', out, '--json');
    const { address } = await coordinator.line(named('listening'));
    port = Number(new URL(address as string).port);
    coordinators.push(coordinator);
  };
  const hire = (...more: readonly string[]): Running => {
    const worker = launch('worker', `ws://127.0.0.1:${proxy.port}`, '--json', '--name', `worker-${++hired}`, ...more);
    workers.add(worker);
    return worker;
  };
  await open();
  const proxy = await createProxy(() => port);

  return {
    get coordinator() {
      return coordinators.at(-1)!;
    },
    get workers() {
      return [...workers];
    },
    get links() {
      return [...proxy.links];
    },
    get events() {
      return events();
    },
    hire,
    async replace(worker, ...more) {
      workers.delete(worker);
      signal(await appOf(worker), 'SIGKILL');
      hire(...more);
    },
    async freeze(running, ms) {
      const pid = await appOf(running);
      signal(pid, 'SIGSTOP');
      await sleep(ms);
      signal(pid, 'SIGCONT');
    },
    async crash() {
      const { child, exited } = coordinators.at(-1)!;
      signal(await appOf(coordinators.at(-1)!), 'SIGKILL');
      await exited;
      expectKilled(child.exitCode);
      await open();
    },
    async close() {
      proxy.close();
      await Promise.all(everyone.map(end));
    },
  };
}

/** Checks that the exit code is 128 + 9: the process did not end by itself before it was killed. */
function expectKilled(code: number | null): void {
  if (code !== 137) throw new Error(`the coordinator had ended with code ${code} before it was killed`);
}

/** SHA-256 of each checkpoint in a run's folder. */
export async function hashes(folder: string): Promise<Record<string, string>> {
  const names = (await fs.readdir(folder)).filter((name) => name.endsWith('.safetensors')).sort();
  const entries = names.map(async (name) => {
    const bytes = await fs.readFile(path.join(folder, name));
    return [name, createHash('sha256').update(bytes).digest('hex')] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}
