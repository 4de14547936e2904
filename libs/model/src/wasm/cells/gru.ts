import type { CellPasses } from '../workspace.js';
import { block, gatesOf, project, projectBack } from './cell.js';

/** The reset gate before the product. Columns r, z, n; `saved` is r * h. map.carry [B, H'] is the gradient of r * h. */
export const gru: CellPasses = {
  columns: 3,
  memory: false,
  saved: true,
  recurrent: [
    { gates: 2, column: 0, input: 'h' },
    { gates: 1, column: 2, input: 'saved' },
  ],

  forward(space, layer, B, t, ids, above) {
    const { map, kernels } = space;
    const { paddedHidden, gateStride } = map;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(space, layer, B, t);
    const before = block(space, layer.h, B, t);
    const reset = block(space, layer.saved, B, t);
    const h = block(space, layer.h, B, t + 1);
    project(space, B, before, resetUpdate, gates, above);
    kernels.gruResetForward(B, paddedHidden, gateStride, gates, layer.table, ids, before, reset);
    project(space, B, reset, candidate, gates, above);
    kernels.gruCandidateForward(B, paddedHidden, gateStride, gates, layer.table, ids, before, h);
  },

  backward(space, layer, B, t) {
    const { map, kernels } = space;
    const { paddedHidden, gateStride, carry } = map;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(space, layer, B, t);
    const before = block(space, layer.h, B, t);
    const dh = block(space, map.hGradient, B, t);
    const dBefore = block(space, map.hGradient, B, t - 1);
    kernels.gruCandidateBackward(B, paddedHidden, gateStride, gates, before, dh, dBefore);
    projectBack(space, B, gates, candidate, carry, false);
    kernels.gruResetBackward(B, paddedHidden, gateStride, gates, before, carry, dBefore);
    if (t > 0) projectBack(space, B, gates, resetUpdate, dBefore, true);
  },
};

/** The reset gate behind the product. Columns r, z, n and q = U_n h + b_hn. */
export const gruResetAfter: CellPasses = {
  columns: 4,
  memory: false,
  saved: false,
  recurrent: [
    { gates: 2, column: 0, input: 'h' },
    { gates: 1, column: 3, input: 'h' },
  ],

  forward(space, layer, B, t, ids, above) {
    const { map, kernels } = space;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(space, layer, B, t);
    const before = block(space, layer.h, B, t);
    const h = block(space, layer.h, B, t + 1);
    project(space, B, before, resetUpdate, gates, above);
    project(space, B, before, candidate, gates, false);
    kernels.gruAfterForward(B, map.paddedHidden, map.gateStride, gates, layer.table, ids, before, h, above ? 1 : 0);
  },

  backward(space, layer, B, t) {
    const { map, kernels } = space;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(space, layer, B, t);
    const before = block(space, layer.h, B, t);
    const dh = block(space, map.hGradient, B, t);
    const dBefore = block(space, map.hGradient, B, t - 1);
    kernels.gruAfterBackward(B, map.paddedHidden, map.gateStride, gates, before, dh, dBefore);
    if (t === 0) return;
    projectBack(space, B, gates, resetUpdate, dBefore, true);
    projectBack(space, B, gates, candidate, dBefore, true);
  },
};
