/**
 * An engine of Troupe: `troupe.mjs ENGINE [--variant=NAME] [--threads=N] [--optimize]`. With --optimize a step also applies the mean
 * gradient with Adam, as a worker does.
 */
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { openEngine } from '@troupe/engines/node';
import { createLayout, createRandom, initialParameters, stateSize } from '@troupe/model';
import { createReplica } from '@troupe/optim';
import { serve } from './serve.mjs';

const LEARNING_RATE = 0.002;
const ADAM = /** @type {const} */ ({ kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 });

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    variant: { type: 'string' },
    threads: { type: 'string', default: '0' },
    optimize: { type: 'boolean', default: false },
  },
});
const choice = /** @type {import('@troupe/engines').EngineChoice} */ (positionals[0]);

/** @param {import('./serve.mjs').Order} order */
async function prepare({ layers, hidden, streams, window, vocabulary }) {
  const model = /** @type {const} */ ({ cell: 'lstm', layers, hidden, vocabulary });
  const layout = createLayout(model);
  const limits = { maxStreams: streams, maxWindow: window };
  const variant = options.variant === undefined ? {} : { variant: options.variant };
  const nowMs = () => performance.now();
  const engine = await openEngine(choice, model, limits, { ...variant, nowMs, threads: Number(options.threads) });
  const replica = createReplica({ size: layout.size, optimizer: ADAM });
  replica.setParameters(initialParameters(model, layout, 1));
  engine.setParameters(replica.parameters);
  const random = createRandom(1);
  const batch = {
    streams,
    window,
    tokens: Uint16Array.from({ length: streams * (window + 1) }, () => random.uint32() % vocabulary),
    states: new Float32Array(streams * stateSize(model)),
  };
  const mean = new Float32Array(layout.size);

  async function compute() {
    return await engine.gradient(batch);
  }

  async function computeAndApply() {
    const result = await engine.gradient(batch);
    const { gradient, tokens } = result;
    for (let i = 0; i < mean.length; i++) mean[i] = gradient[i] / tokens;
    replica.step(mean, LEARNING_RATE);
    engine.setParameters(replica.parameters);
    return result;
  }

  const run = options.optimize ? computeAndApply : compute;
  const { name, variant: chosen, device } = engine.info;
  return {
    detail: `${name} ${chosen}${device === 'cpu' ? '' : `, ${device}`}`,
    step: async () => {
      const { lossSum, tokens } = await run();
      return lossSum / tokens;
    },
  };
}

await serve(prepare);
