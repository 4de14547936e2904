/**
 * An engine of Troupe: `troupe.mjs ENGINE [--variant=NAME] [--threads=N] [--optimize]`. With --optimize a step also applies the mean
 * gradient with Adam, as a worker does.
 */
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { openEngine } from '@troupe/engines/node';
import { createReplica } from '@troupe/optim';
import { problemOf } from './problem.mjs';
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
async function prepare(order) {
  const { model, limits, parameters, batch } = problemOf(order);
  const variant = options.variant === undefined ? {} : { variant: options.variant };
  const nowMs = () => performance.now();
  const engine = await openEngine(choice, model, limits, { ...variant, nowMs, threads: Number(options.threads) });
  const replica = createReplica({ size: parameters.length, optimizer: ADAM });
  replica.setParameters(parameters);
  engine.setParameters(replica.parameters);
  const mean = new Float32Array(parameters.length);

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
