/** The model of a run as files for people: made when somebody asks, one at a time, and kept until the run has a better model. */
import { bestFile } from '@troupe/checkpoint/node';
import { shellQuote } from '@troupe/config';
import { installationAt } from '@troupe/config/installation';
import type { ModelForm } from '@troupe/export';
import type { ModelFile } from '@troupe/export/node';
import { LIMITS } from '@troupe/protocol';
import { ApiFailure } from '../server/http.js';
import { withoutPrivateData } from '../web/redact.js';
import { makeInThread, type ModelMaker, type NotMade } from './model-maker.js';

export interface ModelDownloadsOptions {
  /** Of the run. */
  readonly folder: string;
  /** [P] */
  readonly parameters: number;
  /** What to do while the run has no checkpoint. */
  readonly withoutModel: string;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
  readonly make?: ModelMaker;
}

export interface ModelDownloads {
  /**
   * Hands the model in a form to `send`. The number of those who are sent one at the same time is limited, in all and by address.
   * @param address undefined: not limited by address
   * @throws ApiFailure 404, 409, 429, 500, 503, and what `send` throws
   */
  serve(form: ModelForm, address: string | undefined, send: (file: ModelFile) => Promise<void>): Promise<void>;
}

interface Kept {
  /** Of the checkpoint that it was made of. */
  readonly stamp: string;
  readonly made: Promise<ModelFile>;
  /** Undefined while it is made. */
  bytes?: number;
}

export function createModelDownloads(options: ModelDownloadsOptions): ModelDownloads {
  const downloads = new Downloads(options);
  return {
    async serve(form, address, send) {
      const leave = downloads.enter(address);
      try {
        await send(await downloads.get(form));
      } finally {
        leave();
      }
    },
  };
}

class Downloads {
  readonly #options: ModelDownloadsOptions;
  /** At most one for each form, the one that was used last at the end. */
  readonly #kept = new Map<ModelForm, Kept>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Downloads of each address. */
  readonly #open = new Map<string | undefined, number>();

  constructor(options: ModelDownloadsOptions) {
    this.#options = options;
  }

  /** @throws ApiFailure 429, 503 */
  enter(address: string | undefined): () => void {
    const open = this.#open.get(address) ?? 0;
    if (address !== undefined && open >= LIMITS.modelDownloadsPerAddress) {
      const text = `${open} models are being downloaded at your address`;
      throw new ApiFailure(429, 'too_many_downloads', text, 'Try again when one of them has ended.');
    }
    if ([...this.#open.values()].reduce((sum, count) => sum + count, 0) >= LIMITS.modelDownloads) {
      throw new ApiFailure(503, 'busy', `${LIMITS.modelDownloads} people are downloading models`, 'Try again in a minute.');
    }
    this.#open.set(address, open + 1);
    return () => {
      const left = this.#open.get(address)! - 1;
      if (left > 0) this.#open.set(address, left);
      else this.#open.delete(address);
    };
  }

  async get(form: ModelForm): Promise<ModelFile> {
    this.#checkSize(form);
    const { folder, withoutModel } = this.#options;
    const source = await bestFile(folder).catch((error: unknown) => {
      throw failureOf(error);
    });
    if (!source) throw new ApiFailure(404, 'no_checkpoint', 'the run has saved no model yet', withoutModel);
    const last = this.#kept.get(form);
    const kept = last?.stamp === source.stamp ? last : this.#begin(form, source.stamp);
    this.#kept.delete(form);
    this.#kept.set(form, kept);
    return kept.made;
  }

  /** @throws ApiFailure 409 */
  #checkSize(form: ModelForm): void {
    const { parameters, folder } = this.#options;
    if (parameters * Float32Array.BYTES_PER_ELEMENT <= LIMITS.modelWeightBytes) return;
    const flag = form === 'weights' ? 'weights-only' : form;
    const command = `${installationAt(import.meta.url).program} export --${flag} ${shellQuote(withoutPrivateData(folder))}`;
    const text = `the weights have more than ${LIMITS.modelWeightBytes / 1024 ** 2} MiB, too much for the coordinator`;
    throw new ApiFailure(409, 'too_large', text, `Where the folder of the run is, type: ${command}`);
  }

  #begin(form: ModelForm, stamp: string): Kept {
    const made = this.#turn.then(() => this.#make(form));
    const kept: Kept = { stamp, made };
    this.#turn = made.then(
      ({ bytes }) => {
        kept.bytes = bytes.length;
        this.#dropOldest();
      },
      () => {
        if (this.#kept.get(form) === kept) this.#kept.delete(form);
      },
    );
    return kept;
  }

  async #make(form: ModelForm): Promise<ModelFile> {
    const { folder, over, make = makeInThread } = this.#options;
    const ends = new AbortController();
    const timer = setTimeout(() => ends.abort(tooSlow()), LIMITS.modelMakingMs);
    const stop = (): void => ends.abort(over.reason);
    over.addEventListener('abort', stop, { once: true });
    if (over.aborted) stop();
    try {
      return await make({ folder, form }, ends.signal);
    } catch (error) {
      throw over.aborted ? new ApiFailure(503, 'run_over', 'the run is over', 'Start its coordinator again.') : failureOf(error);
    } finally {
      clearTimeout(timer);
      over.removeEventListener('abort', stop);
    }
  }

  #dropOldest(): void {
    let total = [...this.#kept.values()].reduce((sum, { bytes = 0 }) => sum + bytes, 0);
    for (const [form, { bytes = 0 }] of this.#kept) {
      if (total <= LIMITS.modelCacheBytes) return;
      if (bytes === 0) continue;
      this.#kept.delete(form);
      total -= bytes;
    }
  }
}

/** Errors with a code and a remedy come from reading the checkpoint, or from the export; others are bugs. */
function failureOf(error: unknown): unknown {
  if (error instanceof ApiFailure) return error;
  const { code, message, remedy } = error as Partial<NotMade>;
  if (code === undefined || message === undefined || remedy === undefined) return error;
  const status = code === 'out_of_range' ? 409 : 500;
  return new ApiFailure(status, code, withoutPrivateData(message), withoutPrivateData(remedy));
}

function tooSlow(): ApiFailure {
  const text = `making the file took more than ${LIMITS.modelMakingMs / 1000} s`;
  return new ApiFailure(503, 'too_slow', text, 'Try again when the machine of the coordinator is less busy.');
}
