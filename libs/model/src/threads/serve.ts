/**
 * The thread's side: an engine that carries out orders, one at a time, and writes results to
 * shared memory.
 */
import type { ModelConfig } from '../config.js';
import { EngineError, type Batch, type Engine, type EngineLimits } from '../engine.js';
import { stateSize } from '../layout.js';
import type { Share, ThreadOrder, ThreadOwner, ThreadReply } from './port.js';
import { barrier, FAILED, sumShare, type SharedMemory } from './shared-memory.js';

/** `variant`: the one to take, as in EngineInfo.variant; undefined: the engine chooses. */
export type CreateThreadEngine = (config: ModelConfig, limits: EngineLimits, variant: string | undefined) => Promise<Engine>;

interface ThreadState {
  readonly engine: Engine;
  readonly config: ModelConfig;
  readonly index: number;
  readonly memory: SharedMemory;
  /** Version of the engine's current parameters. */
  version: number;
}

type Work = Exclude<ThreadOrder, { kind: 'open' }>;

/**
 * Serves the owner until the thread ends; the counterpart of createThreadedEngine. Call it once,
 * before the thread's first message. Opening a thread again replaces its engine.
 */
export function serveEngine(owner: ThreadOwner, create: CreateThreadEngine): void {
  let thread: ThreadState | undefined;
  let queue = Promise.resolve();
  const carryOut = async (order: ThreadOrder): Promise<void> => {
    try {
      if (order.kind === 'open') {
        thread?.engine.dispose();
        thread = await openState(order, create);
        owner.post({ kind: 'opened', info: thread.engine.info });
      } else owner.post({ kind: 'done', lossSum: await perform(thread!, order) });
    } catch (error) {
      owner.post(failure(error));
    }
  };
  owner.onOrder((order) => {
    queue = queue.then(() => carryOut(order));
  });
}

async function openState(order: ThreadOrder & { kind: 'open' }, create: CreateThreadEngine): Promise<ThreadState> {
  const { config, limits, variant, index, memory } = order;
  return { engine: await create(config, limits, variant), config, index, memory, version: 0 };
}

function failure(error: unknown): ThreadReply {
  if (error instanceof EngineError) {
    const { code, message, remedy } = error;
    return { kind: 'failed', code, message, remedy };
  }
  return { kind: 'failed', message: error instanceof Error ? (error.stack ?? error.message) : String(error), remedy: '' };
}

async function perform(thread: ThreadState, order: Work): Promise<number> {
  if (order.kind === 'gradient') return gradient(thread, order);
  const { engine, memory } = thread;
  refresh(thread, order.share);
  if (order.kind === 'step') return step(thread, order.share);
  const { lossSum, endStates } = await engine.evaluate(batchOf(thread, order));
  memory.endStates.set(endStates, order.share.from * stateSize(thread.config));
  return lossSum;
}

function refresh(thread: ThreadState, { version }: Share): void {
  if (thread.version === version) return;
  thread.engine.setParameters(thread.memory.parameters);
  thread.version = version;
}

function batchOf({ config, memory }: ThreadState, { share, window, ...rest }: Exclude<Work, { kind: 'step' }>): Batch {
  const { from, streams } = share;
  const size = stateSize(config);
  const batch = {
    streams,
    window,
    tokens: memory.tokens.subarray(from * (window + 1), (from + streams) * (window + 1)),
    states: memory.states.subarray(from * size, (from + streams) * size),
  };
  const dropout = rest.kind === 'gradient' ? rest.dropout : undefined;
  return dropout ? { ...batch, dropout } : batch;
}

/**
 * Computes its streams, waits for the others, then sums its range of the gradients. A failed
 * thread reaches the barrier too.
 */
async function gradient(thread: ThreadState, order: ThreadOrder & { kind: 'gradient' }): Promise<number> {
  const { engine, memory, index, config } = thread;
  const { from, members, arrivals } = order.share;
  let lossSum: number;
  try {
    refresh(thread, order.share);
    const result = await engine.gradient(batchOf(thread, order));
    lossSum = result.lossSum;
    memory.gradients[index].set(result.gradient);
    memory.endStates.set(result.endStates, from * stateSize(config));
  } catch (error) {
    Atomics.add(memory.signals, FAILED, 1);
    throw error;
  } finally {
    barrier(memory.signals, arrivals);
  }
  // A failed thread reports its error; the others' results are not used.
  if (Atomics.load(memory.signals, FAILED) > 0) return lossSum;
  if (!sumShare(memory.gradients, members, index)) {
    throw new EngineError(
      'not_finite',
      'the gradient is not a finite number',
      'return to the last good parameters and states, with a lower learning rate or a smaller clipping norm',
    );
  }
  return lossSum;
}

async function step({ engine, memory, config }: ThreadState, { from, streams }: Share): Promise<number> {
  const size = stateSize(config);
  const states = memory.endStates.subarray(from * size, (from + streams) * size);
  states.set(memory.states.subarray(from * size, (from + streams) * size));
  const logits = await engine.step(memory.tokens.subarray(from, from + streams), states);
  memory.logits.set(logits, from * config.vocabulary);
  return 0;
}
