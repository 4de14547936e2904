/** Lets people write with the model as it stands: one at a time, a few may wait. */
import { CorpusError, type Vocabulary } from '@troupe/corpus';
import { MAX_PLAY_CHARACTERS, MAX_PRIME_CHARACTERS, type PlayMessage } from '@troupe/run';
import * as v from 'valibot';
import type { PlaySettings, SideThread } from '../side-jobs.js';
import { ApiFailure } from '../server/http.js';

/** Requests that wait for their turn. */
const MAX_WAITING = 8;

const PlaySchema = v.strictObject({
  prime: v.optional(v.pipe(v.string(), v.maxLength(MAX_PRIME_CHARACTERS)), ''),
  temperature: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(10)), 0.7),
  topK: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_536)), 0),
  length: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_PLAY_CHARACTERS)), 300),
  seed: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff))),
});

export interface PlaygroundOptions {
  readonly vocabulary: Vocabulary;
  readonly side: Pick<SideThread, 'play'>;
  /** As they are now [P]. */
  parameters(): Float32Array;
  /** Rounds completed. */
  round(): number;
  newSeed(): number;
}

export interface Playground {
  /**
   * @param caller whoever has one request under way gets no second
   * @returns what is to be run, once its answer has begun; `tell` gets what happens. It rejects only when `signal` is aborted
   * @throws ApiFailure 400, 429, 503
   */
  prepare(request: unknown, caller: string): (tell: (message: PlayMessage) => void, signal: AbortSignal) => Promise<void>;
}

export function createPlayground(options: PlaygroundOptions): Playground {
  const callers = new Set<string>();
  let turn: Promise<unknown> = Promise.resolve();

  return {
    prepare(request, caller) {
      const settings = settingsOf(request, options);
      if (callers.has(caller)) {
        throw new ApiFailure(429, 'one_at_a_time', 'a text of yours is being written already', 'Wait for it, or stop it first.');
      }
      if (callers.size > MAX_WAITING) {
        throw new ApiFailure(503, 'busy', `${MAX_WAITING} others are waiting for their turn`, 'Try again in a moment.');
      }
      callers.add(caller);
      return async (tell, signal) => {
        const before = turn;
        const mine = before.then(() => write(settings, tell, signal));
        turn = mine.catch(() => undefined);
        try {
          await mine;
        } finally {
          callers.delete(caller);
        }
      };
    },
  };

  async function write(settings: PlaySettings, tell: (message: PlayMessage) => void, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    tell({ type: 'start', round: options.round(), seed: settings.seed });
    const { vocabulary, side } = options;
    try {
      await side.play(options.parameters(), settings, (ids) => tell({ type: 'text', text: vocabulary.decode(ids) }), signal);
      tell({ type: 'end' });
    } catch (error) {
      if (signal.aborted) return;
      tell({
        type: 'error',
        code: 'not_written',
        message: (error as Error).message,
        remedy: 'Try again; if it stays, tell who runs this.',
      });
    }
  }
}

function settingsOf(request: unknown, { vocabulary, newSeed }: PlaygroundOptions): PlaySettings {
  const result = v.safeParse(PlaySchema, request);
  if (!result.success) {
    const [issue] = result.issues;
    const field = v.getDotPath(issue) ?? 'the body';
    throw new ApiFailure(400, 'bad_request', `${field}: ${issue.message}`, 'See /api/openapi.json for what may be asked.');
  }
  const { prime, seed = newSeed(), ...rest } = result.output;
  return { ...rest, seed, prime: encode(prime, vocabulary) };
}

/** Of nothing: a line break, where verse begins, or the text's first character. */
function encode(prime: string, vocabulary: Vocabulary): Uint16Array {
  const text = prime !== '' ? prime : vocabulary.characters.includes('\n') ? '\n' : vocabulary.characters[0];
  try {
    return vocabulary.encode(text);
  } catch (error) {
    if (!(error instanceof CorpusError)) throw error;
    throw new ApiFailure(400, error.code, error.message, error.remedy);
  }
}
