/**
 * Keeps the workers of a Slurm job in view: installs the release where all nodes see it, submits the job or finds that of an earlier launch,
 * follows what its tasks write, and cancels it when the launch ends.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { complaintOf } from '../errors.js';
import type { SlotState } from './events.js';
import type { Slot } from './hosts.js';
import { installHere } from './install-here.js';
import type { NodeSource } from './node-source.js';
import { inRelease, MARK_MS, markUsed, type ReleaseBytes } from './release-bytes.js';
import { lockSlot } from './slot-lock.js';
import { SlotNews, type Details, type NewsPorts } from './slot-news.js';
import { SlurmSilent, type SlurmCluster } from './slurm-cluster.js';
import { Tail } from './slurm-outputs.js';
import {
  explainEnd,
  explainRefusal,
  explainWait,
  ORDER_FILE,
  outputFile,
  phaseOf,
  sbatchOptions,
  sbatchScript,
  SLURM_LABEL,
  type JobPlan,
  type QueuedTask,
  type SlurmOrder,
} from './slurm.js';
import { explainFault } from './ssh.js';
import { decode, type FromHost } from './wire.js';

/** How often the output of the tasks is read, and how often Slurm is asked: its controller serves the whole cluster. */
const READ_MS = 1_000;
const QUEUE_MS = 5_000;
/** After the launch has cancelled the job. Slurm kills what does not end within half a minute. */
const LEAVING_READ_MS = 300;
const LEAVE_MS = 45_000;
const PATIENCE_MS = 10 * 60_000;

export interface SlurmPlan {
  readonly cluster: SlurmCluster;
  readonly name: string;
  /** The folder of the job and that of releases: all nodes see both. */
  readonly folder: string;
  readonly cache: string;
  readonly slots: readonly Slot[];
  readonly threads: number | undefined;
  /** What a person adds to the options of sbatch. */
  readonly args: readonly string[];
  /** Where the script is written. */
  readonly script: string;
  /** The job of an earlier launch, which still has tasks. */
  readonly found: string | undefined;
}

export interface SlurmPorts extends NewsPorts {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly release: () => Promise<ReleaseBytes>;
  readonly order: SlurmOrder['order'];
  /** To put Node beside the release; undefined: nodes have it. */
  readonly nodes: NodeSource | undefined;
}

/** Resolves when no worker of the job is to start again, or `stop` has aborted and the job is cancelled. `kill` hurries that. */
export async function keepSlurm(plan: SlurmPlan, ports: SlurmPorts, stop: AbortSignal, kill: AbortSignal): Promise<void> {
  const keeper = new SlurmKeeper(plan, ports, stop, kill);
  try {
    await keeper.run();
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    keeper.close();
  }
  if (stop.aborted) keeper.report('stopped');
}

/** What the keeper knows of one task. */
interface TaskView {
  readonly slot: Slot;
  readonly tail: Tail;
  /** What squeue said last: state, reason and node. */
  seen: string;
  /** Its process has written something since it last waited for a node. */
  hasSpoken: boolean;
  /** The last line that is not of a supervisor: what Slurm writes of a task that it ends. */
  lastWords: string;
}

class SlurmKeeper {
  readonly #plan: SlurmPlan;
  readonly #ports: SlurmPorts;
  readonly #stop: AbortSignal;
  readonly #kill: AbortSignal;
  readonly #news: SlotNews;
  readonly #tasks: readonly TaskView[];
  /** What is read was written before this launch, and is in the logs of an earlier one. */
  #isReplay: boolean;
  #isSilent = false;
  #mark: NodeJS.Timeout | undefined;

  constructor(plan: SlurmPlan, ports: SlurmPorts, stop: AbortSignal, kill: AbortSignal) {
    this.#plan = plan;
    this.#ports = ports;
    this.#stop = stop;
    this.#kill = kill;
    this.#isReplay = plan.found !== undefined;
    this.#news = new SlotNews({
      emit: ports.emit,
      log: (slot, entry) => {
        if (!this.#isReplay) ports.log(slot, entry);
      },
    });
    this.#tasks = plan.slots.map((slot, i) => ({
      slot,
      tail: new Tail(path.join(plan.folder, outputFile(i + 1)), plan.found !== undefined),
      seen: '',
      hasSpoken: false,
      lastWords: '',
    }));
  }

  /** The state of all workers that are not over. */
  report(state: SlotState, more: Details = {}): void {
    const slots = this.#open().map(({ slot }) => slot.name);
    if (slots.length > 0) this.#ports.emit({ event: 'state', who: SLURM_LABEL, slots, state, ...more });
  }

  close(): void {
    clearInterval(this.#mark);
  }

  async run(): Promise<void> {
    const { order } = this.#ports;
    const claimant = { launch: order.launch, by: order.by, onTakenOver: () => undefined };
    const lock = await lockSlot(order.address, SLURM_LABEL, claimant, this.#stop);
    if ('heldBy' in lock) {
      const text = `another launch has the Slurm job for the same coordinator: ${lock.heldBy}`;
      return this.report('failed', { text, remedy: 'Stop that launch first, or leave --slurm out.' });
    }
    try {
      const id = this.#plan.found ?? (await this.#submit());
      if (id !== undefined) await this.#keep(id);
    } finally {
      lock.release();
    }
  }

  /** @returns the id of the job; undefined if there is none, and the table says why */
  async #submit(): Promise<string | undefined> {
    try {
      const module = await this.#install();
      const nodes = module === undefined ? undefined : await this.#findNodes();
      if (module === undefined || nodes === undefined) return undefined;
      this.report('starting', { text: 'submitting' });
      const script = this.#write(module, nodes);
      const answer = await this.#plan.cluster.submit(script);
      if ('id' in answer) return answer.id;
      this.report('failed', explainRefusal(answer.refusal));
      this.#forget();
    } catch (error) {
      if (!('syscall' in (error as Error))) throw error;
      const { message, remedy } = complaintOf(error);
      this.report('failed', { text: message, remedy: `${remedy} --slurm-dir DIR names another folder.` });
    }
    return undefined;
  }

  async #install(): Promise<string | undefined> {
    const release = await this.#ports.release();
    const installed = await installHere(release, {
      cache: this.#plan.cache,
      entry: inRelease('slurm-task'),
      env: this.#ports.env,
      onState: (state) => this.report(state),
      signal: this.#stop,
    });
    if ('module' in installed) return installed.module;
    const remedy = `Make ${this.#plan.cache} a folder with space that you can write to, or name another one with --slurm-dir DIR.`;
    this.report('failed', { text: installed.why, remedy });
    return undefined;
  }

  /** Programs that nodes may have at the same place as this machine. */
  async #findNodes(): Promise<readonly string[] | undefined> {
    const { nodes } = this.#ports;
    if (nodes === undefined) return [process.execPath];
    this.report('copying', { text: 'Node' });
    const { ownNode, placeNode } = await import('./node-source.js');
    const program = await nodes.programFor(ownNode().platform);
    if ('digest' in program) return [process.execPath, await placeNode(program, this.#plan.cache)];
    this.report('failed', { text: program.why, remedy: program.remedy });
    return undefined;
  }

  /** Writes what the tasks read, and the script. @returns the arguments of sbatch */
  #write(module: string, nodes: readonly string[]): readonly string[] {
    const { name, folder, slots, threads, args, script } = this.#plan;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#writeOrder({ order: this.#ports.order, slots, patienceMs: PATIENCE_MS, release: releaseOf(module) });
    const job: JobPlan = { name, tasks: slots.length, threads, folder, entry: module, nodes };
    mkdirSync(path.dirname(script), { recursive: true });
    writeFileSync(script, sbatchScript(job), { mode: 0o700 });
    // Variables such as SBATCH_ARRAY_INX count more than the script, and the command line more than these.
    return [...sbatchOptions(job), ...args, script];
  }

  /** Whole or not at all, and for this user only: it contains the token. */
  #writeOrder(order: SlurmOrder): void {
    const file = path.join(this.#plan.folder, ORDER_FILE);
    const temporary = `${file}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify(order), { mode: 0o600 });
    renameSync(temporary, file);
  }

  async #keep(id: string): Promise<void> {
    const { found, script, slots } = this.#plan;
    this.#ports.emit({ event: 'job', id, tasks: slots.length, isAdopted: found !== undefined, script });
    const order = JSON.parse(readFileSync(path.join(this.#plan.folder, ORDER_FILE), 'utf8')) as SlurmOrder;
    // Tasks that start from now on need the token of today.
    if (found !== undefined) this.#writeOrder({ ...order, order: { ...order.order, token: this.#ports.order.token } });
    this.#mark = setInterval(() => markUsed(order.release), MARK_MS).unref();
    await this.#follow(id);
    if (this.#stop.aborted) await this.#cancel(id);
    else this.#forget();
  }

  async #follow(id: string): Promise<void> {
    let askAtMs = 0;
    while (!this.#stop.aborted && this.#open().length > 0) {
      this.#read();
      if (performance.now() >= askAtMs) {
        await this.#ask(id);
        askAtMs = performance.now() + QUEUE_MS;
      }
      this.#isReplay = false;
      if (this.#open().length > 0) await this.#pause(READ_MS, this.#stop);
    }
  }

  #read(): void {
    for (const task of this.#open()) for (const line of task.tail.read()) this.#hear(task, line);
  }

  #hear(task: TaskView, line: string): void {
    const message = decode(line);
    const { name } = task.slot;
    if (message === undefined) {
      task.lastWords = line;
      return this.#news.log(name, { kind: 'text', reason: line });
    }
    task.hasSpoken = true;
    if (message.at === 'failed') this.#fail(name, message);
    else if ('slot' in message && message.slot === name) this.#news.receive(message);
    else if (message.at === 'host') this.#news.report(name, 'starting', { text: `on ${message.name ?? 'its node'}` });
  }

  #fail(name: string, { code, detail }: Extract<FromHost, { at: 'failed' }>): void {
    const { why } = explainFault(code, detail, { node: undefined, where: undefined });
    const remedy =
      'Give --with-node, which puts Node beside the release, or load a module with Node 20.19 or later before you launch.';
    this.#news.report(name, 'failed', { text: why, remedy });
  }

  async #ask(id: string): Promise<void> {
    try {
      const queued = await this.#plan.cluster.tasksOf(id);
      this.#isSilent = false;
      const byIndex = new Map(queued.map((task) => [task.index, task]));
      for (const [i, task] of this.#tasks.entries()) {
        if (!this.#news.isOver(task.slot.name)) this.#see(task, byIndex.get(i + 1), id);
      }
    } catch (error) {
      if (!(error instanceof SlurmSilent)) throw error;
      const text = `Slurm does not answer: ${error.message}`;
      if (!this.#isSilent) this.#ports.emit({ event: 'note', text, remedy: 'Workers go on. It is asked again.' });
      this.#isSilent = true;
    }
  }

  #see(task: TaskView, queued: QueuedTask | undefined, id: string): void {
    const { state, reason, node } = queued ?? { state: 'UNKNOWN', reason: '', node: '' };
    const before = task.seen;
    task.seen = [state, reason, node].join(' ');
    const { name } = task.slot;
    switch (phaseOf(state)) {
      case 'waits':
        task.hasSpoken = false;
        if (before !== task.seen) this.#news.report(name, 'waiting', explainWait(reason, id));
        return;
      case 'runs':
        if (before !== task.seen && !task.hasSpoken) this.#news.report(name, 'starting', { text: `on ${node}` });
        return;
      case 'leaving':
        return;
      case 'ended':
        if (before === task.seen) this.#end(task, state);
        return;
      case 'over':
        return this.#end(task, state);
    }
  }

  #end({ slot, hasSpoken, lastWords }: TaskView, state: string): void {
    const { text, remedy } = explainEnd(state, hasSpoken || lastWords !== '', this.#plan.folder);
    this.#news.report(slot.name, 'failed', { text: lastWords === '' ? text : `${text}: ${lastWords}`, remedy });
  }

  async #cancel(id: string): Promise<void> {
    const deadlineMs = performance.now() + LEAVE_MS;
    const remedy = `When Slurm answers, type: scancel ${id}`;
    try {
      await this.#plan.cluster.cancel(id);
    } catch (error) {
      if (!(error instanceof SlurmSilent)) throw error;
      return this.#ports.emit({ event: 'note', text: `job ${id} may still run: ${error.message}`, remedy });
    }
    while (!this.#kill.aborted && performance.now() < deadlineMs) {
      this.#read();
      const left = (await this.#plan.cluster.tasksOf(id).catch(() => undefined))?.filter(
        ({ state }) => !['ended', 'over'].includes(phaseOf(state)),
      );
      if (left?.length === 0) return this.#forget();
      await this.#pause(LEAVING_READ_MS, this.#kill);
    }
    if (this.#kill.aborted) await this.#plan.cluster.cancel(id, 'KILL').catch(() => undefined);
    else this.#ports.emit({ event: 'note', text: `job ${id} has not ended yet`, remedy: `See: squeue -j ${id}` });
    this.#forget();
  }

  /** Nobody needs the token any more. The logs have what the tasks wrote. */
  #forget(): void {
    rmSync(this.#plan.folder, { recursive: true, force: true });
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await sleep(ms, undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }

  #open(): readonly TaskView[] {
    return this.#tasks.filter(({ slot }) => !this.#news.isOver(slot.name));
  }
}

/** RELEASE/node_modules/troupe/apps/cli/dist/launch/slurm-task.js -> RELEASE. */
function releaseOf(module: string): string {
  return module.slice(0, -path.join('/node_modules/troupe', inRelease('slurm-task')).length);
}
