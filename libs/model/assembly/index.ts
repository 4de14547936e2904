export { copyRows, gemm, packPanels, transpose } from './gemm';
export { inputGradient, inputTable, lstmBackward, lstmForward, scatterInputs } from './lstm';
export { allFinite, fillRows, softmaxLoss } from './softmax';

/** First byte that is free for the caller: below it lie constants of the compiled module. */
export function heapBase(): usize {
  return __heap_base;
}
