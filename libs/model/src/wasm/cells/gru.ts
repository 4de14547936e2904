import type { CellPasses } from '../workspace.js';
import { block, gatesOf, project, projectBack } from './cell.js';

/**
 * The reset gate acts before the product. Columns r, z, n; `saved` is r * h. map.carry [B, H'] is
 * the gradient of r * h.
 */
export const gru: CellPasses = {
  columns: 3,
  memory: false,
  saved: true,
  recurrent: [
    { gates: 2, column: 0, input: 'h' },
    { gates: 1, column: 2, input: 'saved' },
  ],

  forward(workspace, layer, B, t, ids, above) {
    const { map, kernels } = workspace;
    const { paddedHidden, gateStride } = map;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(workspace, layer, B, t);
    const before = block(workspace, layer.h, B, t);
    const reset = block(workspace, layer.saved, B, t);
    const h = block(workspace, layer.h, B, t + 1);
    project(workspace, B, before, resetUpdate, gates, above);
    kernels.gruResetForward(B, paddedHidden, gateStride, gates, layer.table, ids, before, reset);
    project(workspace, B, reset, candidate, gates, above);
    kernels.gruCandidateForward(B, paddedHidden, gateStride, gates, layer.table, ids, before, h);
  },

  backward(workspace, layer, B, t) {
    const { map, kernels } = workspace;
    const { paddedHidden, gateStride, carry } = map;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(workspace, layer, B, t);
    const before = block(workspace, layer.h, B, t);
    const dh = block(workspace, map.hGradient, B, t);
    const dBefore = block(workspace, map.hGradient, B, t - 1);
    kernels.gruCandidateBackward(B, paddedHidden, gateStride, gates, before, dh, dBefore);
    projectBack(workspace, B, gates, candidate, carry, false);
    kernels.gruResetBackward(B, paddedHidden, gateStride, gates, before, carry, dBefore);
    if (t > 0) projectBack(workspace, B, gates, resetUpdate, dBefore, true);
  },
};

/** The reset gate acts after the product. Columns r, z, n and q = U_n h + b_hn. */
export const gruResetAfter: CellPasses = {
  columns: 4,
  memory: false,
  saved: false,
  recurrent: [
    { gates: 2, column: 0, input: 'h' },
    { gates: 1, column: 3, input: 'h' },
  ],

  forward(workspace, layer, B, t, ids, above) {
    const { map, kernels } = workspace;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(workspace, layer, B, t);
    const before = block(workspace, layer.h, B, t);
    const h = block(workspace, layer.h, B, t + 1);
    project(workspace, B, before, resetUpdate, gates, above);
    project(workspace, B, before, candidate, gates, false);
    kernels.gruAfterForward(B, map.paddedHidden, map.gateStride, gates, layer.table, ids, before, h, above ? 1 : 0);
  },

  backward(workspace, layer, B, t) {
    const { map, kernels } = workspace;
    const [resetUpdate, candidate] = layer.recurrent;
    const gates = gatesOf(workspace, layer, B, t);
    const before = block(workspace, layer.h, B, t);
    const dh = block(workspace, map.hGradient, B, t);
    const dBefore = block(workspace, map.hGradient, B, t - 1);
    kernels.gruAfterBackward(B, map.paddedHidden, map.gateStride, gates, before, dh, dBefore);
    if (t === 0) return;
    projectBack(workspace, B, gates, resetUpdate, dBefore, true);
    projectBack(workspace, B, gates, candidate, dBefore, true);
  },
};
