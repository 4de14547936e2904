import type { CellPasses } from '../workspace.js';
import { block, gatesOf, project, projectBack } from './cell.js';

/** Columns i, f, g, o; `saved` is tanh C'. map.carry [B, H'] is the gradient of C. */
export const lstm: CellPasses = {
  columns: 4,
  memory: true,
  saved: true,
  recurrent: [{ gates: 4, column: 0, input: 'h' }],

  forward(space, layer, B, t, ids, above) {
    const { map, kernels } = space;
    const gates = gatesOf(space, layer, B, t);
    project(space, B, block(space, layer.h, B, t), layer.recurrent[0], gates, above);
    kernels.lstmForward(
      B,
      map.paddedHidden,
      map.gateStride,
      gates,
      layer.table,
      ids,
      block(space, layer.memory, B, t),
      block(space, layer.memory, B, t + 1),
      block(space, layer.h, B, t + 1),
      block(space, layer.saved, B, t),
    );
  },

  backward(space, layer, B, t) {
    const { map, kernels } = space;
    const gates = gatesOf(space, layer, B, t);
    kernels.lstmBackward(
      B,
      map.paddedHidden,
      map.gateStride,
      gates,
      block(space, layer.memory, B, t),
      block(space, layer.saved, B, t),
      block(space, map.hGradient, B, t),
      map.carry,
    );
    if (t > 0) projectBack(space, B, gates, layer.recurrent[0], block(space, map.hGradient, B, t - 1), true);
  },
};
