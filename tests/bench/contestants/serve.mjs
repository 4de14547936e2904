/** The contestant's side of contestant.mjs. */
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';

/** @typedef {import('../configs.mjs').Size & { vocabulary: number }} Order */
/** @typedef {{ detail: string, step: () => Promise<number> }} Model `step` resolves with the loss, nats/char */

/** @param {(order: Order) => Promise<Model>} prepare */
export async function serve(prepare) {
  const answer = (/** @type {object} */ message) => process.stdout.write(`${JSON.stringify(message)}\n`);
  /** @type {Model | undefined} */
  let model;
  for await (const line of createInterface({ input: process.stdin })) {
    const message = JSON.parse(line);
    if (model === undefined) {
      model = await prepare(message);
      answer({ detail: model.detail });
      continue;
    }
    const ms = [];
    let loss = NaN;
    for (let i = 0; i < message.steps; i++) {
      const startMs = performance.now();
      loss = await model.step();
      ms.push(performance.now() - startMs);
    }
    answer({ ms, loss });
  }
}
