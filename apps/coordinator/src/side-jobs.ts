/** Computes validations, samples and requests of pages in a separate thread, so that no round waits for them. */
import { Worker } from 'node:worker_threads';
import type { SampleRequest, SideJobs } from '@troupe/conductor';
import type { Batch, ModelConfig } from '@troupe/model';
import { createJobThread, type StartedThread } from './job-thread.js';

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

/** The built thread. Tests of the sources use it as well. */
const SCRIPT = new URL('../dist/side-thread.js', import.meta.url);

function startThread(data: SideData): StartedThread {
  // Options of this process are not for the thread: tests resolve sources, and the thread is built.
  return new Worker(SCRIPT, { workerData: data, execArgv: [] });
}

export function createSideThread(data: SideData, start: (data: SideData) => StartedThread = startThread): SideThread {
  const thread = createJobThread<SideReply>({
    start: () => start(data),
    purpose: 'validation and samples',
    closedReason: 'the run is over, and its validations and samples with it',
  });
  /** Validations and samples of the run. */
  let pending = 0;
  const begin = (
    request: Record<string, unknown>,
    parameters: Float32Array,
    onIds?: (ids: Uint16Array) => void,
  ): ReturnType<typeof thread.begin> => {
    const copy = parameters.slice();
    return thread.begin({ ...request, parameters: copy }, [copy.buffer], (reply) => {
      if (reply.kind !== 'drawn') return false;
      onIds?.(reply.ids);
      return true;
    });
  };
  const askForRun = async (request: Record<string, unknown>, parameters: Float32Array): Promise<SideReply> => {
    pending++;
    try {
      return await begin(request, parameters).reply;
    } finally {
      pending--;
    }
  };
  // Opened now, so that the first validation does not wait for its engine.
  thread.open();

  return {
    get pending() {
      return pending;
    },
    evaluate: async (parameters) => (await askForRun({ kind: 'evaluate' }, parameters)) as Outcome<'evaluated'>,
    sample: async (parameters, request) =>
      ((await askForRun({ kind: 'sample', ...request }, parameters)) as Outcome<'sampled'>).ids,
    async play(parameters, settings, onIds, signal) {
      signal.throwIfAborted();
      const { id, reply } = begin({ kind: 'play', ...settings }, parameters, onIds);
      const cancel = (): void => thread.post({ id, kind: 'cancel' } satisfies SideRequest);
      signal.addEventListener('abort', cancel, { once: true });
      try {
        await reply;
      } finally {
        signal.removeEventListener('abort', cancel);
      }
      signal.throwIfAborted();
    },
    flow: async (parameters, batch) => ((await begin({ kind: 'flow', batch }, parameters).reply) as Outcome<'flowed'>).layers,
    close: () => thread.close(),
  };
}
