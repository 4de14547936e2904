export { dropout } from './dropout';
export { copyRows, gemm, packPanels, packSums, transpose, transposeSums } from './gemm';
export {
  gruAfterBackward,
  gruAfterForward,
  gruCandidateBackward,
  gruCandidateForward,
  gruResetBackward,
  gruResetForward,
} from './gru';
export { addInputWeights, inputGradient, sumByCharacter } from './input';
export { lstmBackward, lstmForward } from './lstm';
export { normalise, normaliseBackward } from './norm';
export { rnnReluBackward, rnnReluForward, rnnTanhBackward, rnnTanhForward } from './rnn';
export { allFinite, fillRows, softmaxLoss } from './softmax';

/** First byte that is free for the caller, after the constants of the compiled module. */
export function heapBase(): usize {
  return __heap_base;
}
