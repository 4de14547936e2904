import type { RecurrentCell } from './cell.js';
import { addOuter, addProduct, addTransposed } from './linear-algebra.js';

/** h' = f(a + U h) (Elman 1990); `slope` is f' as a function of f's value. */
function elmanCell(f: (x: number) => number, slope: (value: number) => number): RecurrentCell {
  return {
    savedVectors: 0,

    forward({ weightHh }, { fromInput, before, after }) {
      after.set(addProduct(weightHh, before, fromInput).map(f));
    },

    backward({ weightHh }, { before, after, dAfter, dFromInput, dBefore }, gradient) {
      dFromInput.set(dAfter.map((d, j) => d * slope(after[j])));
      addTransposed(weightHh, dFromInput, dBefore.fill(0));
      addOuter(dFromInput, before, gradient.weightHh);
    },
  };
}

export const rnnTanhCell = elmanCell(Math.tanh, (value) => 1 - value * value);

/** NaN stays NaN. The slope at 0 is 0, as in PyTorch. */
export const rnnReluCell = elmanCell(
  (x) => (x < 0 ? 0 : x),
  (value) => (value > 0 ? 1 : 0),
);
