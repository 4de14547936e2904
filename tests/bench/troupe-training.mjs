/** Troupe trains the model of a recipe: `troupe train` as a child process. */
import { runFlags, train, withScratch } from './runs.mjs';

/** @typedef {import('./torch-training.mjs').Order} Order */
/** @typedef {Pick<import('./torch-training.mjs').Validation, 'round' | 'seconds' | 'validationLoss' | 'averageLoss'>} Validation */

/** The lower loss of a validation: that of the trained or that of the averaged parameters. @param {Pick<Validation, 'validationLoss' | 'averageLoss'>} validation */
export const lossOf = ({ validationLoss, averageLoss = Infinity }) => Math.min(validationLoss, averageLoss);

/**
 * Trains on tiny-shakespeare until the loss is low enough. `seconds` are those of the rounds, with everything in the cluster and the
 * validations that run beside them.
 * @param {Order} order
 * @param {{ engine: string, flags: readonly string[], deadlineMs: number }} options `flags`: how many workers, and what else an order does not say
 * @returns {Promise<Validation[]>} up to the one that reached the target
 * @throws {import('./bench-error.mjs').BenchError} `run_failed`, `deadline`
 */
export async function troupeTrain(order, { engine, flags, deadlineMs }) {
  /** @type {Map<number, number>} */
  const elapsedMs = new Map();
  let totalMs = 0;
  /** @type {Validation[]} */
  const validations = [];
  let reached = false;
  await withScratch((out) =>
    train([...flagsOf(order, out), `--engine=${engine}`, ...flags], {
      deadlineMs,
      enough: ({ round, roundMs }) => {
        elapsedMs.set(round, (totalMs += roundMs));
        return reached;
      },
      onEvaluation: ({ round, validationLoss, averageLoss }) => {
        if (reached) return;
        const seconds = (elapsedMs.get(round) ?? NaN) / 1000;
        const validation = { round, seconds, validationLoss, ...(averageLoss !== undefined && { averageLoss }) };
        validations.push(validation);
        // A loss that is not a number arrives as null.
        reached = typeof validationLoss === 'number' && lossOf(validation) <= order.target;
      },
    }),
  );
  return validations;
}

/** @param {Order} order @param {string} out */
function flagsOf(order, out) {
  const { rounds, learningRate, warmup, finalFraction, clip, evalEvery, seed } = order;
  const { layerNorm = false, dropout = 0, dropoutOutput = 0, ema = 0 } = order;
  return [
    ...runFlags('tiny-shakespeare', order, out).filter((flag) => !/^--(eval-every|seed)=/.test(flag)),
    ...[`--rounds=${rounds}`, `--seed=${seed}`, `--eval-every=${evalEvery}`],
    ...[`--lr=${learningRate}`, `--warmup=${warmup}`, `--lr-final=${finalFraction}`, `--clip=${clip}`],
    ...[`--dropout=${dropout}`, `--dropout-output=${dropoutOutput}`, `--ema=${ema}`, ...(layerNorm ? ['--layer-norm'] : [])],
  ];
}
