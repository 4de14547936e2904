/**
 * The thread's side: an engine that carries out orders, one at a time, and writes results to
 * shared memory.
 */
import type { ModelConfig } from '../config.js';
import { EngineError, type Batch, type Engine, type EngineLimits, type GradientProgress } from '../engine.js';
import { stateSize } from '../layout.js';
import type { Share, ThreadOrder, ThreadOwner, ThreadReply } from './port.js';
import { GradientSum } from './gradient-sum.js';
import { abandon, type SharedMemory } from './shared-memory.js';

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
type GradientOrder = ThreadOrder & { kind: 'gradient' };

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
      } else owner.post({ kind: 'done', lossSum: await perform(thread!, order, owner) });
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

async function perform(thread: ThreadState, order: Work, owner: ThreadOwner): Promise<number> {
  if (order.kind === 'gradient') return gradient(thread, order, owner);
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
 * Computes the gradient of its streams and sums its share of all threads' gradients, part by part
 * while they are computed if the owner wants reports.
 */
async function gradient(thread: ThreadState, order: GradientOrder, owner: ThreadOwner): Promise<number> {
  const { engine, memory, index, config } = thread;
  const { share, reports } = order;
  const sum = new GradientSum(memory, index, share.members);
  const onProgress: GradientProgress = (values, from) => {
    if (sum.isDue(from) && sum.advance(values, from)) owner.post({ kind: 'progress', from });
  };
  let lossSum: number;
  try {
    refresh(thread, share);
    const result = await engine.gradient(batchOf(thread, order), reports ? onProgress : undefined);
    lossSum = result.lossSum;
    memory.endStates.set(result.endStates, share.from * stateSize(config));
    sum.advance(result.gradient, 0);
  } catch (error) {
    abandon(memory.signals);
    throw error;
  }
  if (!sum.finite) throw notFinite();
  return lossSum;
}

function notFinite(): EngineError {
  return new EngineError(
    'not_finite',
    'the gradient is not a finite number',
    'return to the last good parameters and states, with a lower learning rate or a smaller clipping norm',
  );
}

async function step({ engine, memory, config }: ThreadState, { from, streams }: Share): Promise<number> {
  const size = stateSize(config);
  const states = memory.endStates.subarray(from * size, (from + streams) * size);
  states.set(memory.states.subarray(from * size, (from + streams) * size));
  const logits = await engine.step(memory.tokens.subarray(from, from + streams), states);
  memory.logits.set(logits, from * config.vocabulary);
  return 0;
}
