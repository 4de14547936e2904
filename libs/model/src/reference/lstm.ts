import { sigmoid, type RecurrentCell } from './cell.js';
import { addOuter, addProduct, addTransposed } from './linear-algebra.js';

/**
 * Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers, Schmidhuber &
 * Cummins 2000). Gate rows in PyTorch's order i, f, g, o, where g is the candidate c~:
 *
 *   C' = f * C + i * g,   h' = o * tanh(C')
 */
export const lstmCell: RecurrentCell = {
  /** i, f, g, o, tanh(C'). */
  savedVectors: 5,

  forward({ weightHh }, { fromInput, before, after, saved }) {
    const H = after.length / 2;
    const gates = addProduct(weightHh, before.subarray(0, H), fromInput);
    for (let j = 0; j < H; j++) {
      const i = sigmoid(gates[j]);
      const f = sigmoid(gates[H + j]);
      const g = Math.tanh(gates[2 * H + j]);
      const o = sigmoid(gates[3 * H + j]);
      const memory = f * before[H + j] + i * g;
      const squashed = Math.tanh(memory);
      after[j] = o * squashed;
      after[H + j] = memory;
      saved[j] = i;
      saved[H + j] = f;
      saved[2 * H + j] = g;
      saved[3 * H + j] = o;
      saved[4 * H + j] = squashed;
    }
  },

  backward({ weightHh }, { before, saved, dAfter, dFromInput, dBefore }, gradient) {
    const H = before.length / 2;
    for (let j = 0; j < H; j++) {
      const [i, f, g, o, squashed] = [saved[j], saved[H + j], saved[2 * H + j], saved[3 * H + j], saved[4 * H + j]];
      const dMemory = dAfter[H + j] + dAfter[j] * o * (1 - squashed * squashed);
      dFromInput[j] = dMemory * g * i * (1 - i);
      dFromInput[H + j] = dMemory * before[H + j] * f * (1 - f);
      dFromInput[2 * H + j] = dMemory * i * (1 - g * g);
      dFromInput[3 * H + j] = dAfter[j] * squashed * o * (1 - o);
      dBefore[j] = 0;
      dBefore[H + j] = dMemory * f;
    }
    addTransposed(weightHh, dFromInput, dBefore.subarray(0, H));
    addOuter(dFromInput, before.subarray(0, H), gradient.weightHh);
  },
};
