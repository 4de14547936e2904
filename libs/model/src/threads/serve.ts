/** The thread's side: an engine that obeys orders, one at a time, and leaves results in shared memory. */
import type { ModelConfig } from '../config.js';
import { EngineError, type Batch, type Engine, type EngineLimits } from '../engine.js';
import { stateSize } from '../layout.js';
import type { Share, ThreadOrder, ThreadOwner, ThreadReply } from './port.js';
import { FAILED, meet, sumShare, type SharedSpace } from './shared.js';

/** `variant`: the one to take, as EngineInfo.variant has it; undefined: the thread may choose. */
export type CreateThreadEngine = (config: ModelConfig, limits: EngineLimits, variant: string | undefined) => Promise<Engine>;

interface Seat {
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly index: number;
  readonly space: SharedSpace;
  /** Of the parameters that the engine has. */
  version: number;
}

type Work = Exclude<ThreadOrder, { kind: 'open' }>;

/**
 * Serves the owner until the thread ends; the counterpart of createThreadedEngine. Call it once, before the thread's first message. A
 * thread that is opened again takes the new engine in place of the old one.
 */
export function serveEngine(owner: ThreadOwner, create: CreateThreadEngine): void {
  let seat: Seat | undefined;
  let queue = Promise.resolve();
  const obey = async (order: ThreadOrder): Promise<void> => {
    try {
      if (order.kind === 'open') {
        seat?.engine.dispose();
        seat = await takeSeat(order, create);
        owner.post({ kind: 'opened', info: seat.engine.info });
      } else owner.post({ kind: 'done', lossSum: await perform(seat!, order) });
    } catch (error) {
      owner.post(failure(error));
    }
  };
  owner.onOrder((order) => {
    queue = queue.then(() => obey(order));
  });
}

async function takeSeat(order: ThreadOrder & { kind: 'open' }, create: CreateThreadEngine): Promise<Seat> {
  const { config, limits, variant, index, space } = order;
  return { engine: await create(config, limits, variant), config, index, space, version: 0 };
}

function failure(error: unknown): ThreadReply {
  if (error instanceof EngineError) {
    const { code, message, remedy } = error;
    return { kind: 'failed', code, message, remedy };
  }
  return { kind: 'failed', message: error instanceof Error ? (error.stack ?? error.message) : String(error), remedy: '' };
}

async function perform(seat: Seat, order: Work): Promise<number> {
  if (order.kind === 'gradient') return gradient(seat, order);
  const { engine, space } = seat;
  refresh(seat, order.share);
  if (order.kind === 'step') return step(seat, order.share);
  const { lossSum, endStates } = await engine.evaluate(batchOf(seat, order));
  space.endStates.set(endStates, order.share.from * stateSize(seat.config));
  return lossSum;
}

function refresh(seat: Seat, { version }: Share): void {
  if (seat.version === version) return;
  seat.engine.setParameters(seat.space.parameters);
  seat.version = version;
}

function batchOf({ config, space }: Seat, { share, window, ...rest }: Exclude<Work, { kind: 'step' }>): Batch {
  const { from, streams } = share;
  const size = stateSize(config);
  const batch = {
    streams,
    window,
    tokens: space.tokens.subarray(from * (window + 1), (from + streams) * (window + 1)),
    states: space.states.subarray(from * size, (from + streams) * size),
  };
  const dropout = rest.kind === 'gradient' ? rest.dropout : undefined;
  return dropout ? { ...batch, dropout } : batch;
}

/** Computes its streams, waits for the others, then adds up its share of the gradients. A failed member comes to the meeting too. */
async function gradient(seat: Seat, order: ThreadOrder & { kind: 'gradient' }): Promise<number> {
  const { engine, space, index, config } = seat;
  const { from, members, arrivals } = order.share;
  let lossSum: number;
  try {
    refresh(seat, order.share);
    const result = await engine.gradient(batchOf(seat, order));
    lossSum = result.lossSum;
    space.gradients[index].set(result.gradient);
    space.endStates.set(result.endStates, from * stateSize(config));
  } catch (error) {
    Atomics.add(space.signals, FAILED, 1);
    throw error;
  } finally {
    meet(space.signals, arrivals);
  }
  // Whoever failed says so; what the others have is of no use.
  if (Atomics.load(space.signals, FAILED) > 0) return lossSum;
  if (!sumShare(space.gradients, members, index)) {
    throw new EngineError(
      'not_finite',
      'the gradient is not a finite number',
      'go back to the last good parameters and states, with a lower learning rate or a tighter clipping norm',
    );
  }
  return lossSum;
}

async function step({ engine, space, config }: Seat, { from, streams }: Share): Promise<number> {
  const size = stateSize(config);
  const states = space.endStates.subarray(from * size, (from + streams) * size);
  states.set(space.states.subarray(from * size, (from + streams) * size));
  const logits = await engine.step(space.tokens.subarray(from, from + streams), states);
  space.logits.set(logits, from * config.vocabulary);
  return 0;
}
