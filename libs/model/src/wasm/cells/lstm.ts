import type { CellPasses } from '../workspace.js';
import { block, gatesOf, project, projectBack } from './cell.js';

/** Columns i, f, g, o; `saved` is tanh C'. map.carry [B, H'] is the gradient of C. */
export const lstm: CellPasses = {
  columns: 4,
  memory: true,
  saved: true,
  recurrent: [{ gates: 4, column: 0, input: 'h' }],

  forward(workspace, layer, B, t, ids, above) {
    const { map, kernels } = workspace;
    const gates = gatesOf(workspace, layer, B, t);
    project(workspace, B, block(workspace, layer.h, B, t), layer.recurrent[0], gates, above);
    kernels.lstmForward(
      B,
      map.paddedHidden,
      map.gateStride,
      gates,
      layer.table,
      ids,
      block(workspace, layer.memory, B, t),
      block(workspace, layer.memory, B, t + 1),
      block(workspace, layer.h, B, t + 1),
      block(workspace, layer.saved, B, t),
    );
  },

  backward(workspace, layer, B, t) {
    const { map, kernels } = workspace;
    const gates = gatesOf(workspace, layer, B, t);
    kernels.lstmBackward(
      B,
      map.paddedHidden,
      map.gateStride,
      gates,
      block(workspace, layer.memory, B, t),
      block(workspace, layer.saved, B, t),
      block(workspace, map.hGradient, B, t),
      map.carry,
    );
    if (t > 0) projectBack(workspace, B, gates, layer.recurrent[0], block(workspace, map.hGradient, B, t - 1), true);
  },
};
