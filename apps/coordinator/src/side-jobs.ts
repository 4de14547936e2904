/** Computes validations, samples and requests of pages in a separate thread, so that no round waits for them. */
import { Worker } from 'node:worker_threads';
import type { SampleRequest, SideJobs } from '@troupe/conductor';
import type { Batch, ModelConfig } from '@troupe/model';

export interface SideData {
  readonly model: ModelConfig;
  /** The validation part, ids. */
  readonly validation: Uint16Array;
  readonly window: number;
  /** Results must not depend on the machine. */
  readonly reproducible: boolean;
}

export interface PlaySettings extends SampleRequest {
  /** 0 = among all characters. */
  readonly topK: number;
}

/** `play` and `flow` run beside `evaluate` and `sample`, not after them, because people wait for them. */
export type SideRequest =
  | { readonly id: number; readonly kind: 'evaluate'; readonly parameters: Float32Array }
  | ({ readonly id: number; readonly kind: 'sample'; readonly parameters: Float32Array } & SampleRequest)
  | ({ readonly id: number; readonly kind: 'play'; readonly parameters: Float32Array } & PlaySettings)
  | { readonly id: number; readonly kind: 'flow'; readonly parameters: Float32Array; readonly batch: Batch }
  /** Cancels the job with this id. */
  | { readonly id: number; readonly kind: 'cancel' };
export type SideJob = Exclude<SideRequest, { kind: 'cancel' }>;

export type SideReply = { readonly id: number } & (
  | { readonly kind: 'evaluated'; readonly lossPerChar: number; readonly tokens: number }
  | { readonly kind: 'sampled'; readonly ids: Uint16Array }
  /** The next few characters. An empty `sampled` follows the last of them. */
  | { readonly kind: 'drawn'; readonly ids: Uint16Array }
  | { readonly kind: 'flowed'; readonly layers: number[][] }
  | { readonly kind: 'failed'; readonly message: string }
);

type Outcome<K extends SideReply['kind']> = Extract<SideReply, { kind: K }>;

export interface SideThread extends SideJobs {
  /** Samples characters with `parameters` [P], which are copied, and passes them on a few at a time. Rejects when aborted. */
  play(parameters: Float32Array, settings: PlaySettings, onIds: (ids: Uint16Array) => void, signal: AbortSignal): Promise<void>;
  /** See gradientFlow in libs/model. @returns [L][T] */
  flow(parameters: Float32Array, batch: Batch): Promise<number[][]>;
  close(): Promise<void>;
}

/** A started thread. */
export type StartedThread = Pick<Worker, 'postMessage' | 'on' | 'unref' | 'terminate'>;

interface Waiting {
  readonly resolve: (reply: SideReply) => void;
  readonly reject: (error: Error) => void;
  readonly onIds?: ((ids: Uint16Array) => void) | undefined;
}

/** A thread and the jobs that wait for it. */
interface Life {
  ask(id: number, request: Record<string, unknown>, parameters: Float32Array, onIds?: Waiting['onIds']): Promise<SideReply>;
  cancel(id: number): void;
  end(): Promise<void>;
}

/** The built thread. Tests of the sources use it as well. */
const SCRIPT = new URL('../dist/side-thread.js', import.meta.url);

function startThread(data: SideData): StartedThread {
  // Options of this process are not for the thread: tests resolve sources, and the thread is built.
  return new Worker(SCRIPT, { workerData: data, execArgv: [] });
}

/** `onBroken`: nothing can be asked of this thread any more. */
function openLife(thread: StartedThread, onBroken: () => void): Life {
  const waiting = new Map<number, Waiting>();
  thread.on('message', (reply: SideReply) => {
    const job = waiting.get(reply.id);
    if (reply.kind === 'drawn') return job?.onIds?.(reply.ids);
    waiting.delete(reply.id);
    if (reply.kind === 'failed') job?.reject(new Error(reply.message));
    else job?.resolve(reply);
  });
  const breakOff = (error: Error): void => {
    onBroken();
    for (const job of waiting.values()) job.reject(error);
    waiting.clear();
  };
  thread.on('error', breakOff);
  thread.on('exit', () => breakOff(new Error('the thread for validation and samples has ended')));
  thread.unref();
  return {
    ask: (id, request, parameters, onIds) =>
      new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject, onIds });
        const copy = parameters.slice();
        thread.postMessage({ ...request, id, parameters: copy }, [copy.buffer]);
      }),
    cancel: (id) => thread.postMessage({ id, kind: 'cancel' }),
    async end() {
      await thread.terminate();
    },
  };
}

/** A thread that broke is replaced when something is asked next; what it was asked before is rejected. */
export function createSideThread(data: SideData, start: (data: SideData) => StartedThread = startThread): SideThread {
  let life: Life | undefined;
  let closed = false;
  let jobs = 0;
  /** Validations and samples of the run. */
  let pending = 0;
  const alive = (): Life => {
    if (life) return life;
    const mine = openLife(start(data), () => {
      if (life === mine) life = undefined;
    });
    life = mine;
    return mine;
  };
  const ask = async (
    id: number,
    request: Record<string, unknown>,
    parameters: Float32Array,
    onIds?: Waiting['onIds'],
  ): Promise<SideReply> => {
    if (closed) throw new Error('the run is over, and its validations and samples with it');
    return alive().ask(id, request, parameters, onIds);
  };
  const askForRun = async (request: Record<string, unknown>, parameters: Float32Array): Promise<SideReply> => {
    pending++;
    try {
      return await ask(jobs++, request, parameters);
    } finally {
      pending--;
    }
  };
  // Opened now, so that the first validation does not wait for its engine.
  alive();

  return {
    get pending() {
      return pending;
    },
    evaluate: async (parameters) => (await askForRun({ kind: 'evaluate' }, parameters)) as Outcome<'evaluated'>,
    sample: async (parameters, request) =>
      ((await askForRun({ kind: 'sample', ...request }, parameters)) as Outcome<'sampled'>).ids,
    async play(parameters, settings, onIds, signal) {
      signal.throwIfAborted();
      const id = jobs++;
      const cancel = (): void => life?.cancel(id);
      signal.addEventListener('abort', cancel, { once: true });
      try {
        await ask(id, { kind: 'play', ...settings }, parameters, onIds);
      } finally {
        signal.removeEventListener('abort', cancel);
      }
      signal.throwIfAborted();
    },
    flow: async (parameters, batch) => ((await ask(jobs++, { kind: 'flow', batch }, parameters)) as Outcome<'flowed'>).layers,
    async close() {
      closed = true;
      await life?.end();
    },
  };
}
