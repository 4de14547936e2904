import type { CellPasses } from '../workspace.js';
import { block, gatesOf, project, projectBack } from './cell.js';

/** Elman's network, one column: the pre-activations, later their gradients. */
function rnn(activation: 'Tanh' | 'Relu'): CellPasses {
  const forwardKernel = `rnn${activation}Forward` as const;
  const backwardKernel = `rnn${activation}Backward` as const;
  return {
    columns: 1,
    memory: false,
    saved: false,
    recurrent: [{ gates: 1, column: 0, input: 'h' }],

    forward(workspace, layer, B, t, ids, above) {
      const { map, kernels } = workspace;
      const gates = gatesOf(workspace, layer, B, t);
      const h = block(workspace, layer.h, B, t + 1);
      project(workspace, B, block(workspace, layer.h, B, t), layer.recurrent[0], gates, above);
      kernels[forwardKernel](B, map.paddedHidden, map.gateStride, gates, layer.table, ids, h);
    },

    backward(workspace, layer, B, t) {
      const { map, kernels } = workspace;
      const gates = gatesOf(workspace, layer, B, t);
      const h = block(workspace, layer.h, B, t + 1);
      kernels[backwardKernel](B, map.paddedHidden, map.gateStride, gates, h, block(workspace, map.hGradient, B, t));
      if (t > 0) projectBack(workspace, B, gates, layer.recurrent[0], block(workspace, map.hGradient, B, t - 1), true);
    },
  };
}

export const rnnTanh = rnn('Tanh');
export const rnnRelu = rnn('Relu');
