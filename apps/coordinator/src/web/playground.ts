/** Writes text with the current model: one request at a time, and a few may wait. */
import { CorpusError, encodePrime, type Vocabulary } from '@troupe/corpus';
import { LIMITS } from '@troupe/protocol';
import { MAX_PLAY_CHARACTERS, MAX_PRIME_CHARACTERS, type PlayMessage } from '@troupe/run';
import * as v from 'valibot';
import type { PlaySettings, SideThread } from '../side-jobs.js';
import { ApiFailure } from '../server/http.js';
import { withoutPrivateData } from './redact.js';

/** Ranges and defaults of a request; the seed's default is a new one each time. */
export const PLAY = {
  temperature: { min: 0, max: 10, default: 0.7 },
  topK: { min: 0, max: LIMITS.vocabulary, default: 0 },
  length: { min: 1, max: MAX_PLAY_CHARACTERS, default: 300 },
  seed: { min: 0, max: 0xffffffff },
} as const;

const real = ({ min, max }: { min: number; max: number }) => v.pipe(v.number(), v.finite(), v.minValue(min), v.maxValue(max));
const whole = (range: { min: number; max: number }) => v.pipe(real(range), v.integer());

const PlaySchema = v.strictObject({
  prime: v.optional(v.pipe(v.string(), v.maxLength(MAX_PRIME_CHARACTERS)), ''),
  skipUnknown: v.optional(v.boolean(), false),
  temperature: v.optional(real(PLAY.temperature), PLAY.temperature.default),
  topK: v.optional(whole(PLAY.topK), PLAY.topK.default),
  length: v.optional(whole(PLAY.length), PLAY.length.default),
  seed: v.optional(whole(PLAY.seed)),
});

export interface PlaygroundOptions {
  readonly vocabulary: Vocabulary;
  readonly side: Pick<SideThread, 'play'>;
  /** The model that writes the text: its parameters [P], and how many rounds trained them. */
  model(): { readonly round: number; readonly parameters: Float32Array };
  newSeed(): number;
}

export interface Playground {
  /**
   * @param caller identifies the sender, who may have one request at a time
   * @returns a function that writes the text and passes messages to `tell`. Call it when the response has begun. It
   *   rejects only when `signal` is aborted
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
        throw new ApiFailure(
          429,
          'one_at_a_time',
          'your previous text is still being written',
          'Wait until it is finished, or stop it.',
        );
      }
      if (callers.size > LIMITS.playRequests) {
        throw new ApiFailure(503, 'busy', `${LIMITS.playRequests} requests are waiting already`, 'Try again in a minute.');
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
    const { round, parameters } = options.model();
    tell({ type: 'start', round, seed: settings.seed });
    const { vocabulary, side } = options;
    try {
      await side.play(parameters, settings, (ids) => tell({ type: 'text', text: vocabulary.decode(ids) }), signal);
      tell({ type: 'end' });
    } catch (error) {
      if (signal.aborted) return;
      tell({
        type: 'error',
        code: 'not_written',
        message: withoutPrivateData((error as Error).message),
        remedy: 'Try again. If it fails again, tell the organizer of the run.',
      });
    }
  }
}

function settingsOf(request: unknown, { vocabulary, newSeed }: PlaygroundOptions): PlaySettings {
  const result = v.safeParse(PlaySchema, request);
  if (!result.success) {
    const [issue] = result.issues;
    const field = v.getDotPath(issue) ?? 'the body';
    throw new ApiFailure(400, 'bad_request', `${field}: ${issue.message}`, 'See the API description, /api/openapi.json.');
  }
  const { prime, skipUnknown, seed = newSeed(), ...rest } = result.output;
  return { ...rest, seed, prime: encode(prime, skipUnknown, vocabulary) };
}

function encode(prime: string, skipUnknown: boolean, vocabulary: Vocabulary): Uint16Array {
  try {
    return encodePrime(vocabulary, prime, skipUnknown).ids;
  } catch (error) {
    if (!(error instanceof CorpusError)) throw error;
    throw new ApiFailure(400, error.code, error.message, error.remedy);
  }
}
