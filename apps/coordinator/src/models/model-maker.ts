/** Makes the file of a model in a thread of its own, which ends with it, so that no round waits and no memory stays in use. */
import { Worker } from 'node:worker_threads';
import type { ModelForm } from '@troupe/export';
import type { ModelFile } from '@troupe/export/node';
import type { ApiError } from '@troupe/run';

export interface Making {
  /** Of a run. */
  readonly folder: string;
  readonly form: ModelForm;
}

export type MakingReply = { readonly ok: true; readonly file: ModelFile } | ({ readonly ok: false } & ApiError);

/** The best checkpoint of a run as one file. Rejects with NotMade, or with the reason of the signal. */
export type ModelMaker = (making: Making, signal: AbortSignal) => Promise<ModelFile>;

/** What was wrong with the model, or with this installation. */
export class NotMade extends Error {
  override readonly name = 'NotMade';
  readonly code: string;
  readonly remedy: string;
  constructor({ code, message, remedy }: ApiError) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

/** The built thread. Tests of the sources use it as well. */
const SCRIPT = new URL('../../dist/models/model-thread.js', import.meta.url);

export const makeInThread: ModelMaker = async (making, signal) => {
  signal.throwIfAborted();
  const thread = new Worker(SCRIPT, { workerData: making, execArgv: [] });
  thread.unref();
  const end = (): void => void thread.terminate();
  signal.addEventListener('abort', end, { once: true });
  try {
    return await resultOf(thread, signal);
  } finally {
    signal.removeEventListener('abort', end);
    await thread.terminate();
  }
};

function resultOf(thread: Worker, signal: AbortSignal): Promise<ModelFile> {
  return new Promise((resolve, reject) => {
    thread.on('message', (reply: MakingReply) => (reply.ok ? resolve(reply.file) : reject(new NotMade(reply))));
    thread.on('error', reject);
    thread.on('exit', () => reject(signal.aborted ? (signal.reason as Error) : new Error('the thread has ended')));
  });
}
