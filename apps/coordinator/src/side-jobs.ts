/** Validation and samples in a thread of their own, so that no round waits for them. */
import { Worker } from 'node:worker_threads';
import type { ModelConfig } from '@troupe/model';

export interface SideData {
  readonly model: ModelConfig;
  /** Validation part, ids. */
  readonly validation: Uint16Array;
  readonly window: number;
}

export type SideRequest = { readonly id: number; readonly parameters: Float32Array } & (
  | { readonly kind: 'evaluate' }
  | {
      readonly kind: 'sample';
      readonly prime: Uint16Array;
      readonly length: number;
      readonly seed: number;
      readonly temperature: number;
    }
);
export type SideReply = { readonly id: number } & (
  | { readonly kind: 'evaluated'; readonly lossPerChar: number; readonly tokens: number }
  | { readonly kind: 'sampled'; readonly ids: Uint16Array }
  | { readonly kind: 'failed'; readonly message: string }
);

type Outcome<K extends SideReply['kind']> = Extract<SideReply, { kind: K }>;

export interface SideJobs {
  /** Jobs not done yet. */
  readonly pending: number;
  /** `parameters` [P] are copied. */
  evaluate(parameters: Float32Array): Promise<Outcome<'evaluated'>>;
  sample(
    parameters: Float32Array,
    request: { prime: Uint16Array; length: number; seed: number; temperature: number },
  ): Promise<Uint16Array>;
  close(): Promise<void>;
}

export function createSideJobs(data: SideData): SideJobs {
  const thread = new Worker(new URL('./side-thread.js', import.meta.url), { workerData: data });
  const waiting = new Map<number, { resolve: (reply: SideReply) => void; reject: (error: Error) => void }>();
  let jobs = 0;
  let broken: Error | undefined;
  thread.on('message', (reply: SideReply) => {
    const job = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (reply.kind === 'failed') job?.reject(new Error(reply.message));
    else job?.resolve(reply);
  });
  const breakOff = (error: Error): void => {
    broken = error;
    for (const job of waiting.values()) job.reject(error);
    waiting.clear();
  };
  thread.on('error', breakOff);
  thread.on('exit', () => breakOff(new Error('the thread for validation and samples has ended')));
  thread.unref();

  const ask = (request: Record<string, unknown>, parameters: Float32Array): Promise<SideReply> =>
    new Promise((resolve, reject) => {
      if (broken) {
        reject(broken);
        return;
      }
      const id = jobs++;
      waiting.set(id, { resolve, reject });
      const copy = parameters.slice();
      thread.postMessage({ ...request, id, parameters: copy }, [copy.buffer]);
    });

  return {
    get pending() {
      return waiting.size;
    },
    evaluate: async (parameters) => (await ask({ kind: 'evaluate' }, parameters)) as Outcome<'evaluated'>,
    sample: async (parameters, request) => ((await ask({ kind: 'sample', ...request }, parameters)) as Outcome<'sampled'>).ids,
    close: async () => {
      await thread.terminate();
    },
  };
}
